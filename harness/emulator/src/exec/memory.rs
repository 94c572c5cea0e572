//! Loads, stores and atomics, and the checks before them.

use super::block::Block;
use super::lanes_of;
use super::step::Next;
use crate::memory::log::{Interval, Touch};
use crate::memory::shared::{Access, Fault, Moment};
use crate::memory::{CONST_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::program::{AtomicOp, Move, Operation, Space};
use crate::registers::{Class, LANES, Register};
use crate::report::{Index3, Other, Report, Violation};
use crate::statistics::{bank_passes, sectors};
use crate::syntax::ast::Type;

/// Most bytes that a lane moves at once.
const WIDEST: usize = 32;

/// The space that an address is in, and the address in it.
fn place(space: Space, address: u64) -> (Space, u64) {
    if space != Space::Generic {
        return (space, address);
    }
    let windows = [
        (SHARED_WINDOW, Space::Shared),
        (LOCAL_WINDOW, Space::Local),
        (PARAM_WINDOW, Space::Param),
        (CONST_WINDOW, Space::Const),
    ];
    let found = windows
        .into_iter()
        .find(|(start, _)| address.wrapping_sub(*start) < WINDOW_BYTES);
    found.map_or((Space::Global, address), |(start, space)| {
        (space, address - start)
    })
}

impl Block<'_> {
    pub(super) fn load(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        moved: &Move,
    ) -> Result<Next, Box<Report>> {
        let addresses = self.warps[warp].addresses(moved.address);
        let bytes = moved.bytes * moved.registers.len() as u32;
        self.count(active, moved.space, &addresses, bytes, true);
        for lane in lanes_of(active) {
            let thread = self.warps[warp].thread(lane);
            let (space, address) = place(moved.space, addresses[lane]);
            self.check_alignment(pc, thread, space, address, bytes)?;
            let mut value = [0u8; WIDEST];
            let value = &mut value[..bytes as usize];
            match space {
                Space::Generic | Space::Global => {
                    self.load_global(pc, thread, address, value, moved.is_atomic)?;
                }
                Space::Shared => {
                    let access = if moved.is_atomic {
                        Access::Atomic
                    } else {
                        Access::Read
                    };
                    self.touch_shared(warp, pc, lane, address, bytes, access)?;
                    self.shared.load(address, value);
                }
                Space::Local => {
                    let local = &self.warps[warp].local;
                    let range = local.range(lane, address, bytes);
                    let range =
                        range.ok_or_else(|| self.outside(pc, thread, space, address, bytes))?;
                    match local.load(range) {
                        Some(bytes) => value.copy_from_slice(bytes),
                        None => {
                            return Err(self.unwritten(pc, thread, address, bytes, "local memory"));
                        }
                    }
                }
                Space::Param | Space::Const => {
                    let bank = match space {
                        Space::Param => self.environment.parameters,
                        _ => &self.environment.program.constant_bank,
                    };
                    let end = address.checked_add(u64::from(bytes));
                    let range = end.and_then(|end| bank.get(address as usize..end as usize));
                    match range {
                        Some(found) => value.copy_from_slice(found),
                        None => return Err(self.outside(pc, thread, space, address, bytes)),
                    }
                }
            }
            let registers = &mut self.warps[warp].registers;
            for (register, piece) in moved
                .registers
                .iter()
                .zip(value.chunks(moved.bytes as usize))
            {
                let mut word = [0u8; 8];
                word[..piece.len()].copy_from_slice(piece);
                let mut word = u64::from_le_bytes(word);
                if moved.is_signed {
                    let unused = 64 - 8 * moved.bytes;
                    word = ((word << unused) as i64 >> unused) as u64;
                }
                match register.class {
                    Class::Double => registers.double_mut(*register)[lane] = word,
                    _ => registers.word_mut(*register)[lane] = word as u32,
                }
            }
        }
        Ok(Next::Following)
    }

    pub(super) fn store(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        moved: &Move,
    ) -> Result<Next, Box<Report>> {
        let addresses = self.warps[warp].addresses(moved.address);
        let bytes = moved.bytes * moved.registers.len() as u32;
        self.count(active, moved.space, &addresses, bytes, false);
        for lane in lanes_of(active) {
            let thread = self.warps[warp].thread(lane);
            let (space, address) = place(moved.space, addresses[lane]);
            self.check_alignment(pc, thread, space, address, bytes)?;
            let mut value = [0u8; WIDEST];
            let registers = &self.warps[warp].registers;
            for (register, piece) in moved
                .registers
                .iter()
                .zip(value.chunks_mut(moved.bytes as usize))
            {
                let word = match register.class {
                    Class::Double => registers.double(*register)[lane],
                    _ => u64::from(registers.word(*register)[lane]),
                };
                piece.copy_from_slice(&word.to_le_bytes()[..moved.bytes as usize]);
            }
            let value = &value[..bytes as usize];
            match space {
                Space::Generic | Space::Global => {
                    self.store_global(pc, thread, address, value, moved.is_atomic)?;
                }
                Space::Shared => {
                    let access = if moved.is_atomic {
                        Access::Atomic
                    } else {
                        Access::Write
                    };
                    self.touch_shared(warp, pc, lane, address, bytes, access)?;
                    self.shared.store(address, value);
                }
                Space::Local => {
                    let range = self.warps[warp].local.range(lane, address, bytes);
                    let range =
                        range.ok_or_else(|| self.outside(pc, thread, space, address, bytes))?;
                    self.warps[warp].local.store(range, value);
                }
                Space::Param | Space::Const => {
                    return Err(self.outside(pc, thread, space, address, bytes));
                }
            }
        }
        Ok(Next::Following)
    }

    pub(super) fn atomic(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        operation: &Operation,
    ) -> Result<Next, Box<Report>> {
        let Operation::Atomic {
            space,
            op,
            ty,
            destination,
            address,
            sources,
        } = operation
        else {
            return Ok(Next::Following);
        };
        let addresses = self.warps[warp].addresses(*address);
        let bytes = ty.bytes();
        self.count(active, *space, &addresses, bytes, false);
        for lane in lanes_of(active) {
            let thread = self.warps[warp].thread(lane);
            let (space, address) = place(*space, addresses[lane]);
            self.check_alignment(pc, thread, space, address, bytes)?;
            let operand = |register: Register| match register.class {
                Class::Double => self.warps[warp].registers.double(register)[lane],
                _ => u64::from(self.warps[warp].registers.word(register)[lane]),
            };
            let operands: Vec<u64> = sources.iter().map(|&source| operand(source)).collect();
            let old = match space {
                Space::Generic | Space::Global => {
                    let memory = self.environment.memory;
                    self.check_global(pc, thread, address, bytes, Touch::Atomic, true)?;
                    let allocation = memory.find(address, u64::from(bytes));
                    let allocation = allocation
                        .ok_or_else(|| self.outside(pc, thread, space, address, bytes))?;
                    if bytes == 8 {
                        allocation.update_double(address, |old| apply(*op, *ty, old, &operands))
                    } else {
                        let update = |old: u32| apply(*op, *ty, u64::from(old), &operands) as u32;
                        u64::from(allocation.update(address, update))
                    }
                }
                Space::Shared => {
                    self.touch_shared(warp, pc, lane, address, bytes, Access::Atomic)?;
                    let mut old = [0u8; 8];
                    self.shared.load(address, &mut old[..bytes as usize]);
                    let old = u64::from_le_bytes(old);
                    let new = apply(*op, *ty, old, &operands);
                    self.shared
                        .store(address, &new.to_le_bytes()[..bytes as usize]);
                    old
                }
                _ => return Err(self.outside(pc, thread, space, address, bytes)),
            };
            if let Some(destination) = destination {
                let registers = &mut self.warps[warp].registers;
                match destination.class {
                    Class::Double => registers.double_mut(*destination)[lane] = old,
                    _ => registers.word_mut(*destination)[lane] = old as u32,
                }
            }
        }
        Ok(Next::Following)
    }

    /// Checks and loads bytes of global memory.
    #[inline]
    pub(super) fn load_global(
        &mut self,
        pc: u32,
        thread: u32,
        address: u64,
        out: &mut [u8],
        is_atomic: bool,
    ) -> Result<(), Box<Report>> {
        let touch = if is_atomic {
            Touch::Atomic
        } else {
            Touch::Read
        };
        let bytes = out.len() as u32;
        let memory = self.environment.memory;
        self.check_global(pc, thread, address, bytes, touch, true)?;
        let Some(allocation) = memory.find(address, u64::from(bytes)) else {
            return Err(self.outside(pc, thread, Space::Global, address, bytes));
        };
        let mut at = address;
        for piece in out.chunks_mut(4) {
            // Pieces of 3 bytes come from cp.async, whose sources are aligned to words.
            let value = match piece.len() {
                3 => allocation.load(at, 2) | allocation.load(at + 2, 1) << 16,
                length => allocation.load(at, length as u32),
            };
            piece.copy_from_slice(&value.to_le_bytes()[..piece.len()]);
            at += 4;
        }
        Ok(())
    }

    #[inline]
    fn store_global(
        &mut self,
        pc: u32,
        thread: u32,
        address: u64,
        value: &[u8],
        is_atomic: bool,
    ) -> Result<(), Box<Report>> {
        let touch = if is_atomic {
            Touch::Atomic
        } else {
            Touch::Write
        };
        let bytes = value.len() as u32;
        let memory = self.environment.memory;
        self.check_global(pc, thread, address, bytes, touch, false)?;
        let Some(allocation) = memory.find(address, u64::from(bytes)) else {
            return Err(self.outside(pc, thread, Space::Global, address, bytes));
        };
        let mut at = address;
        for piece in value.chunks(4) {
            let mut word = [0u8; 4];
            word[..piece.len()].copy_from_slice(piece);
            allocation.store(at, piece.len() as u32, u32::from_le_bytes(word));
            at += 4;
        }
        Ok(())
    }

    /// Checks an access to global memory and notes it.
    #[inline]
    fn check_global(
        &mut self,
        pc: u32,
        thread: u32,
        address: u64,
        bytes: u32,
        touch: Touch,
        is_read: bool,
    ) -> Result<(), Box<Report>> {
        let end = address.wrapping_add(u64::from(bytes));
        let Some(allocation) = self.environment.memory.find(address, u64::from(bytes)) else {
            return Err(self.outside(pc, thread, Space::Global, address, bytes));
        };
        if is_read
            && !allocation.is_written(address, u64::from(bytes))
            && !self.log.has_written(address, end)
        {
            return Err(self.unwritten(pc, thread, address, bytes, &allocation.to_string()));
        }
        self.log.push(Interval {
            start: address,
            end,
            touch,
            instruction: pc,
            thread,
        });
        Ok(())
    }

    /// Checks an access to shared memory and remembers it.
    pub(super) fn touch_shared(
        &mut self,
        warp: usize,
        pc: u32,
        lane: usize,
        address: u64,
        bytes: u32,
        access: Access,
    ) -> Result<(), Box<Report>> {
        let thread = self.warps[warp].thread(lane);
        let moment = Moment {
            block_epoch: self.epoch,
            warp_epoch: self.warps[warp].epoch,
            thread,
        };
        match self.shared.touch(address, bytes, access, moment, pc) {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.shared_fault(pc, thread, address, bytes, access, fault)),
        }
    }

    #[cold]
    fn shared_fault(
        &self,
        pc: u32,
        thread: u32,
        address: u64,
        bytes: u32,
        access: Access,
        fault: Fault,
    ) -> Box<Report> {
        let block = self.environment.block;
        let violation = match fault {
            Fault::OutOfBounds => return self.outside(pc, thread, Space::Shared, address, bytes),
            Fault::NeverWritten => {
                return self.unwritten(pc, thread, address, bytes, "shared memory");
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
        self.report(pc, thread, violation)
    }

    pub(super) fn check_alignment(
        &self,
        pc: u32,
        thread: u32,
        space: Space,
        address: u64,
        bytes: u32,
    ) -> Result<(), Box<Report>> {
        if address & u64::from(bytes - 1) == 0 {
            return Ok(());
        }
        let violation = Violation::Misaligned {
            address,
            bytes,
            nearest: self.nearest(space, address),
        };
        Err(self.report(pc, thread, violation))
    }

    #[cold]
    fn unwritten(
        &self,
        pc: u32,
        thread: u32,
        address: u64,
        bytes: u32,
        nearest: &str,
    ) -> Box<Report> {
        let violation = Violation::UnwrittenMemory {
            address,
            bytes,
            nearest: nearest.to_owned(),
        };
        self.report(pc, thread, violation)
    }

    #[cold]
    fn outside(&self, pc: u32, thread: u32, space: Space, address: u64, bytes: u32) -> Box<Report> {
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
        self.report(pc, thread, violation)
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
                Some(near) if near.holds(address, 0) => format!("in {near}"),
                Some(near) => format!("the nearest allocation is {near}"),
            },
        }
    }

    /// Counts a request.
    fn count(
        &mut self,
        active: u32,
        space: Space,
        addresses: &[u64; LANES],
        bytes: u32,
        is_load: bool,
    ) {
        let first = addresses[active.trailing_zeros() as usize & 31];
        match place(space, first).0 {
            Space::Generic | Space::Global => self.count_global(active, addresses, bytes, is_load),
            Space::Shared => {
                let mut lanes = [(0usize, 0u64); LANES];
                let mut count = 0;
                for lane in lanes_of(active) {
                    lanes[count] = (lane, place(space, addresses[lane]).1);
                    count += 1;
                }
                self.statistics.shared_requests += 1;
                self.statistics.shared_passes += bank_passes(&lanes[..count], u64::from(bytes));
            }
            Space::Local | Space::Param | Space::Const => {}
        }
    }

    pub(super) fn count_global(
        &mut self,
        active: u32,
        addresses: &[u64; LANES],
        bytes: u32,
        is_load: bool,
    ) {
        let moved = u64::from(active.count_ones()) * u64::from(bytes);
        if is_load {
            self.statistics.global_load_bytes += moved;
        } else {
            self.statistics.global_store_bytes += moved;
        }
        self.statistics.global_requests += 1;
        let touched = lanes_of(active).map(|lane| addresses[lane]);
        self.statistics.global_sectors += sectors(touched, u64::from(bytes));
    }
}

