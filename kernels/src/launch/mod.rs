//! Host launchers: one file a family or group of families. A launcher picks the variant that
//! the operands allow, checks that buffers hold what the kernel will touch, and launches.

mod block;
mod cache;
mod error;
mod loaded;
mod pack;
mod slice;
mod split;

pub use block::{BlockKernel, BlockLauncher, BlockOperands, Dense};
pub use cache::Cache;
pub use error::LaunchError;
pub(crate) use loaded::Loaded;
pub use pack::{PackedBuffers, Packer};
pub use slice::Slice;
pub use split::{SplitLimits, thread_blocks};
