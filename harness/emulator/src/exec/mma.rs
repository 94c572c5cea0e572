//! Products of matrices on tensor cores. PTX ISA 9.7.14.
//!
//! Lane `l` stands in group `g = l / 4` as number `t = l % 4`. A register holds `p` elements (two
//! of 16 bits or four of 8) that are neighbours along k.
//!
//! | matrix | register r of lane l, element i |
//! |---|---|
//! | A, 16 x k | row `g + 8 (r % 2)`, column `4 p (r / 2) + p t + i` |
//! | B, k x 8 | row `4 p r + p t + i`, column `g` |
//! | C and D, 16 x 8 | row `g + 8 (r / 2)`, column `2 t + r % 2` (`.f16`: two columns a register) |

use std::sync::LazyLock;

use super::block::Block;
use super::step::Next;
use super::warp::State;
use crate::alu::{each, vectorised};
use crate::numeric::half::{Bf16, F16};
use crate::program::{Mma, MmaType};
use crate::registers::{LANES, Registers};
use crate::report::Report;
use crate::syntax::ast::Type;

/// Rows of A, C and D.
const M: usize = 16;
/// Columns of B, C and D.
const N: usize = 8;
/// Rows of C whose sums are formed together, so that none waits for the one before.
const ROWS: usize = 4;

impl Block<'_> {
    /// `D = A B + C`. Products are exact; a dot product is added in `f64`, from the lowest k to
    /// the highest and then C, and rounded once to the accumulator's type. Hardware adds in an
    /// order of its own, and with fewer bits: it may differ by the rounding errors of a sum of
    /// k + 1 terms.
    pub(super) fn mma(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        mma: &Mma,
    ) -> Result<Next, Box<Report>> {
        if !self.are_all_here(warp, pc, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let registers = &mut self.warps[warp].registers;
        match (mma.k, element_bytes(mma.a)) {
            (8, _) => multiply_add::<8, 8>(mma, registers),
            (16, 2) => multiply_add::<16, 8>(mma, registers),
            (16, _) => multiply_add::<16, 16>(mma, registers),
            _ => multiply_add::<32, 16>(mma, registers),
        }
        Ok(Next::Following)
    }
}

/// `D = A B + C`; `K` is the depth, and `P` how many elements 16 bytes are.
fn multiply_add<const K: usize, const P: usize>(mma: &Mma, registers: &mut Registers) {
    vectorised(
        #[inline(always)]
        || {
            let mut a = [[0f64; K]; M];
            let mut b = [[0f64; N]; K];
            for (r, &register) in mma.a_registers.iter().enumerate() {
                let rows: [[f64; P]; 8] = decode(mma.a, registers.word(register));
                for (a, row) in a[8 * (r % 2)..].iter_mut().zip(rows) {
                    a.as_chunks_mut::<P>().0[r / 2] = row;
                }
            }
            for (r, &register) in mma.b_registers.iter().enumerate() {
                let columns: [[f64; P]; 8] = decode(mma.b, registers.word(register));
                for (k, row) in b[P * r..][..P].iter_mut().enumerate() {
                    for (value, column) in row.iter_mut().zip(&columns) {
                        *value = column[k];
                    }
                }
            }
            add(&products(&a, &b), registers, mma);
        },
    );
}

fn element_bytes(ty: MmaType) -> usize {
    match ty {
        MmaType::F16 | MmaType::Bf16 => 2,
        MmaType::E4m3 | MmaType::E5m2 | MmaType::S8 | MmaType::U8 => 1,
    }
}

/// The elements of a register: of each group `P` of a row of A, or of a column of B.
#[inline(always)]
fn decode<const P: usize>(ty: MmaType, words: &[u32; LANES]) -> [[f64; P]; 8] {
    let mut values = [[0f64; P]; 8];
    let flat = values.as_flattened_mut();
    match ty {
        MmaType::Bf16 => halves(flat, words, |half| Bf16(half).to_f32()),
        MmaType::F16 => halves(flat, words, |half| F16(half).to_f32()),
        MmaType::S8 | MmaType::U8 | MmaType::E4m3 | MmaType::E5m2 => {
            let table = &BYTES[ty as usize];
            for (values, word) in flat.chunks_exact_mut(4).zip(words) {
                for (value, byte) in values.iter_mut().zip(word.to_le_bytes()) {
                    *value = table[usize::from(byte)];
                }
            }
        }
    }
    values
}

