//! 8x8 matrices of 16-bit elements between shared memory and registers. PTX ISA 9.7.14.
//!
//! Lane `l` holds elements `2 (l % 4)` and the next of row `l / 4`; transposed, of column `l / 4`.

use super::block::Block;
use super::step::Next;
use super::warp::{State, Warp};
use crate::alu::each;
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
        for (matrix, &destination) in destinations.iter().enumerate() {
            let rows = self.rows(warp, pc, address, matrix, Access::Read)?;
            let shared = &self.shared;
            // A lane has two neighbours of a row, which are a word, or of a column.
            let word = |lane: usize| shared.word(rows[lane / 4] + 4 * (lane % 4) as u64);
            let element =
                |row: usize, column: usize| shared.load(rows[row] + 2 * column as u64, 2) as u32;
            let pair = |lane: usize| {
                let (column, row) = (lane / 4, 2 * (lane % 4));
                element(row, column) | element(row + 1, column) << 16
            };
            let lanes = match is_transposed {
                false => each(word),
                true => each(pair),
            };
            *self.warps[warp].registers.word_mut(destination) = lanes;
        }
        Ok(Next::Following)
    }

    /// Addresses of the rows of an 8x8 matrix, checked and counted.
    fn rows(
        &mut self,
        warp: usize,
        pc: u32,
        address: Address,
        matrix: usize,
        access: Access,
    ) -> Result<[u64; 8], Box<Report>> {
        let addresses = self.warps[warp].addresses(address);
        let rows: [u64; 8] = std::array::from_fn(|row| addresses[8 * matrix + row]);
        for (lane, row) in (8 * matrix..).zip(rows) {
            let thread = self.warps[warp].thread(lane);
            self.check_alignment(pc, thread, Space::Shared, row, ROW)?;
            self.touch_shared_lane(warp, pc, lane, row, ROW, access)?;
        }
        self.statistics.shared_requests += 1;
        self.statistics.shared_passes += bank_passes(rows.into_iter().enumerate(), u64::from(ROW));
        Ok(rows)
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
        for (matrix, &source) in sources.iter().enumerate() {
            let rows = self.rows(warp, pc, address, matrix, Access::Write)?;
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
}
