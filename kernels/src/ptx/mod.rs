//! The PTX kernels: which there are, and their text.
//!
//! Templates read top to bottom as the kernel does, over macros that families share
//! (`kernels/ptx/macros/`: place, load, amax, scale, encode, pack). Those of a family are in its
//! folder, see [`crate::family`]; those of the block families are under `kernels/ptx/<family>/`. A [`Variant`] names one kernel of the block families, and [`render`]
//! writes it down. What differs between formats are numbers, taken from the same plan that the CPU
//! kernels compute with.
//!
//! | to change | edit |
//! |---|---|
//! | how an element is rounded or decoded | `macros/element.j2`: f32; `pairs.j2`: bf16, two at a time |
//! | how a chip converts an element | `macros/hardware.j2` |
//! | how a scale follows from amax | `macros/scale.j2` |
//! | a number that a template of the block families needs | `context.rs` |
//! | which kernels of the block families there are | [`Variant::all`], `formats.rs` |

pub(crate) mod codes;
mod context;
mod error;
mod formats;
mod render;
mod target;
mod variant;

pub(crate) use context::Context;
pub use error::VariantError;
pub(crate) use formats::{check_element, formats};
pub use render::render;
pub(crate) use render::{render_kernel, render_template};
pub use target::Target;
pub(crate) use variant::BLOCK_SIZES;
pub use variant::{Access, Family, Variant};