#[inline(always)]
fn halves(values: &mut [f64], words: &[u32; LANES], value: impl Fn(u16) -> f32) {
    let mut halves = [0u16; 2 * LANES];
    for (pair, word) in halves.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        *pair = [*word as u16, (word >> 16) as u16];
    }
    for (to, half) in values.iter_mut().zip(halves) {
        *to = f64::from(value(half));
    }
}

/// The dot products of the rows of A and the columns of B.
#[inline(always)]
fn products<const K: usize>(a: &[[f64; K]; M], b: &[[f64; N]; K]) -> [[f64; N]; M] {
    let mut dots = [[0f64; N]; M];
    for (dots, a) in dots.chunks_exact_mut(ROWS).zip(a.chunks_exact(ROWS)) {
        let mut sums = [[0f64; N]; ROWS];
        for (at, b) in b.iter().enumerate() {
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    // As `a * b + sum`, for the product is exact.
                    *sum = a[at].mul_add(*b, *sum);
                }
            }
        }
        dots.copy_from_slice(&sums);
    }
    dots
}

/// Adds C and writes D.
#[inline(always)]
fn add(dots: &[[f64; N]; M], registers: &mut Registers, mma: &Mma) {
    let dots = dots.as_flattened();
    let mut results = [[0u32; LANES]; 4];
    for (r, (&register, result)) in mma.c_registers.iter().zip(&mut results).enumerate() {
        let c = registers.word(register);
        // Where row g + 8 (r / 2), column 2 t + r % 2 of lane 0 lies; lane l's is 2 l further.
        let first = 64 * (r / 2) + r % 2;
        *result = match mma.accumulator {
            Type::F16 => each(|lane| {
                let half = |i: usize| {
                    let c = F16((c[lane] >> (16 * i)) as u16).to_f32();
                    let sum = dots[64 * r + 2 * lane + i] + f64::from(c);
                    u32::from(half::f16::from_f64(sum).to_bits())
                };
                half(0) | half(1) << 16
            }),
            // Exact in f64: at most 32 products of 16 bits.
            Type::S32 => each(|lane| {
                let product = dots[first + 2 * lane] as i64;
                (product + i64::from(c[lane] as i32)) as u32
            }),
            _ => each(|lane| {
                let c = f64::from(f32::from_bits(c[lane]));
                ((dots[first + 2 * lane] + c) as f32).to_bits()
            }),
        };
    }
    for (&register, result) in mma.d_registers.iter().zip(results) {
        *registers.word_mut(register) = result;
    }
}

/// The values of the codes of 8 bits, by [`MmaType`].
static BYTES: LazyLock<[[f64; 256]; 6]> = LazyLock::new(|| {
    [
        MmaType::F16,
        MmaType::Bf16,
        MmaType::E4m3,
        MmaType::E5m2,
        MmaType::S8,
        MmaType::U8,
    ]
    .map(|ty| std::array::from_fn(|code| byte(ty, code as u8)))
});

fn byte(ty: MmaType, code: u8) -> f64 {
    let half = |bits: u16| f64::from(F16(bits).to_f32());
    match ty {
        MmaType::S8 => f64::from(code as i8),
        MmaType::U8 => f64::from(code),
        // E5M2 is the upper half of an f16.
        MmaType::E5m2 => half(u16::from(code) << 8),
        // So is E4M3 but for one exponent bit: moved into place it is too small by 2^8. Its only
        // NaN is the one whose bits are all ones.
        MmaType::E4m3 if code & 0x7f == 0x7f => f64::NAN,
        MmaType::E4m3 => {
            let moved = u16::from(code & 0x80) << 8 | u16::from(code & 0x7f) << 7;
            half(moved) * 256.0
        }
        // They have 16 bits.
        MmaType::F16 | MmaType::Bf16 => f64::NAN,
    }
}
