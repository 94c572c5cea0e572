//! A warp: registers, and its lanes in groups that stand at the same instruction.

use super::{At, lanes_of};
use crate::alu::each;
use crate::memory::local::LocalMemory;
use crate::program::Address;
use crate::registers::{Aligned, Class, LANES, Registers};

use super::asynchronous::Copies;

/// Lanes that stand at the same instruction.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// The instruction.
    pub pc: u32,
    /// The lanes.
    pub lanes: u32,
    /// Whether they can go on.
    pub state: State,
}

impl Fragment {
    /// The instruction that it runs or waits at: a barrier of the block is passed when left.
    pub fn stands_at(&self) -> u32 {
        match self.state {
            State::WaitsAtBarrier(_) => self.pc - 1,
            _ => self.pc,
        }
    }
}

/// Whether a fragment can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Running,
    /// It waits for other lanes of its warp.
    WaitsForLanes,
    /// It waits at a barrier of the block.
    WaitsAtBarrier(u32),
}

/// A warp of a block.
#[derive(Debug)]
pub struct Warp {
    /// Its number in the block.
    pub number: u32,
    /// Lanes that exist.
    pub lanes: u32,
    /// Registers.
    pub registers: Registers,
    /// Local memory.
    pub local: LocalMemory,
    /// Where the lanes that have not exited are.
    pub fragments: Vec<Fragment>,
    /// Warp barriers passed.
    pub epoch: u32,
    /// Asynchronous copies under way.
    pub copies: Copies,
}

impl Warp {
    /// The next fragment that can go on: of those, the one that stands at the lowest
    /// instruction. Lanes that parted meet again because the hindmost always move first.
    pub fn next(&self) -> Option<usize> {
        let running = self.fragments.iter().enumerate();
        running
            .filter(|(_, fragment)| fragment.state == State::Running)
            .min_by_key(|(_, fragment)| fragment.pc)
            .map(|(index, _)| index)
    }

    /// Joins fragments that stand at the same instruction: running ones with each other, and
    /// ones that wait for lanes with those that arrive.
    pub fn join(&mut self, index: usize) -> usize {
        let pc = self.fragments[index].pc;
        let mut index = index;
        let mut other = 0;
        while other < self.fragments.len() {
            let fragment = self.fragments[other];
            let joins = other != index
                && fragment.pc == pc
                && !matches!(fragment.state, State::WaitsAtBarrier(_));
            if joins {
                self.fragments[index].lanes |= fragment.lanes;
                self.fragments.swap_remove(other);
                if index == self.fragments.len() {
                    index = other;
                }
            } else {
                other += 1;
            }
        }
        index
    }

    /// Lanes that have not exited.
    pub fn live(&self) -> u32 {
        self.fragments
            .iter()
            .fold(0, |all, fragment| all | fragment.lanes)
    }

    /// The addresses that an operand stands for, lane by lane.
    #[inline(always)]
    pub(super) fn addresses(&self, address: Address) -> Aligned<[u64; LANES]> {
        Aligned(match address.base {
            None => [address.offset; LANES],
            Some(base) if base.class == Class::Double => {
                let bases = self.registers.double(base);
                each(|lane| bases[lane].wrapping_add(address.offset))
            }
            Some(base) => {
                let bases = self.registers.word(base);
                each(|lane| u64::from(bases[lane].wrapping_add(address.offset as u32)))
            }
        })
    }

    /// Where a fragment of it stands.
    pub(super) fn at(&self, fragment: &Fragment) -> At {
        At {
            warp: self.number as usize,
            pc: fragment.stands_at(),
        }
    }

    /// The first lane of a mask.
    pub fn first(mask: u32) -> usize {
        lanes_of(mask).next().unwrap_or(0)
    }
}
