//! 8x8 matrices between shared memory and registers, and products of them on tensor cores.
//!
//! Lane `l` stands in group `g = l / 4` as number `t = l % 4`. A register holds `p` elements (two
//! of 16 bits or four of 8) that are neighbours along k. PTX ISA 9.7.14.
//!
//! | matrix | register r of lane l, element i |
//! |---|---|
//! | A, 16 x k | row `g + 8 (r % 2)`, column `4 p (r / 2) + p t + i` |
//! | B, k x 8 | row `4 p r + p t + i`, column `g` |
//! | C and D, 16 x 8 | row `g + 8 (r / 2)`, column `2 t + r % 2` (`.f16`: two columns a register) |

use half::{bf16, f16};

use super::block::Block;
use super::lanes_of;
use super::step::Next;
use super::warp::{State, Warp};
use crate::memory::shared::Access;
use crate::program::{Address, Mma, MmaType, Space};
use crate::registers::{LANES, Register};
use crate::report::{Report, Violation};
use crate::statistics::bank_passes;
use crate::syntax::ast::Type;

/// Bytes of a row of an 8x8 matrix.
const ROW: u32 = 16;

impl Block<'_> {
    /// Whether all lanes are here, as `.sync.aligned` asks; false if they may still come.
    fn are_all_here(&self, warp: usize, pc: u32, active: u32) -> Result<bool, Box<Report>> {
        if active == u32::MAX {
            return Ok(true);
        }
        if self.warps[warp].live() == u32::MAX {
            return Ok(false);
        }
        let violation = Violation::LaneMask {
            mask: active,
            reason: "only these lanes are here, and the instruction needs all 32".to_owned(),
        };
        Err(self.report(pc, self.warps[warp].thread(Warp::first(active)), violation))
    }

    pub(super) fn load_matrix(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        destinations: &[Register],
        address: Address,
        is_transposed: bool,
    ) -> Result<Next, Box<Report>> {
        if !self.are_all_here(warp, pc, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let addresses = self.warps[warp].addresses(address);
        for (matrix, &destination) in destinations.iter().enumerate() {
            let mut rows = [[0u16; 8]; 8];
            let mut requests = [(0usize, 0u64); 8];
            for (row, values) in rows.iter_mut().enumerate() {
                let lane = 8 * matrix + row;
                let from = addresses[lane];
                requests[row] = (row, from);
                let thread = self.warps[warp].thread(lane);
                self.check_alignment(pc, thread, Space::Shared, from, ROW)?;
                self.touch_shared(warp, pc, lane, from, ROW, Access::Read)?;
                let mut bytes = [0u8; ROW as usize];
                self.shared.load(from, &mut bytes);
                for (value, pair) in values.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = u16::from_le_bytes([pair[0], pair[1]]);
                }
            }
            self.statistics.shared_requests += 1;
            self.statistics.shared_passes += bank_passes(&requests, u64::from(ROW));
            *self.warps[warp].registers.word_mut(destination) = std::array::from_fn(|lane| {
                let (group, pair) = (lane / 4, 2 * (lane % 4));
                let [low, high] = [0, 1].map(|i| match is_transposed {
                    false => rows[group][pair + i],
                    true => rows[pair + i][group],
                });
                u32::from(low) | u32::from(high) << 16
            });
        }
        Ok(Next::Following)
    }

    pub(super) fn store_matrix(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        sources: &[Register],
        address: Address,
        is_transposed: bool,
    ) -> Result<Next, Box<Report>> {
        if !self.are_all_here(warp, pc, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let addresses = self.warps[warp].addresses(address);
        for (matrix, &source) in sources.iter().enumerate() {
            let lanes = *self.warps[warp].registers.word(source);
            let mut rows = [[0u16; 8]; 8];
            for (lane, value) in lanes.into_iter().enumerate() {
                let (group, pair) = (lane / 4, 2 * (lane % 4));
                for i in 0..2 {
                    let element = (value >> (16 * i)) as u16;
                    match is_transposed {
                        false => rows[group][pair + i] = element,
                        true => rows[pair + i][group] = element,
                    }
                }
            }
            let mut requests = [(0usize, 0u64); 8];
            for (row, values) in rows.into_iter().enumerate() {
                let lane = 8 * matrix + row;
                let to = addresses[lane];
                requests[row] = (row, to);
                let thread = self.warps[warp].thread(lane);
                self.check_alignment(pc, thread, Space::Shared, to, ROW)?;
                self.touch_shared(warp, pc, lane, to, ROW, Access::Write)?;
                let mut bytes = [0u8; ROW as usize];
                for (pair, value) in bytes.chunks_exact_mut(2).zip(values) {
                    pair.copy_from_slice(&value.to_le_bytes());
                }
                self.shared.store(to, &bytes);
            }
            self.statistics.shared_requests += 1;
            self.statistics.shared_passes += bank_passes(&requests, u64::from(ROW));
        }
        Ok(Next::Following)
    }

    /// `D = A B + C`. Products are exact; a dot product and its C are added in `f64` and rounded
    /// once to the accumulator's type. Hardware adds in an order of its own, and with fewer bits:
    /// it may differ by the rounding errors of a sum of k + 1 terms.
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
        let mut a = [[0f64; 32]; 16];
        let mut b = [[0f64; 8]; 32];
        let bits = element_bits(mma.a);
        let per_register = (32 / bits) as usize;
        let mask = (1u32 << bits) - 1;
        for (r, &register) in mma.a_registers.iter().enumerate() {
            for (lane, &word) in registers.word(register).iter().enumerate() {
                let row = lane / 4 + 8 * (r % 2);
                let first = 4 * per_register * (r / 2) + per_register * (lane % 4);
                for i in 0..per_register {
                    a[row][first + i] = decode(mma.a, word >> (i as u32 * bits) & mask);
                }
            }
        }
        for (r, &register) in mma.b_registers.iter().enumerate() {
            for (lane, &word) in registers.word(register).iter().enumerate() {
                let first = 4 * per_register * r + per_register * (lane % 4);
                for i in 0..per_register {
                    b[first + i][lane / 4] = decode(mma.b, word >> (i as u32 * bits) & mask);
                }
            }
        }
        let mut dots = [[0f64; 8]; 16];
        for (dots, a) in dots.iter_mut().zip(&a) {
            for (a, b) in a.iter().zip(&b).take(mma.k) {
                for (dot, b) in dots.iter_mut().zip(b) {
                    *dot += a * b;
                }
            }
        }
        let dot = |row: usize, column: usize| dots[row][column];
        let mut results: Vec<[u32; LANES]> = Vec::with_capacity(mma.c_registers.len());
        for (r, &register) in mma.c_registers.iter().enumerate() {
            let c = *registers.word(register);
            results.push(std::array::from_fn(|lane| {
                let (group, pair) = (lane / 4, 2 * (lane % 4));
                match mma.accumulator {
                    Type::F16 => {
                        let half = |i: usize| {
                            let c = f16::from_bits((c[lane] >> (16 * i)) as u16).to_f64();
                            let sum = dot(group + 8 * r, pair + i) + c;
                            u32::from(f16::from_f64(sum).to_bits())
                        };
                        half(0) | half(1) << 16
                    }
                    Type::S32 => {
                        // Exact in f64: at most 32 products of 16 bits.
                        let product = dot(group + 8 * (r / 2), pair + r % 2) as i64;
                        (product + i64::from(c[lane] as i32)) as u32
                    }
                    _ => {
                        let c = f64::from(f32::from_bits(c[lane]));
                        let sum = dot(group + 8 * (r / 2), pair + r % 2) + c;
                        (sum as f32).to_bits()
                    }
                }
            }));
        }
        for (&register, result) in mma.d_registers.iter().zip(results) {
            for lane in lanes_of(active) {
                registers.word_mut(register)[lane] = result[lane];
            }
        }
        Ok(Next::Following)
    }
}

fn element_bits(ty: MmaType) -> u32 {
    match ty {
        MmaType::F16 | MmaType::Bf16 => 16,
        _ => 8,
    }
}

fn decode(ty: MmaType, bits: u32) -> f64 {
    match ty {
        MmaType::F16 => f16::from_bits(bits as u16).to_f64(),
        MmaType::Bf16 => bf16::from_bits(bits as u16).to_f64(),
        MmaType::S8 => f64::from(bits as u8 as i8),
        MmaType::U8 => f64::from(bits as u8),
        // E5M2 is the upper half of an f16.
        MmaType::E5m2 => f16::from_bits((bits as u16) << 8).to_f64(),
        // So is E4M3 but for one exponent bit: moved into place it is too small by 2^8. Its only
        // NaN is the one whose bits are all ones.
        MmaType::E4m3 if bits & 0x7f == 0x7f => f64::NAN,
        MmaType::E4m3 => {
            let moved = (bits & 0x80) << 8 | (bits & 0x7f) << 7;
            f16::from_bits(moved as u16).to_f64() * 256.0
        }
    }
}
