//! What launches take, and why they fail. A kernel is launched by its signature: see
//! [`crate::kernel`].

mod error;
mod slice;

pub use error::LaunchError;
pub use slice::{Dense, Slice};
