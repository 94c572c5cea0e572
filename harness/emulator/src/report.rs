//! Reports of what stopped a launch, and where.

use std::fmt;

use crate::memory::log::Touch;
use crate::memory::shared::Access;
use crate::syntax::ast::Position;

/// Coordinates of a block or a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Index3(pub [u32; 3]);

impl Index3 {
    /// The `linear`th of a box of `size`, x first.
    pub fn of(linear: u32, size: [u32; 3]) -> Self {
        Self([
            linear % size[0],
            linear / size[0] % size[1],
            linear / size[0] / size[1],
        ])
    }
}

impl fmt::Display for Index3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.0;
        write!(f, "({x}, {y}, {z})")
    }
}

/// A rule that a kernel broke, with the place where it did.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{kernel}: line {position}: block {block}, thread {thread}: {violation}")]
pub struct Report {
    /// Kernel.
    pub kernel: String,
    /// Its instruction.
    pub position: Position,
    /// Block.
    pub block: Index3,
    /// Thread of the block; the first one, where several are concerned.
    pub thread: Index3,
    /// What is wrong.
    pub violation: Violation,
}

/// The other side of a race: its block, thread and instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Block, for races between blocks.
    pub block: Option<Index3>,
    /// Thread of its block.
    pub thread: Index3,
    /// Its instruction.
    pub position: Position,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(block) = self.block {
            write!(f, "block {block}, ")?;
        }
        write!(f, "thread {} at line {}", self.thread, self.position)
    }
}

/// The rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// An access outside what the thread may touch.
    #[error("{bytes} bytes at {address:#x} are out of bounds; {nearest}")]
    OutOfBounds {
        /// First byte.
        address: u64,
        /// How many.
        bytes: u32,
        /// The allocation nearby, or the size of the space.
        nearest: String,
    },
    /// An access to memory that was given back.
    #[error("{bytes} bytes at {address:#x} belong to {allocation}, which was freed")]
    Freed {
        /// First byte.
        address: u64,
        /// How many.
        bytes: u32,
        /// The allocation.
        allocation: String,
    },
    /// An address that is no multiple of the access' size.
    #[error("{address:#x} is not a multiple of {bytes}, the size of the access; {nearest}")]
    Misaligned {
        /// Address.
        address: u64,
        /// Size.
        bytes: u32,
        /// The allocation nearby, or the space.
        nearest: String,
    },
    /// A write where nobody may write.
    #[error("{bytes} bytes at {address:#x} cannot be written: kernels only read {space}")]
    ReadOnly {
        /// First byte.
        address: u64,
        /// How many.
        bytes: u32,
        /// The space.
        space: &'static str,
    },
    /// A read of memory without a value.
    #[error("{bytes} bytes at {address:#x} were never written; {nearest}")]
    UnwrittenMemory {
        /// First byte.
        address: u64,
        /// How many.
        bytes: u32,
        /// The allocation or space.
        nearest: String,
    },
    /// A read of a register without a value.
    #[error("register `{register}` was never written")]
    UnwrittenRegister {
        /// Its name.
        register: String,
    },
    /// Two threads of a block access a byte without a barrier between them.
    #[error("race in shared memory at {address:#x}: {access:?} here, {other_access:?} by {other}")]
    SharedRace {
        /// Address in shared memory.
        address: u64,
        /// What this thread does.
        access: Access,
        /// What the other did.
        other_access: Access,
        /// The other.
        other: Other,
    },
    /// Two blocks access one byte of global memory.
    #[error(
        "race between blocks at {address:#x} in {allocation}: {touch:?} here, {other_touch:?} by \
         {other}"
    )]
    GlobalRace {
        /// Address.
        address: u64,
        /// The allocation.
        allocation: String,
        /// What this block does.
        touch: Touch,
        /// What the other does.
        other_touch: Touch,
        /// The other.
        other: Other,
    },
    /// A read or write of the target of an unfinished asynchronous copy.
    #[error(
        "shared memory at {address:#x} is the target of a cp.async of thread {owner} that was not \
         waited for"
    )]
    PendingCopy {
        /// Address in shared memory.
        address: u64,
        /// Thread that began the copy.
        owner: Index3,
    },
    /// A barrier that not all threads of a warp reach together.
    #[error("divergent barrier: only lanes {arrived:#010x} of {expected:#010x} are here")]
    DivergentBarrier {
        /// Lanes that are here.
        arrived: u32,
        /// Lanes of the warp.
        expected: u32,
    },
    /// A barrier that can never complete.
    #[error(
        "barrier {barrier} never completes: {arrived} of {expected} threads arrived, the others \
         {others}"
    )]
    StuckBarrier {
        /// Its number.
        barrier: u32,
        /// Threads that arrived.
        arrived: u32,
        /// Threads that it waits for.
        expected: u32,
        /// Where they are.
        others: String,
    },
    /// Thread counts of one barrier that do not agree.
    #[error("barrier {barrier} was entered with {first} threads before and {second} here")]
    BarrierCount {
        /// Its number.
        barrier: u32,
        /// First count.
        first: u32,
        /// Count here.
        second: u32,
    },
    /// A warp-wide instruction whose mask names lanes that never come, or not its own.
    #[error("lane mask {mask:#010x}: {reason}")]
    LaneMask {
        /// The mask.
        mask: u32,
        /// What is wrong.
        reason: String,
    },
    /// A lane read by a shuffle that does not take part.
    #[error("shuffle reads lane {lane}, which is not in the lanes {active:#010x} that take part")]
    InactiveLane {
        /// Lane.
        lane: u32,
        /// Lanes that take part.
        active: u32,
    },
    /// An operand whose value the instruction does not take.
    #[error("{0}")]
    Operand(String),
    /// `trap`.
    #[error("trap")]
    Trap,
    /// More instructions than the launch may run.
    #[error("the block ran {0} warp instructions, all that the launch may: does it loop for ever?")]
    Budget(u64),
}
