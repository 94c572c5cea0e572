//! Loads and stores.

use super::block::Block;
use super::request::{Accesses, Request};
use super::step::Next;
use super::{At, Checked, lanes_of};
use std::sync::atomic::Ordering;

use crate::memory::log::Touch;
use crate::memory::shared::Access;
use crate::program::{Move, Space};
use crate::registers::{Class, LANES, Register, Registers};

/// Most bytes that a lane moves at once.
pub(crate) const WIDEST: u32 = 32;

/// Sets a lane of a register to what was loaded for it.
#[inline(always)]
fn put(registers: &mut Registers, moved: &Move, register: Register, lane: usize, bits: u64) {
    let mut bits = bits;
    if moved.is_signed {
        let unused = 64 - 8 * moved.bytes;
        bits = ((bits << unused) as i64 >> unused) as u64 & moved.register_mask;
    }
    registers.set_bits(register, lane, bits);
}

/// The number that up to eight bytes are.
#[inline(always)]
fn number(bytes: &[u8]) -> u64 {
    match *bytes {
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => {
            let mut word = [0u8; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        }
    }
}

impl Move {
    /// Registers, each with the distance of its element from the first.
    fn elements(&self) -> impl Iterator<Item = (u64, Register)> {
        let distances = (0..).step_by(self.bytes as usize);
        distances.zip(self.registers.iter().copied())
    }

    /// Whether it moves whole registers of 32 bits.
    fn moves_words(&self) -> bool {
        self.bytes == 4 && self.registers.iter().all(|r| r.class == Class::Word)
    }
}

impl Block<'_> {
    pub(super) fn load(&mut self, at: At, active: u32, moved: &Move) -> Checked<Next> {
        let bytes = moved.bytes * moved.registers.len() as u32;
        let mut rest = Accesses::new(
            &self.warps[at.warp],
            moved.space,
            moved.address,
            active,
            bytes,
        );
        self.admit(at, &rest, true)?;
        while let Some(request) = self.next_request(&mut rest) {
            match request.space {
                Space::Global => self.load_global(at, moved, &request)?,
                Space::Shared => self.load_shared(at, moved, &request)?,
                _ => self.load_own(at, moved, &request)?,
            }
        }
        Ok(Next::Following)
    }

    fn load_global(&mut self, at: At, moved: &Move, request: &Request) -> Checked {
        let touch = if moved.is_atomic {
            Touch::Atomic
        } else {
            Touch::Read
        };
        self.check_global(at, request, touch, true)?;
        let Some(allocation) = request.allocation else {
            return Ok(());
        };
        let registers = &mut self.warps[at.warp].registers;
        if request.is_contiguous && moved.moves_words() {
            let count = moved.registers.len();
            let words = allocation.words(request.address(0), LANES * count);
            for (element, &register) in moved.registers.iter().enumerate() {
                let lanes = registers.word_mut(register).iter_mut();
                for (lane, words) in lanes.zip(words.chunks_exact(count)) {
                    *lane = words[element].load(Ordering::Relaxed);
                }
            }
            return Ok(());
        }
        for (distance, register) in moved.elements() {
            for lane in lanes_of(request.lanes) {
                let at = request.address(lane) + distance;
                let bits = match moved.bytes {
                    8 => allocation.load_double(at),
                    bytes => u64::from(allocation.load(at, bytes)),
                };
                put(registers, moved, register, lane, bits);
            }
        }
        Ok(())
    }

    fn load_shared(&mut self, at: At, moved: &Move, request: &Request) -> Checked {
        let access = if moved.is_atomic {
            Access::AtomicRead
        } else {
            Access::Read
        };
        self.touch_shared(at, request, access)?;
        let (registers, shared) = (&mut self.warps[at.warp].registers, &self.shared);
        for (distance, register) in moved.elements() {
            if moved.bytes == 4 && register.class == Class::Word {
                let lanes = registers.word_mut(register);
                if request.lanes == u32::MAX {
                    for (lane, value) in lanes.iter_mut().enumerate() {
                        *value = shared.word(request.address(lane) + distance);
                    }
                    continue;
                }
                for lane in lanes_of(request.lanes) {
                    lanes[lane] = shared.word(request.address(lane) + distance);
                }
                continue;
            }
            for lane in lanes_of(request.lanes) {
                let bits = shared.load(request.address(lane) + distance, moved.bytes);
                put(registers, moved, register, lane, bits);
            }
        }
        Ok(())
    }

    /// Loads from the spaces that other threads cannot write.
    fn load_own(&mut self, at: At, moved: &Move, request: &Request) -> Checked {
        let (space, bytes) = (request.space, request.bytes);
        for lane in lanes_of(request.lanes) {
            let address = request.address(lane);
            let outside = || self.outside(at, lane, space, address, bytes);
            let mut value = [0u8; WIDEST as usize];
            let value = &mut value[..bytes as usize];
            if space == Space::Local {
                let local = &self.warps[at.warp].local;
                let range = local.range(lane, address, bytes).ok_or_else(outside)?;
                let Some(found) = local.load(range) else {
                    return Err(self.unwritten(at, lane, address, bytes, "local memory"));
                };
                value.copy_from_slice(found);
            } else {
                let bank = match space {
                    Space::Param => self.environment.parameters,
                    _ => &self.environment.program.constant_bank,
                };
                let end = address.checked_add(u64::from(bytes));
                let range = end.and_then(|end| bank.get(address as usize..end as usize));
                value.copy_from_slice(range.ok_or_else(outside)?);
            }
            // Parameters are the same for all lanes.
            let is_uniform = space == Space::Param && moved.address.base.is_none();
            let registers = &mut self.warps[at.warp].registers;
            for (distance, register) in moved.elements() {
                let bits = number(&value[distance as usize..][..moved.bytes as usize]);
                let lanes = if is_uniform { request.lanes } else { 1 << lane };
                for lane in lanes_of(lanes) {
                    put(registers, moved, register, lane, bits);
                }
            }
            if is_uniform {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn store(&mut self, at: At, active: u32, moved: &Move) -> Checked<Next> {
        let bytes = moved.bytes * moved.registers.len() as u32;
        let mut rest = Accesses::new(
            &self.warps[at.warp],
            moved.space,
            moved.address,
            active,
            bytes,
        );
        self.admit(at, &rest, false)?;
        while let Some(request) = self.next_request(&mut rest) {
            match request.space {
                Space::Global => self.store_global(at, moved, &request)?,
                Space::Shared => self.store_shared(at, moved, &request)?,
                _ => self.store_own(at, moved, &request)?,
            }
        }
        Ok(Next::Following)
    }

    fn store_global(&mut self, at: At, moved: &Move, request: &Request) -> Checked {
        let touch = if moved.is_atomic {
            Touch::Atomic
        } else {
            Touch::Write
        };
        self.check_global(at, request, touch, false)?;
        let Some(allocation) = request.allocation else {
            return Ok(());
        };
        let registers = &self.warps[at.warp].registers;
        if request.is_contiguous && moved.moves_words() {
            let count = moved.registers.len();
            let words = allocation.words(request.address(0), LANES * count);
            for (element, &register) in moved.registers.iter().enumerate() {
                let lanes = registers.word(register);
                for (lane, words) in lanes.iter().zip(words.chunks_exact(count)) {
                    words[element].store(*lane, Ordering::Relaxed);
                }
            }
            return Ok(());
        }
        for (distance, register) in moved.elements() {
            for lane in lanes_of(request.lanes) {
                let at = request.address(lane) + distance;
                let bits = registers.bits(register, lane);
                match moved.bytes {
                    8 => allocation.store_double(at, bits),
                    bytes => allocation.store(at, bytes, bits as u32),
                }
            }
        }
        Ok(())
    }

    fn store_shared(&mut self, at: At, moved: &Move, request: &Request) -> Checked {
        let access = if moved.is_atomic {
            Access::AtomicWrite
        } else {
            Access::Write
        };
        self.touch_shared(at, request, access)?;
        let (registers, shared) = (&self.warps[at.warp].registers, &mut self.shared);
        for (distance, register) in moved.elements() {
            if moved.bytes == 4 && register.class == Class::Word {
                let lanes = registers.word(register);
                if request.lanes == u32::MAX {
                    for (lane, &value) in lanes.iter().enumerate() {
                        shared.set_word(request.address(lane) + distance, value);
                    }
                    continue;
                }
                for lane in lanes_of(request.lanes) {
                    shared.set_word(request.address(lane) + distance, lanes[lane]);
                }
                continue;
            }
            for lane in lanes_of(request.lanes) {
                let bits = registers.bits(register, lane);
                shared.store(request.address(lane) + distance, moved.bytes, bits);
            }
        }
        Ok(())
    }

    /// Stores to the spaces that other threads cannot write.
    fn store_own(&mut self, at: At, moved: &Move, request: &Request) -> Checked {
        let (space, bytes) = (request.space, request.bytes);
        for lane in lanes_of(request.lanes) {
            let address = request.address(lane);
            if space != Space::Local {
                return Err(self.read_only(at, lane, space, address, bytes));
            }
            let local = &mut self.warps[at.warp].local;
            let Some(range) = local.range(lane, address, bytes) else {
                return Err(self.outside(at, lane, space, address, bytes));
            };
            let mut value = [0u8; WIDEST as usize];
            let registers = &self.warps[at.warp].registers;
            for (distance, register) in moved.elements() {
                let bits = registers.bits(register, lane).to_le_bytes();
                let (piece, count) = (&mut value[distance as usize..], moved.bytes as usize);
                piece[..count].copy_from_slice(&bits[..count]);
            }
            let value = &value[..bytes as usize];
            self.warps[at.warp].local.store(range, value);
        }
        Ok(())
    }
}
