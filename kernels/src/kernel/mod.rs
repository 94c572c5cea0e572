//! A kernel: its id, signature, text and cost, its launches, and its runs on problems.
//!
//! | module | what |
//! |---|---|
//! | `definition` | what an engine needs to run a kernel |
//! | `id` | its unique name |
//! | `signature` | its operands in order, described once |
//! | `extent`, `sizes` | extents of operands as formulas over the sizes of a launch |
//! | `launcher`, `slice`, `error` | checks, arguments, geometry and errors of a launch |
//! | `split` | how many thread blocks share the work of one |
//! | `alone` | one row of a problem as its own problem |
//! | `check` | uploads, guard patterns, launches and downloads for a problem |

mod alone;
mod check;
mod definition;
mod error;
mod extent;
mod id;
mod launcher;
mod signature;
mod sizes;
mod slice;
mod split;

pub use crate::registry::ElementType;
pub use alone::rows_alone;
pub(crate) use check::runner;
pub use definition::{Kernel, Shape};
pub use error::{LaunchError, VariantError};
pub use extent::{Extent, rows, size};
pub use id::{KernelId, KernelIdError};
pub use launcher::{Call, Launcher};
pub use signature::{Access, Bounds, BufferOperand, Operand, OperandKind, Signature};
pub use sizes::Sizes;
pub use slice::{Dense, Slice};
pub use split::{SplitLimits, thread_blocks};
