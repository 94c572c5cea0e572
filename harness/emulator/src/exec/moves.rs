//! Loads and stores.

use super::block::Block;
use super::lanes_of;
use super::request::Request;
use super::step::Next;
use crate::memory::log::Touch;
use crate::memory::shared::Access;
use crate::program::{Move, Space};
use crate::registers::{Class, LANES, Register, Registers};
use crate::report::Report;

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
    match register.class {
        Class::Double => registers.double_mut(register)[lane] = bits,
        _ => registers.word_mut(register)[lane] = bits as u32,
    }
}

/// What a store takes from a lane of a register.
#[inline(always)]
fn get(registers: &Registers, register: Register, lane: usize) -> u64 {
    match register.class {
        Class::Double => registers.double(register)[lane],
        _ => u64::from(registers.word(register)[lane]),
    }
}

impl Block<'_> {
    pub(super) fn load(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        moved: &Move,
    ) -> Result<Next, Box<Report>> {
        let bytes = moved.bytes * moved.registers.len() as u32;
        let mut rest = self.requests(warp, pc, moved.space, moved.address, active, bytes, true)?;
        while let Some(request) = self.next_request(&mut rest) {
            if request.space == Space::Global {
                self.load_global(warp, pc, moved, &request)?;
                continue;
            }
            for lane in lanes_of(request.lanes) {
                let mut value = [0u8; WIDEST as usize];
                let value = &mut value[..bytes as usize];
                self.load_lane(warp, pc, lane, moved, &request, value)?;
                let registers = &mut self.warps[warp].registers;
                let pieces = value.chunks_exact(moved.bytes as usize);
                for (&register, piece) in moved.registers.iter().zip(pieces) {
                    let bits = match *piece {
                        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
                        _ => {
                            let mut word = [0u8; 8];
                            word[..piece.len()].copy_from_slice(piece);
                            u64::from_le_bytes(word)
                        }
                    };
                    put(registers, moved, register, lane, bits);
                }
            }
        }
        Ok(Next::Following)
    }

    fn load_global(
        &mut self,
        warp: usize,
        pc: u32,
        moved: &Move,
        request: &Request,
    ) -> Result<(), Box<Report>> {
        let touch = if moved.is_atomic {
            Touch::Atomic
        } else {
            Touch::Read
        };
        self.check_global(warp, pc, request, touch, true)?;
        let Some(allocation) = request.allocation else {
            return Ok(());
        };
        let registers = &mut self.warps[warp].registers;
        let are_words = moved.registers.iter().all(|r| r.class == Class::Word);
        if request.is_contiguous && moved.bytes == 4 && are_words {
            let count = moved.registers.len();
            let words = allocation.words(request.addresses[0], LANES * count);
            for (element, &register) in moved.registers.iter().enumerate() {
                let lanes = registers.word_mut(register).iter_mut();
                for (lane, words) in lanes.zip(words.chunks_exact(count)) {
                    *lane = words[element].load(std::sync::atomic::Ordering::Relaxed);
                }
            }
            return Ok(());
        }
        for (element, &register) in (0..).zip(&moved.registers) {
            for lane in lanes_of(request.lanes) {
                let at = request.addresses[lane] + element * u64::from(moved.bytes);
                let bits = match moved.bytes {
                    8 => allocation.load_double(at),
                    bytes => u64::from(allocation.load(at, bytes)),
                };
                put(registers, moved, register, lane, bits);
            }
        }
        Ok(())
    }

    /// Loads the bytes of a lane from any space but global memory.
    #[inline(always)]
    fn load_lane(
        &mut self,
        warp: usize,
        pc: u32,
        lane: usize,
        moved: &Move,
        request: &Request,
        value: &mut [u8],
    ) -> Result<(), Box<Report>> {
        let (space, address, bytes) = (request.space, request.addresses[lane], request.bytes);
        let thread = self.warps[warp].thread(lane);
        match space {
            Space::Shared => {
                let access = if moved.is_atomic {
                    Access::AtomicRead
                } else {
                    Access::Read
                };
                self.touch_shared(warp, pc, lane, address, bytes, access)?;
                self.shared.load(address, value);
            }
            Space::Local => {
                let local = &self.warps[warp].local;
                let range = local.range(lane, address, bytes);
                let range = range.ok_or_else(|| self.outside(pc, thread, space, address, bytes))?;
                match local.load(range) {
                    Some(bytes) => value.copy_from_slice(bytes),
                    None => return Err(self.unwritten(pc, thread, address, bytes, "local memory")),
                }
            }
            Space::Param | Space::Const | Space::Generic | Space::Global => {
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
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        warp: usize,
        pc: u32,
        active: u32,
        moved: &Move,
    ) -> Result<Next, Box<Report>> {
        let bytes = moved.bytes * moved.registers.len() as u32;
        let mut rest = self.requests(warp, pc, moved.space, moved.address, active, bytes, false)?;
        while let Some(request) = self.next_request(&mut rest) {
            if request.space == Space::Global {
                self.store_global(warp, pc, moved, &request)?;
                continue;
            }
            for lane in lanes_of(request.lanes) {
                let mut value = [0u8; WIDEST as usize];
                let registers = &self.warps[warp].registers;
                let pieces = value.chunks_exact_mut(moved.bytes as usize);
                for (&register, piece) in moved.registers.iter().zip(pieces) {
                    let bits = get(registers, register, lane).to_le_bytes();
                    piece.copy_from_slice(&bits[..moved.bytes as usize]);
                }
                self.store_lane(warp, pc, lane, moved, &request, &value[..bytes as usize])?;
            }
        }
        Ok(Next::Following)
    }

    fn store_global(
        &mut self,
        warp: usize,
        pc: u32,
        moved: &Move,
        request: &Request,
    ) -> Result<(), Box<Report>> {
        let touch = if moved.is_atomic {
            Touch::Atomic
        } else {
            Touch::Write
        };
        self.check_global(warp, pc, request, touch, false)?;
        let Some(allocation) = request.allocation else {
            return Ok(());
        };
        let registers = &self.warps[warp].registers;
        for (element, &register) in (0..).zip(&moved.registers) {
            for lane in lanes_of(request.lanes) {
                let at = request.addresses[lane] + element * u64::from(moved.bytes);
                let bits = get(registers, register, lane);
                match moved.bytes {
                    8 => allocation.store_double(at, bits),
                    bytes => allocation.store(at, bytes, bits as u32),
                }
            }
        }
        Ok(())
    }

    /// Stores the bytes of a lane to any space but global memory.
    #[inline(always)]
    fn store_lane(
        &mut self,
        warp: usize,
        pc: u32,
        lane: usize,
        moved: &Move,
        request: &Request,
        value: &[u8],
    ) -> Result<(), Box<Report>> {
        let (space, address, bytes) = (request.space, request.addresses[lane], request.bytes);
        let thread = self.warps[warp].thread(lane);
        match space {
            Space::Shared => {
                let access = if moved.is_atomic {
                    Access::AtomicWrite
                } else {
                    Access::Write
                };
                self.touch_shared(warp, pc, lane, address, bytes, access)?;
                self.shared.store(address, value);
            }
            Space::Local => {
                let range = self.warps[warp].local.range(lane, address, bytes);
                let range = range.ok_or_else(|| self.outside(pc, thread, space, address, bytes))?;
                self.warps[warp].local.store(range, value);
            }
            Space::Param | Space::Const | Space::Generic | Space::Global => {
                return Err(self.outside(pc, thread, space, address, bytes));
            }
        }
        Ok(())
    }
}
