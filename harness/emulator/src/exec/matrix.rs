//! 8x8 matrices of 16-bit elements: between shared memory and registers, and transposed among
//! registers. PTX ISA 9.7.14.
//!
//! Lane `l` holds elements `2 (l % 4)` and the next of row `l / 4`; transposed, of column `l / 4`.

use super::block::Block;
use super::step::Next;
use super::warp::{State, Warp};
use crate::alu::vectorised;
use crate::memory::shared::Access;
use crate::program::{Address, Space};
use crate::registers::Register;
use crate::report::{Report, Violation};
use crate::statistics::bank_passes;

/// Bytes of a row of an 8x8 matrix.
const ROW: u32 = 16;

impl Block<'_> {
    /// Whether all lanes are here, as `.sync.aligned` asks; false if they may still come.
    pub(super) fn are_all_here(
        &self,
        warp: usize,
        pc: u32,
        active: u32,
    ) -> Result<bool, Box<Report>> {
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
        vectorised(
            #[inline(always)]
            || self.load_rows(warp, pc, destinations, address, is_transposed),
        )?;
        Ok(Next::Following)
    }

    #[inline(always)]
    fn load_rows(
        &mut self,
        warp: usize,
        pc: u32,
        destinations: &[Register],
        address: Address,
        is_transposed: bool,
    ) -> Result<(), Box<Report>> {
        let addresses = self.warps[warp].addresses(address);
        let matrices = addresses.0.as_chunks().0.iter().enumerate();
        for (&destination, (matrix, rows)) in destinations.iter().zip(matrices) {
            self.touch_rows(warp, pc, matrix, rows, Access::Read)?;
            let shared = &self.shared;
            let lanes = self.warps[warp].registers.word_mut(destination);
            if is_transposed {
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
    fn touch_rows(
        &mut self,
        warp: usize,
        pc: u32,
        matrix: usize,
        rows: &[u64; 8],
        access: Access,
    ) -> Result<(), Box<Report>> {
        let first = self.shared_record(warp, pc);
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
                let thread = self.warps[warp].thread(lane);
                self.check_alignment(pc, thread, Space::Shared, row, ROW)?;
                self.touch_shared_lane(warp, pc, lane, row, ROW, access)?;
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
        let matrices = addresses.0.as_chunks().0.iter().enumerate();
        for (&source, (matrix, rows)) in sources.iter().zip(matrices) {
            self.touch_rows(warp, pc, matrix, rows, Access::Write)?;
            let lanes = self.warps[warp].registers.word(source);
            for (lane, &value) in lanes.iter().enumerate() {
                let (group, pair) = (lane / 4, 2 * (lane % 4));
                if is_transposed {
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
        warp: usize,
        pc: u32,
        active: u32,
        destination: Register,
        source: Register,
    ) -> Result<Next, Box<Report>> {
        if !self.are_all_here(warp, pc, active)? {
            return Ok(Next::Wait(active, State::WaitsForLanes));
        }
        let registers = &mut self.warps[warp].registers;
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
