//! PTX text to machine code and back to a listing, with NVIDIA's own tools.
//!
//! [`Assembler`] runs ptxas: the strict check of PTX syntax, and what says how many registers a
//! kernel takes. [`Disassembler`] runs nvdisasm, whose listing [`crate::sass`] reads. Neither tool
//! is needed to run a kernel; where one is absent, [`ToolError::Missing`] says what to install.

mod disassembler;
mod error;
mod ptxas;
mod resources;
mod target;
mod tool;
mod version;

pub use disassembler::Disassembler;
pub use error::{Diagnostic, ToolError};
pub use ptxas::{Assembled, Assembler, Job};
pub use resources::Resources;
pub use target::{Target, TargetError};
pub use version::Version;
