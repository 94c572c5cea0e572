//! Errors of format descriptions, and of the buffers that they describe.

use super::{Dialect, ElementFormat, FloatType, GgmlFormat, ScaleFormat, ScaleRule};

/// A format that cannot be named, built or applied. `known` lists the names that exist.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FormatError {
    /// No such element format.
    #[error("unknown element format `{name}`; known: {known}")]
    UnknownElement { name: String, known: String },
    /// ggml has no such format of weights, or it is not here.
    #[error("unknown format of ggml `{name}`; known: {known}")]
    UnknownGgml { name: String, known: String },
    /// No such scale format.
    #[error("unknown scale format `{name}`; known: {known}")]
    UnknownScale { name: String, known: String },
    /// No such scale rule.
    #[error("unknown scale rule `{name}`; known: {known}")]
    UnknownRule { name: String, known: String },
    /// No such rounding.
    #[error("unknown rounding `{name}`; known: {known}")]
    UnknownRounding { name: String, known: String },
    /// No such dialect.
    #[error("unknown dialect `{name}`; known: {known}")]
    UnknownDialect { name: String, known: String },
    /// No such floating-point type.
    #[error("unknown float type `{name}`; known: {known}")]
    UnknownFloatType { name: String, known: String },
    /// Power-of-two rules choose an exponent, `nearest` rounds a fraction: each fits one kind of
    /// scale.
    #[error("scale rule `{rule}` does not fit scale format `{scale}`; fitting: {fitting}")]
    RuleScale {
        rule: ScaleRule,
        scale: ScaleFormat,
        fitting: String,
    },
    /// The rule needs a property that the element format lacks.
    #[error(
        "scale rule `{rule}` is not defined for element format `{element}`; it takes {expected}"
    )]
    RuleElement {
        rule: ScaleRule,
        element: ElementFormat,
        expected: &'static str,
    },
    /// k is zero or absurd.
    #[error("block size is {block_size}; expected 1 to 2^30")]
    BlockSize { block_size: usize },
    /// A second, per-tensor scale only makes sense over a scale of small range.
    #[error("scale format `{scale}` takes no tensor scale; only ue*m* and fp16 do")]
    TensorScale { scale: ScaleFormat },
    /// The original that the dialect imitates has no such combination.
    #[error("dialect `{dialect}` is defined for {needs} only")]
    Dialect {
        dialect: Dialect,
        needs: &'static str,
    },
    /// The original's arithmetic is wrong in this tensor type.
    #[error("dialect `{dialect}` is not defined for {source_type} tensors")]
    DialectSource {
        dialect: Dialect,
        source_type: FloatType,
    },
    /// Products of integers need elements that are integers, and blocks of one size.
    #[error(
        "no integer products of {pair}; both elements must be of E2M1, E2M3, E3M2, INT4 and INT8, \
         with the same k, a multiple of 16"
    )]
    NotIntegers {
        /// Elements and k of activations and weights.
        pair: String,
    },
    /// Only elements under scales can be packed again.
    #[error("weights in ggml's {format} have no elements and scales; expected a format of blocks")]
    GgmlBlocks { format: GgmlFormat },
    /// Not a rotation.
    #[error(
        "unknown rotation `{text}`; expected a power of two or `row`, such as 32, and, if signs \
         change, a seed after a colon: 32:7"
    )]
    UnknownRotation { text: String },
    /// Blocks of rotations are powers of two.
    #[error("a rotation mixes blocks of a power of two from 2 to 16384 columns, not {size}")]
    RotationBlock { size: usize },
    /// A row is no whole number of rotated blocks.
    #[error("rows of {cols} columns are no whole blocks of {size}, as a rotation needs")]
    RotationCols { size: usize, cols: usize },
    /// No construction gives a Hadamard matrix of this order.
    #[error(
        "a row of {cols} columns has no known Hadamard matrix; rotate blocks of a power of two \
         that divides it"
    )]
    NoHadamard { cols: usize },
    /// A buffer does not have the length that rows, columns and format ask for.
    #[error("{what}: {got} entries, expected {expected}")]
    Length {
        what: &'static str,
        got: usize,
        expected: usize,
    },
    /// rows * cols (or the bytes they need) does not fit the address space.
    #[error("a tensor of {rows} x {cols} is too large")]
    TooLarge { rows: usize, cols: usize },
}

/// Implements what every named type shares: `Display`, `FromStr`, and serde as that name.
macro_rules! serde_as_name {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                name.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use serde_as_name;

/// `a, b, c` for the `known` field of an error.
pub(super) fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(", ")
}
