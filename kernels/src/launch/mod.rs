//! Host launchers: one file a family or group of families. A launcher picks the variant that
//! the operands allow, checks that buffers hold what the kernel will touch, and launches.

mod cache;
mod error;
mod slice;
mod split;

pub use cache::Cache;
pub use error::LaunchError;
pub use slice::{Dense, Slice};
pub use split::{SplitLimits, thread_blocks};
