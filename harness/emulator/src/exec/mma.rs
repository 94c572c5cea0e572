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
use super::{At, Checked};
use crate::alu::vectorised;
use crate::numeric::float::Float;
use crate::numeric::half::{Bf16, F16};
use crate::program::{Mma, MmaType};
use crate::registers::{LANES, Registers};
use crate::syntax::ast::Type;

/// Rows of A, C and D.
const M: usize = 16;
/// Columns of B, C and D.
const N: usize = 8;
/// Most elements that four registers of a group hold.
const WIDEST: usize = 16;
/// Rows of C whose sums are formed together, so that none waits for the one before.
const ROWS: usize = 8;

impl Block<'_> {
    /// `D = A B + C`. Products are exact; a dot product is added in `f64`, from the lowest k to
    /// the highest and then C, and rounded once to the accumulator's type. Hardware adds in an
    /// order of its own, and with fewer bits: it may differ by the rounding errors of a sum of
    /// k + 1 terms.
    pub(super) fn mma(&mut self, at: At, active: u32, mma: &Mma) -> Checked<Next> {
        if !self.are_all_here(at, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let registers = &mut self.warps[at.warp].registers;
        let work = &mut *self.workspace;
        match element_bytes(mma.a) {
            2 => multiply_add::<8>(mma, registers, work),
            _ => multiply_add::<16>(mma, registers, work),
        }
        Ok(Next::Following)
    }
}

/// The working memory of a product, aligned to the host's vectors.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Workspace {
    /// Of each row of A the elements that two registers hold.
    a: [f64; M * WIDEST],
    /// A register of B, ordered by number in the group, then by group.
    columns: [u32; LANES],
    dots: [[f64; N]; M],
    /// The elements of D of each lane, by half of the rows, then by column.
    sums: [[[f64; LANES]; 2]; 2],
}

impl Workspace {
    pub fn new() -> Self {
        Self {
            a: [0.0; M * WIDEST],
            columns: [0; LANES],
            dots: [[0.0; N]; M],
            sums: [[[0.0; LANES]; 2]; 2],
        }
    }
}

/// `D = A B + C`, where four registers of a group hold `P` elements.
fn multiply_add<const P: usize>(mma: &Mma, registers: &mut Registers, work: &mut Workspace) {
    vectorised(
        #[inline(always)]
        || {
            let a = &mut work.a.as_chunks_mut::<P>().0[..M];
            let mut b = [[0.0; N]; P];
            work.dots = [[0.0; N]; M];
            let halves = mma.a_registers.as_chunks::<2>().0;
            for (halves, &columns) in halves.iter().zip(&mma.b_registers) {
                for (a, &rows) in a.chunks_exact_mut(M / 2).zip(halves) {
                    decode(mma.a, registers.word(rows), a.as_flattened_mut());
                }
                order_by_number(registers.word(columns), &mut work.columns);
                decode_columns(mma.b, &work.columns, &mut b);
                add_products(&mut work.dots, a, &b);
            }
            add_c(mma, registers, &work.dots, &mut work.sums);
            write_d(mma, registers, &work.sums);
        },
    );
}

fn element_bytes(ty: MmaType) -> usize {
    match ty {
        MmaType::F16 | MmaType::Bf16 => 2,
        MmaType::E4m3 | MmaType::E5m2 | MmaType::S8 | MmaType::U8 => 1,
    }
}

/// The elements of words, from the low bits of each up.
#[inline(always)]
fn decode(ty: MmaType, words: &[u32], values: &mut [f64]) {
    match ty {
        MmaType::Bf16 => halves(words, values, |half| Bf16(half).to_f32()),
        MmaType::F16 => halves(words, values, |half| F16(half).to_f32()),
        MmaType::S8 | MmaType::U8 | MmaType::E4m3 | MmaType::E5m2 => {
            let table = &BYTES[ty as usize];
            for (values, word) in values.chunks_exact_mut(4).zip(words) {
                for (value, byte) in values.iter_mut().zip(word.to_le_bytes()) {
                    *value = table[usize::from(byte)];
                }
            }
        }
    }
}

#[inline(always)]
fn halves(words: &[u32], values: &mut [f64], value: impl Fn(u16) -> f32) {
    for (values, word) in values.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        *values = [*word as u16, (word >> 16) as u16].map(|half| f64::from(value(half)));
    }
}

