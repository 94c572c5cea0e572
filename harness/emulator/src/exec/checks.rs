//! The checks before an access to memory, and the reports of those that fail.

use super::block::Block;
use super::request::Request;
use super::{At, Checked, lanes_of};
use crate::memory::log::{Interval, Touch};
use crate::memory::shared::{Access, Fault, Moment, Record};
use crate::program::Space;
use crate::registers::LANES;
use crate::report::{Index3, Other, Report, Violation};

impl Block<'_> {
    /// Checks an access of several lanes to global memory and notes it.
    pub(super) fn check_global(
        &mut self,
        at: At,
        request: &Request,
        touch: Touch,
        is_read: bool,
    ) -> Checked {
        let bytes = u64::from(request.bytes);
        let first = at.thread(0);
        let Some(allocation) = request.allocation else {
            let lane = request.first();
            let address = request.address(lane);
            return Err(self.outside(at, lane, Space::Global, address, request.bytes));
        };
        if request.is_contiguous {
            let (start, count) = (request.address(0), bytes * LANES as u64);
            if !is_read || allocation.is_written(start, count) {
                self.log.push(Interval {
                    start,
                    end: start + count,
                    touch,
                    instruction: at.pc,
                    thread: first,
                });
                return Ok(());
            }
        }
        for lane in lanes_of(request.lanes) {
            let start = request.address(lane);
            let (end, thread) = (start + bytes, first + lane as u32);
            if is_read && !allocation.is_written(start, bytes) && !self.log.has_written(start, end)
            {
                let name = allocation.to_string();
                return Err(self.unwritten(at, lane, start, request.bytes, &name));
            }
            self.log.push(Interval {
                start,
                end,
                touch,
                instruction: at.pc,
                thread,
            });
        }
        Ok(())
    }

    /// Checks accesses of several lanes to shared memory and remembers them.
    #[inline(always)]
    pub(super) fn touch_shared(&mut self, at: At, request: &Request, access: Access) -> Checked {
        let first = self.shared_record(at);
        let mut rest = request.lanes;
        if rest == u32::MAX && request.bytes == 4 {
            let done = self
                .shared
                .touch_words(|lane| request.address(lane), access, first);
            rest = rest.checked_shl(done as u32).unwrap_or(0);
        }
        for lane in lanes_of(rest) {
            let (address, bytes) = (request.address(lane), request.bytes);
            let now = first.of_lane(lane);
            if let Err(fault) = self.shared.touch(address, bytes, access, now) {
                return Err(self.shared_fault(at, lane, address, bytes, access, fault));
            }
        }
        Ok(())
    }

    /// Checks a lane's access to shared memory and remembers it.
    pub(super) fn touch_shared_lane(
        &mut self,
        at: At,
        lane: usize,
        address: u64,
        bytes: u32,
        access: Access,
    ) -> Checked {
        let now = self.shared_record(at).of_lane(lane);
        let touched = self.shared.touch(address, bytes, access, now);
        touched.map_err(|fault| self.shared_fault(at, lane, address, bytes, access, fault))
    }

    /// An access to shared memory, now, by the first thread of a warp.
    #[inline(always)]
    pub(super) fn shared_record(&self, at: At) -> Record {
        let moment = Moment {
            block_epoch: self.epoch,
            warp_epoch: self.warps[at.warp].epoch,
            thread: at.thread(0),
        };
        Record::new(moment, at.pc)
    }

    #[cold]
    #[allow(clippy::too_many_arguments, reason = "all of an access")]
    pub(super) fn shared_fault(
        &self,
        at: At,
        lane: usize,
        address: u64,
        bytes: u32,
        access: Access,
        fault: Fault,
    ) -> Box<Report> {
        let block = self.environment.block;
        let violation = match fault {
            Fault::OutOfBounds => return self.outside(at, lane, Space::Shared, address, bytes),
            Fault::NeverWritten => {
                return self.unwritten(at, lane, address, bytes, "shared memory");
            }
            Fault::Pending(owner) => Violation::PendingCopy {
                address,
                owner: Index3::of(owner, block),
            },
            Fault::Race {
                thread: other,
                access: other_access,
                instruction,
            } => Violation::SharedRace {
                address,
                access,
                other_access,
                other: Other {
                    block: None,
                    thread: Index3::of(other, block),
                    position: self.environment.program.instructions[instruction as usize].position,
                },
            },
        };
        self.report(at, lane, violation)
    }

    pub(super) fn check_alignment(
        &self,
        at: At,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> Checked {
        if address & u64::from(bytes - 1) == 0 {
            return Ok(());
        }
        let violation = Violation::Misaligned {
            address,
            bytes,
            nearest: self.nearest(space, address),
        };
        Err(self.report(at, lane, violation))
    }

    #[cold]
    pub(super) fn unwritten(
        &self,
        at: At,
        lane: usize,
        address: u64,
        bytes: u32,
        nearest: &str,
    ) -> Box<Report> {
        let violation = Violation::UnwrittenMemory {
            address,
            bytes,
            nearest: nearest.to_owned(),
        };
        self.report(at, lane, violation)
    }

    #[cold]
    pub(super) fn read_only(
        &self,
        at: At,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> Box<Report> {
        let space = match space {
            Space::Param => "parameters",
            _ => "constant memory",
        };
        let violation = Violation::ReadOnly {
            address,
            bytes,
            space,
        };
        self.report(at, lane, violation)
    }

    #[cold]
    pub(super) fn outside(
        &self,
        at: At,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> Box<Report> {
        let freed = match space {
            Space::Generic | Space::Global => {
                self.environment.memory.nearest(address).filter(|a| {
                    a.is_freed() && address >= a.base() && address - a.base() < a.bytes()
                })
            }
            _ => None,
        };
        let violation = match freed {
            Some(allocation) => Violation::Freed {
                address,
                bytes,
                allocation: allocation.to_string(),
            },
            None => Violation::OutOfBounds {
                address,
                bytes,
                nearest: self.nearest(space, address),
            },
        };
        self.report(at, lane, violation)
    }

    /// What is near an address, in words.
    fn nearest(&self, space: Space, address: u64) -> String {
        let size = |name: &str, bytes: usize| format!("{name} has {bytes} bytes");
        match space {
            Space::Shared => size("shared memory", self.shared.len()),
            Space::Local => size("local memory", self.environment.program.local as usize),
            Space::Param => size("the parameter block", self.environment.parameters.len()),
            Space::Const => size(
                "constant memory",
                self.environment.program.constant_bank.len(),
            ),
            Space::Generic | Space::Global => match self.environment.memory.nearest(address) {
                None => "nothing is allocated".to_owned(),
                Some(near) if near.holds(address, 1) => format!("in {near}"),
                Some(near) => format!("the nearest allocation is {near}"),
            },
        }
    }
}
