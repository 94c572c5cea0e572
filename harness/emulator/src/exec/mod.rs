//! Running a program: warps in lockstep, blocks of warps, grids of blocks.

mod asynchronous;
mod atomics;
mod block;
mod checks;
mod collective;
mod matrix;
mod mma;
mod moves;
mod request;
mod step;
mod warp;

use crate::registers::LANES;
use crate::report::Report;
pub(crate) use block::{Block, Environment};
pub(crate) use moves::WIDEST;

/// A result that may be a broken rule.
type Checked<T = ()> = Result<T, Box<Report>>;

/// A warp of a block, and the instruction that it runs.
#[derive(Clone, Copy)]
struct At {
    warp: usize,
    pc: u32,
}

impl At {
    /// The thread of the block that a lane is.
    fn thread(self, lane: usize) -> u32 {
        (self.warp * LANES + lane) as u32
    }
}

/// The lanes of a mask, lowest first.
pub(crate) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}

/// How many lanes a mask has: most often all.
#[inline(always)]
pub(crate) fn count_of(mask: u32) -> u32 {
    // The baseline of x86-64 has no instruction that counts bits.
    match mask {
        u32::MAX => u32::BITS,
        _ => mask.count_ones(),
    }
}
