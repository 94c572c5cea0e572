//! Host launchers: one file a family or group of families. A launcher picks the variant that
//! the operands allow, checks that buffers hold what the kernel will touch, and launches.

mod block;
mod error;

pub use block::{BlockKernel, BlockLauncher, BlockOperands, Dense, Slice};
pub use error::LaunchError;
