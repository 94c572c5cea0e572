//! What a kernel is: its id, signature, text and cost, how it is launched, and how it is run on
//! problems.
//!
//! | module | what |
//! |---|---|
//! | `definition` | what production needs to know of a kernel |
//! | `id` | its name |
//! | `signature` | operands in order: the one place where they are told |
//! | `extent`, `sizes` | how large operands are, from the sizes of a launch |
//! | `launcher`, `slice`, `error` | checks, arguments and geometry of a launch, and why it fails |
//! | `split` | how many thread blocks share the work of one |
//! | `alone` | a row of a problem as a problem of its own |
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
