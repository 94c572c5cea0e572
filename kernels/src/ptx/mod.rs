//! The PTX kernels: which there are, and their text.
//!
//! Sources are the templates under `kernels/ptx/`: one a family, `ptx/<family>/<family>.ptx.j2`,
//! that reads top to bottom as the kernel does, over macros shared by the families
//! (`ptx/macros/`: place, load, amax, scale, encode, pack). A [`Variant`] names one kernel;
//! [`render`] writes it down. What differs between formats are numbers, taken from the same plan
//! that the CPU kernels compute with.
//!
//! | to change | edit |
//! |---|---|
//! | how an element is rounded or decoded | `ptx/macros/element.j2` (f32), `pairs.j2` (bf16, two at a time), `hardware.j2` (the chip's conversions) |
//! | how a scale follows from amax | `ptx/macros/scale.j2` |
//! | a number that a template needs | `context.rs` |
//! | which kernels there are | [`Variant::all`], `formats.rs` |

pub(crate) mod codes;
mod context;
mod error;
mod formats;
mod matmul;
mod render;
mod shuffle;
mod target;
mod variant;

pub(crate) use context::Context;
pub use error::VariantError;
pub(crate) use formats::{check_element, formats};
pub use matmul::{MatmulOutput, MatmulVariant, Regime, Shape};
pub use render::render;
pub(crate) use render::render_kernel;
pub use shuffle::ShuffleVariant;
pub use target::Target;
pub(crate) use variant::BLOCK_SIZES;
pub use variant::{Access, Family, Variant};
