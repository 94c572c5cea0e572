//! `cp.async`: copies arrive when a thread waits for them. PTX ISA 9.7.9.25.

use super::block::Block;
use super::request::Accesses;
use super::step::Next;
use super::{At, Checked, lanes_of};
use crate::memory::log::Touch;
use crate::memory::shared::Access;
use crate::program::{Address, AsyncCopy, Space};
use crate::registers::LANES;
use crate::report::Violation;

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
    pub(super) fn copy_async(&mut self, at: At, active: u32, copy: &AsyncCopy) -> Checked<Next> {
        let &AsyncCopy {
            destination,
            source,
            bytes,
            read,
        } = copy;
        let counts = match read {
            Some(register) => *self.warps[at.warp].registers.word(register),
            None => [bytes; LANES],
        };
        let wrong = lanes_of(active).find(|&lane| counts[lane] > bytes);
        if let Some(lane) = wrong {
            let reason = format!(
                "{} bytes are more than the {bytes} that it copies",
                counts[lane]
            );
            return Err(self.report(at, lane, Violation::Operand(reason)));
        }
        let copied = self.copy_sources(at, active, source, bytes, &counts)?;
        let destinations = self.warps[at.warp].addresses(destination);
        for lane in lanes_of(active) {
            let to = destinations.0[lane];
            self.check_alignment(at, lane, Space::Shared, to, bytes)?;
            self.touch_shared_lane(at, lane, to, bytes, Access::Write)?;
            self.shared.begin_copy(to, bytes, at.thread(lane));
            let copies = &mut self.warps[at.warp].copies;
            copies.pending.push(Pending {
                lane,
                group: copies.committed[lane],
                destination: to,
                bytes: copied[lane],
                count: bytes,
                instruction: at.pc,
            });
        }
        Ok(Next::Following)
    }

    /// The bytes that each lane copies; zeros follow the first `counts` of them.
    fn copy_sources(
        &mut self,
        at: At,
        active: u32,
        source: Address,
        bytes: u32,
        counts: &[u32; LANES],
    ) -> Checked<[[u8; WIDEST]; LANES]> {
        let mut copied = [[0u8; WIDEST]; LANES];
        let mut rest = Accesses::new(&self.warps[at.warp], Space::Global, source, active, bytes);
        self.admit(at, &rest, true)?;
        // Lanes of which fewer bytes are read are not held to all of them.
        let partial = lanes_of(active).filter(|&lane| counts[lane] < bytes);
        let partial = partial.fold(0u32, |lanes, lane| lanes | 1 << lane);
        rest.leave_out(partial);
        while let Some(request) = self.next_request(&mut rest) {
            self.check_global(at, &request, Touch::Read, true)?;
            if let Some(allocation) = request.allocation {
                for lane in lanes_of(request.lanes) {
                    let pieces = copied[lane].chunks_exact_mut(4).take(bytes as usize / 4);
                    for (from, piece) in (request.address(lane)..).step_by(4).zip(pieces) {
                        piece.copy_from_slice(&allocation.load(from, 4).to_le_bytes());
                    }
                }
            }
        }
        let addresses = self.warps[at.warp].addresses(source);
        for lane in lanes_of(partial) {
            for (from, byte) in
                (addresses.0[lane]..).zip(&mut copied[lane][..counts[lane] as usize])
            {
                let mut single = Accesses::single_byte(lane, from);
                while let Some(request) = self.next_request(&mut single) {
                    self.check_global(at, &request, Touch::Read, true)?;
                    if let Some(allocation) = request.allocation {
                        *byte = allocation.load(from, 1) as u8;
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
        let first = self.shared_record(At { warp, pc: 0 });
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
