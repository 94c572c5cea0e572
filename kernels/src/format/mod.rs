//! Element formats, scale formats, scale rules, roundings, dialects and code layouts:
//! types and scalar codecs, no loops over tensors.
//!
//! | to add | edit |
//! |---|---|
//! | an element format | [`ElementFormat::ALL`] in `element.rs` |
//! | a scale format | [`ScaleFormat`] in `scale.rs` |
//! | a scale rule | [`ScaleRule`] in `rule.rs`; the compiler names the rest |
//! | a rounding | [`Rounding`] in `rounding.rs` |
//! | a dialect | [`Dialect`] in `dialect.rs` |
//! | a format of ggml | [`GgmlFormat`] in `ggml/mod.rs` |
//! | a width, or an order of codes in bytes | [`CodeLayout`], [`CodeOrder`] in `layout.rs` |
//!
//! A [`BlockFormat`] joins one of each with a block size k. It can only be built from parts that
//! fit together. A [`PackedTensor`] holds codes and shared scales in such a format. The weights of
//! a matrix may have one of ggml's formats instead: [`MatrixFormat`].

#![forbid(unsafe_code)]

mod block;
mod conversion;
mod dialect;
mod element;
mod error;
mod float_type;
mod ggml;
mod grid;
mod integer;
mod layout;
mod matrix;
mod packed;
mod rotation;
mod rounding;
mod rule;
mod scale;

pub use block::{BlockFormat, BlockFormatBuilder};
pub use dialect::{Dialect, NegativeZero};
pub use element::ElementFormat;
pub use error::FormatError;
pub use float_type::FloatType;
pub use ggml::{
    GgmlFormat, ggml_mxfp4_blocks, ggml_mxfp4_codes, ggml_nvfp4_blocks, ggml_nvfp4_codes,
    ggml_nvfp4_scale,
};
pub use grid::{FloatGrid, Grid, IntGrid, Specials, exponent, pow2};
pub use integer::{IntegerElement, IntegerPair};
pub use layout::{CodeLayout, CodeOrder};
pub use matrix::MatrixFormat;
pub use packed::PackedTensor;
pub(crate) use packed::{read_scale, write_scale};
pub(crate) use rotation::factor as rotation_factor;
pub use rotation::{Hadamard, Rotation, RotationSpan};
pub(crate) use rounding::seed_drawing;
pub use rounding::{Rounding, random_at};
pub use rule::{RuleKind, ScaleRule};
pub use scale::ScaleFormat;
