//! Host launchers: one file a family or group of families. A launcher picks the variant that
//! the operands allow, checks that buffers hold what the kernel will touch, and launches.

mod block;
mod cache;
mod error;
mod loaded;
mod matmul;
mod pack;
mod shuffle;
mod slice;
mod split;

pub use block::{BlockKernel, BlockLauncher, BlockOperands, Dense};
pub use cache::Cache;
pub use error::LaunchError;
pub use matmul::{MatmulKernel, MatmulOperands, SourceScales, Split, Weights};
pub use pack::{PackedBuffers, Packer};
pub use shuffle::{
    PackedOperand, Shuffle, ShuffleError, ShuffleFault, ShuffleKernel, ShuffleOperands, Stack,
    Tiles,
};
pub use slice::Slice;
pub use split::{SplitLimits, thread_blocks};
