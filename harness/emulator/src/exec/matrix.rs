//! 8x8 matrices of 16-bit elements: between shared memory and registers, and transposed among
//! registers. PTX ISA 9.7.14.
//!
//! Lane `l` holds elements `2 (l % 4)` and the next of row `l / 4`; transposed, of column `l / 4`.

use super::block::Block;
use super::step::Next;
use super::warp::{State, Warp};
use super::{At, Checked};
use crate::alu::vectorised;
use crate::memory::shared::Access;
use crate::program::{Matrices, Space};
use crate::registers::Register;
use crate::report::Violation;
use crate::statistics::bank_passes;

/// Bytes of a row of an 8x8 matrix.
const ROW: u32 = 16;

impl Block<'_> {
    /// Whether all lanes are here, as `.sync.aligned` asks; false if they may still come.
    pub(super) fn are_all_here(&self, at: At, active: u32) -> Checked<bool> {
        if active == u32::MAX {
            return Ok(true);
        }
        if self.warps[at.warp].live() == u32::MAX {
            return Ok(false);
        }
        let violation = Violation::LaneMask {
            mask: active,
            reason: "only these lanes are here, and the instruction needs all 32".to_owned(),
        };
        Err(self.report(at, Warp::first(active), violation))
    }

    pub(super) fn load_matrix(
        &mut self,
        at: At,
        active: u32,
        matrices: &Matrices,
    ) -> Checked<Next> {
        if !self.are_all_here(at, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        vectorised(
            #[inline(always)]
            || self.load_rows(at, matrices),
        )?;
        Ok(Next::Following)
    }

    #[inline(always)]
    fn load_rows(&mut self, at: At, matrices: &Matrices) -> Checked {
        let addresses = self.warps[at.warp].addresses(matrices.address);
        let rows = addresses.0.as_chunks().0.iter().enumerate();
        for (&destination, (matrix, rows)) in matrices.registers.iter().zip(rows) {
            self.touch_rows(at, matrix, rows, Access::Read)?;
            let shared = &self.shared;
            let lanes = self.warps[at.warp].registers.word_mut(destination);
            if matrices.is_transposed {
                let element = |row: usize, column: usize| {
                    shared.load(rows[row] + 2 * column as u64, 2) as u32
                };
                for (lane, pair) in lanes.iter_mut().enumerate() {
                    let (column, row) = (lane / 4, 2 * (lane % 4));
                    *pair = element(row, column) | element(row + 1, column) << 16;
                }
            } else {
                for (lanes, &row) in lanes.as_chunks_mut().0.iter_mut().zip(rows) {
                    *lanes = shared.words(row);
                }
            }
        }
        Ok(())
    }

    /// Checks and counts the accesses to the rows of an 8x8 matrix.
    #[inline(always)]
    fn touch_rows(&mut self, at: At, matrix: usize, rows: &[u64; 8], access: Access) -> Checked {
        let first = self.shared_record(at);
        let mut all = 0;
        for row in rows {
            all |= row;
        }
        let is_aligned = all % u64::from(ROW) == 0;
        if !is_aligned
            || !self
                .shared
                .touch_rows(rows, access, first.of_lane(8 * matrix))
        {
            for (lane, &row) in (8 * matrix..).zip(rows) {
                self.check_alignment(at, lane, Space::Shared, row, ROW)?;
                self.touch_shared_lane(at, lane, row, ROW, access)?;
            }
        }
        self.statistics.shared_requests += 1;
        let mut banks = 0u32;
        for row in rows {
            banks |= 1 << (row / u64::from(ROW) % 8);
        }
        self.statistics.shared_passes += match banks {
            0xff => 1,
            _ => bank_passes(rows.iter().copied().enumerate(), u64::from(ROW)),
        };
        Ok(())
    }

    pub(super) fn store_matrix(
        &mut self,
        at: At,
        active: u32,
        matrices: &Matrices,
    ) -> Checked<Next> {
        if !self.are_all_here(at, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let addresses = self.warps[at.warp].addresses(matrices.address);
        let rows = addresses.0.as_chunks().0.iter().enumerate();
        for (&source, (matrix, rows)) in matrices.registers.iter().zip(rows) {
            self.touch_rows(at, matrix, rows, Access::Write)?;
            let lanes = self.warps[at.warp].registers.word(source);
            for (lane, &value) in lanes.iter().enumerate() {
                let (group, pair) = (lane / 4, 2 * (lane % 4));
                if matrices.is_transposed {
                    for (row, half) in (pair..).zip([value & 0xffff, value >> 16]) {
                        let to = rows[row] + 2 * group as u64;
                        self.shared.store(to, 2, u64::from(half));
                    }
                } else {
                    self.shared.set_word(rows[group] + 2 * pair as u64, value);
                }
            }
        }
        Ok(Next::Following)
    }

    pub(super) fn move_matrix(
        &mut self,
        at: At,
        active: u32,
        destination: Register,
        source: Register,
    ) -> Checked<Next> {
        if !self.are_all_here(at, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let registers = &mut self.warps[at.warp].registers;
        let rows = *registers.word(source);
        let element =
            |row: usize, column: usize| rows[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff;
        for (lane, pair) in registers.word_mut(destination).iter_mut().enumerate() {
            let (column, row) = (lane / 4, 2 * (lane % 4));
            *pair = element(row, column) | element(row + 1, column) << 16;
        }
        Ok(Next::Following)
    }
}