/// The new value of an atomic operation.
fn apply(op: AtomicOp, ty: Type, old: u64, operands: &[u64]) -> u64 {
    let a = operands[0];
    let signed = |value: u64| match ty {
        Type::S32 => i64::from(value as u32 as i32),
        _ => value as i64,
    };
    match (op, ty) {
        (AtomicOp::Add, Type::F32) => {
            let sum = f32::from_bits(old as u32) + f32::from_bits(a as u32);
            u64::from(sum.to_bits())
        }
        (AtomicOp::Add, Type::F64) => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        (AtomicOp::Add, _) => old.wrapping_add(a),
        (AtomicOp::Min, Type::S32 | Type::S64) => {
            if signed(a) < signed(old) {
                a
            } else {
                old
            }
        }
        (AtomicOp::Max, Type::S32 | Type::S64) => {
            if signed(a) > signed(old) {
                a
            } else {
                old
            }
        }
        (AtomicOp::Min, _) => old.min(a),
        (AtomicOp::Max, _) => old.max(a),
        (AtomicOp::And, _) => old & a,
        (AtomicOp::Or, _) => old | a,
        (AtomicOp::Xor, _) => old ^ a,
        (AtomicOp::Exch, _) => a,
        (AtomicOp::Cas, _) => {
            if old == a {
                operands[1]
            } else {
                old
            }
        }
        (AtomicOp::Inc, _) => {
            if old >= a {
                0
            } else {
                old + 1
            }
        }
        (AtomicOp::Dec, _) => {
            if old == 0 || old > a {
                a
            } else {
                old - 1
            }
        }
    }
}
