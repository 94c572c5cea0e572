//! Rendering of templates, see [`crate::family`], and what can be wrong with the choice of a kernel.

pub(crate) mod chunk;
pub(crate) mod codes;
mod error;
mod render;

pub use error::VariantError;
pub(crate) use render::render_kernel;
