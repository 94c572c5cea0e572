//! `cp.async`: copies that arrive when they are waited for. PTX ISA 9.7.9.25.

use super::block::Block;
use super::lanes_of;
use super::step::Next;
use crate::memory::shared::{Access, Moment};
use crate::program::{Address, Space};
use crate::registers::{LANES, Register};
use crate::report::{Report, Violation};

/// The copies of a warp that have not arrived.
#[derive(Debug, Default)]
pub struct Copies {
    pending: Vec<Pending>,
    /// Groups that each lane has committed.
    committed: [u32; LANES],
}

/// A copy on its way.
#[derive(Debug)]
struct Pending {
    lane: usize,
    /// Groups of the lane that were committed before it.
    group: u32,
    destination: u64,
    bytes: Vec<u8>,
    instruction: u32,
}

impl Block<'_> {
    pub(super) fn copy_async(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        [destination, source]: [Address; 2],
        bytes: u32,
        read: Option<Register>,
    ) -> Result<Next, Box<Report>> {
        let destinations = self.warps[warp].addresses(destination);
        let sources = self.warps[warp].addresses(source);
        let reads = read.map(|register| *self.warps[warp].registers.word(register));
        self.count_global(active, &sources, bytes, true);
        for lane in lanes_of(active) {
            let thread = self.warps[warp].thread(lane);
            let count = reads.map_or(bytes, |reads| reads[lane]);
            if count > bytes {
                let reason = format!("{count} bytes are more than the {bytes} that it copies");
                return Err(self.report(pc, thread, Violation::Operand(reason)));
            }
            let mut copied = vec![0u8; bytes as usize];
            self.check_alignment(pc, thread, Space::Global, sources[lane], bytes)?;
            if count > 0 {
                let piece = &mut copied[..count as usize];
                self.load_global(pc, thread, sources[lane], piece, false)?;
            }
            let to = destinations[lane];
            self.check_alignment(pc, thread, Space::Shared, to, bytes)?;
            self.touch_shared(warp, pc, lane, to, bytes, Access::Write)?;
            self.shared.begin_copy(to, bytes, thread);
            let copies = &mut self.warps[warp].copies;
            copies.pending.push(Pending {
                lane,
                group: copies.committed[lane],
                destination: to,
                bytes: copied,
                instruction: pc,
            });
        }
        Ok(Next::Following)
    }

    pub(super) fn copy_commit(&mut self, warp: usize, active: u32) -> Next {
        for lane in lanes_of(active) {
            self.warps[warp].copies.committed[lane] += 1;
        }
        Next::Following
    }

    /// Waits until at most `groups` groups of each lane, or nothing at all, is under way.
    pub(super) fn copy_wait(&mut self, warp: usize, active: u32, groups: Option<u32>) -> Next {
        let (block_epoch, warp_epoch) = (self.epoch, self.warps[warp].epoch);
        let first = self.warps[warp].thread(0);
        let copies = &mut self.warps[warp].copies;
        let committed = copies.committed;
        let shared = &mut self.shared;
        copies.pending.retain(|copy| {
            let arrives = active >> copy.lane & 1 == 1
                && groups.is_none_or(|groups| copy.group + groups < committed[copy.lane]);
            if arrives {
                let moment = Moment {
                    block_epoch,
                    warp_epoch,
                    thread: first + copy.lane as u32,
                };
                shared.end_copy(copy.destination, &copy.bytes, moment, copy.instruction);
            }
            !arrives
        });
        Next::Following
    }
}