/// The elements of words of columns, of the same place in each, as rows.
#[inline(always)]
fn decode_columns<const P: usize>(ty: MmaType, words: &[u32; LANES], rows: &mut [[f64; N]; P]) {
    let in_word = P * N / LANES;
    for (rows, words) in rows.chunks_exact_mut(in_word).zip(words.chunks_exact(N)) {
        for (i, row) in rows.iter_mut().enumerate() {
            let places = words.iter().map(|word| word >> (i * 32 / in_word));
            match ty {
                MmaType::Bf16 => {
                    for (to, word) in row.iter_mut().zip(places) {
                        *to = Bf16(word as u16).to_f32().into();
                    }
                }
                MmaType::F16 => {
                    for (to, word) in row.iter_mut().zip(places) {
                        *to = F16(word as u16).to_f32().into();
                    }
                }
                MmaType::S8 | MmaType::U8 | MmaType::E4m3 | MmaType::E5m2 => {
                    let table = &BYTES[ty as usize];
                    for (to, word) in row.iter_mut().zip(places) {
                        *to = table[usize::from(word as u8)];
                    }
                }
            }
        }
    }
}

/// Orders lanes by their number in the group, then by group.
#[inline(always)]
fn order_by_number(lanes: &[u32; LANES], ordered: &mut [u32; LANES]) {
    let mut even_first = [0; LANES];
    take_even_first(lanes, &mut even_first);
    take_even_first(&even_first, ordered);
}

#[inline(always)]
fn take_even_first(lanes: &[u32; LANES], taken: &mut [u32; LANES]) {
    let (even, odd) = taken.split_at_mut(LANES / 2);
    for ((pair, even), odd) in lanes.as_chunks::<2>().0.iter().zip(even).zip(odd) {
        [*even, *odd] = *pair;
    }
}

/// Adds the products of the rows of A and the columns of B.
#[inline(always)]
fn add_products<const P: usize>(dots: &mut [[f64; N]; M], a: &[[f64; P]], b: &[[f64; N]; P]) {
    for (dots, a) in dots
        .as_chunks_mut::<ROWS>()
        .0
        .iter_mut()
        .zip(a.chunks_exact(ROWS))
    {
        let mut sums = *dots;
        for (k, b) in b.iter().enumerate() {
            for (sums, a) in sums.iter_mut().zip(a) {
                for (sum, b) in sums.iter_mut().zip(b) {
                    // As `a * b + sum`, for the product is exact.
                    *sum = a[k].mul_add(*b, *sum);
                }
            }
        }
        *dots = sums;
    }
}

/// The dot products plus C.
#[inline(always)]
fn add_c(
    mma: &Mma,
    registers: &Registers,
    dots: &[[f64; N]; M],
    sums: &mut [[[f64; LANES]; 2]; 2],
) {
    let dots = dots.as_flattened().as_chunks::<2>().0.as_chunks().0;
    for (half, (dots, sums)) in dots.iter().zip(sums).enumerate() {
        let c = |i: usize| registers.word(mma.c_registers[i]);
        let pair = || [c(2 * half), c(2 * half + 1)];
        match mma.accumulator {
            Type::F16 => add_pairs(dots, [c(half); 2], sums, |column, word| {
                F16((word >> (16 * column)) as u16).to_f32().into()
            }),
            Type::S32 => add_pairs(dots, pair(), sums, |_, word| (word as i32).into()),
            _ => add_pairs(dots, pair(), sums, |_, word| f32::from_bits(word).into()),
        }
    }
}

/// The two dot products of each lane plus `value` of the column and a register of C.
#[inline(always)]
fn add_pairs(
    dots: &[[f64; 2]; LANES],
    [left, right]: [&[u32; LANES]; 2],
    [left_sums, right_sums]: &mut [[f64; LANES]; 2],
    value: impl Fn(usize, u32) -> f64,
) {
    for lane in 0..LANES {
        let [left_dot, right_dot] = dots[lane];
        let (left, right) = (value(0, left[lane]), value(1, right[lane]));
        left_sums[lane] = left_dot + left;
        right_sums[lane] = right_dot + right;
    }
}

/// The sums, rounded; the NaN of the accumulator's type for any NaN.
#[inline(always)]
fn write_d(mma: &Mma, registers: &mut Registers, sums: &[[[f64; LANES]; 2]; 2]) {
    let half = |sum: f64| u32::from(F16::nearest(sum).0);
    for (i, &register) in mma.d_registers.iter().enumerate() {
        let lanes = registers.word_mut(register);
        let column = &sums[i / 2][i % 2];
        match mma.accumulator {
            Type::F16 => {
                let [left, right] = &sums[i];
                for lane in 0..LANES {
                    lanes[lane] = half(left[lane]) | half(right[lane]) << 16;
                }
            }
            Type::S32 => {
                for lane in 0..LANES {
                    // Exact in f64: at most 32 products of 16 bits, and C.
                    lanes[lane] = column[lane] as i64 as u32;
                }
            }
            _ => {
                for lane in 0..LANES {
                    lanes[lane] = f32::nearest(column[lane]).to_bits();
                }
            }
        }
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
