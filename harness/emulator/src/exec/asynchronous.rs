//! `cp.async`: copies that arrive when they are waited for. PTX ISA 9.7.9.25.

use super::block::Block;
use super::lanes_of;
use super::request::Accesses;
use super::step::Next;
use crate::memory::log::Touch;
use crate::memory::shared::Access;
use crate::program::{Address, Space};
use crate::registers::{LANES, Register};
use crate::report::{Report, Violation};

/// Most bytes of a copy.
const WIDEST: usize = 16;

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
    bytes: [u8; WIDEST],
    count: u32,
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
        let counts = match read {
            Some(register) => *self.warps[warp].registers.word(register),
            None => [bytes; LANES],
        };
        let wrong = lanes_of(active).find(|&lane| counts[lane] > bytes);
        if let Some(lane) = wrong {
            let reason = format!(
                "{} bytes are more than the {bytes} that it copies",
                counts[lane]
            );
            let thread = self.warps[warp].thread(lane);
            return Err(self.report(pc, thread, Violation::Operand(reason)));
        }
        let copied = self.copy_sources(warp, pc, active, source, bytes, &counts)?;
        let destinations = self.warps[warp].addresses(destination);
        for lane in lanes_of(active) {
            let thread = self.warps[warp].thread(lane);
            let to = destinations.0[lane];
            self.check_alignment(pc, thread, Space::Shared, to, bytes)?;
            self.touch_shared_lane(warp, pc, lane, to, bytes, Access::Write)?;
            self.shared.begin_copy(to, bytes, thread);
            let copies = &mut self.warps[warp].copies;
            copies.pending.push(Pending {
                lane,
                group: copies.committed[lane],
                destination: to,
                bytes: copied[lane],
                count: bytes,
                instruction: pc,
            });
        }
        Ok(Next::Following)
    }

    /// The bytes that each lane copies; zeros follow the first `counts` of them.
    fn copy_sources(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        source: Address,
        bytes: u32,
        counts: &[u32; LANES],
    ) -> Result<[[u8; WIDEST]; LANES], Box<Report>> {
        let mut copied = [[0u8; WIDEST]; LANES];
        let mut rest = Accesses::new(&self.warps[warp], Space::Global, source, active, bytes);
        self.admit(warp, pc, &rest, true)?;
        // Lanes of which fewer bytes are read are not held to all of them.
        let partial = lanes_of(active).filter(|&lane| counts[lane] < bytes);
        let partial = partial.fold(0u32, |lanes, lane| lanes | 1 << lane);
        rest.leave_out(partial);
        while let Some(request) = self.next_request(&mut rest) {
            self.check_global(warp, pc, &request, Touch::Read, true)?;
            if let Some(allocation) = request.allocation {
                for lane in lanes_of(request.lanes) {
                    let pieces = copied[lane].chunks_exact_mut(4).take(bytes as usize / 4);
                    for (at, piece) in (request.address(lane)..).step_by(4).zip(pieces) {
                        piece.copy_from_slice(&allocation.load(at, 4).to_le_bytes());
                    }
                }
            }
        }
        let addresses = self.warps[warp].addresses(source);
        for lane in lanes_of(partial) {
            for (at, byte) in (addresses.0[lane]..).zip(&mut copied[lane][..counts[lane] as usize])
            {
                let mut single = Accesses::single_byte(lane, at);
                while let Some(request) = self.next_request(&mut single) {
                    self.check_global(warp, pc, &request, Touch::Read, true)?;
                    if let Some(allocation) = request.allocation {
                        *byte = allocation.load(at, 1) as u8;
                    }
                }
            }
        }
        Ok(copied)
    }

    pub(super) fn copy_commit(&mut self, warp: usize, active: u32) -> Next {
        for lane in lanes_of(active) {
            self.warps[warp].copies.committed[lane] += 1;
        }
        Next::Following
    }

    /// Waits until at most `groups` groups of each lane, or nothing at all, is under way.
    pub(super) fn copy_wait(&mut self, warp: usize, active: u32, groups: Option<u32>) -> Next {
        let first = self.shared_record(warp, 0);
        let copies = &mut self.warps[warp].copies;
        let committed = copies.committed;
        let shared = &mut self.shared;
        copies.pending.retain(|copy| {
            let arrives = active >> copy.lane & 1 == 1
                && groups.is_none_or(|groups| copy.group + groups < committed[copy.lane]);
            if arrives {
                let bytes = &copy.bytes[..copy.count as usize];
                let now = first.of_lane(copy.lane).of_instruction(copy.instruction);
                shared.end_copy(copy.destination, bytes, now);
            }
            !arrives
        });
        Next::Following
    }
}
