//! SASS, the machine code of a chip, as nvdisasm lists it: functions, basic blocks, loops, and what
//! the body that does a kernel's work issues.
//!
//! Counts are of instructions as a warp issues them: one that a predicate turns off takes its slot
//! all the same. A [`Body`] is the longest way through the main loop, or through a kernel that has
//! none, as a warp goes whose lanes stay together: both sides of a branch that splits a warp are
//! not added, subroutines (slow paths of a division, say) are not followed, and a loop that is not
//! the main one is gone through once.

mod body;
mod error;
mod graph;
mod instruction;
mod listing;
mod mix;

pub use body::Body;
pub use error::SassError;
pub use graph::{Block, Graph, Loop};
pub use instruction::{Access, Direction, Instruction, Space};
pub use listing::{Function, parse};
pub use mix::{Class, Mix, Pipe};
