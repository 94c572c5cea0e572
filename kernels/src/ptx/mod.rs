//! The PTX kernels: which there are, and their text.
//!
//! Templates read top to bottom as the kernel does, over macros that families share
//! (`kernels/ptx/macros/`: place, load, amax, scale, encode, pack). Those of a family are in its
//! folder, see [`crate::family`]. What differs between formats are numbers, taken from the same plan
//! that the CPU kernels compute with.
//!
//! | to change | edit |
//! |---|---|
//! | how an element is rounded or decoded | `macros/element.j2`: f32; `pairs.j2`: bf16, two at a time |
//! | how a chip converts an element | `macros/hardware.j2` |
//! | how a scale follows from amax | `macros/scale.j2` |
//! | a number that a template of the block kernels needs | `family/block/context.rs` |
//! | which block kernels there are | [`BlockVariant::all`], `family/block/formats.rs` |
//!
//! [`BlockVariant::all`]: crate::family::block::BlockVariant::all

pub(crate) mod codes;
mod error;
mod render;

pub use error::VariantError;
pub(crate) use render::{render_kernel, render_template};
