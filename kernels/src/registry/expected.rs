//! The expected outputs of a kernel: exact bits, or the range that roundings allow.

use super::{ElementType, Outputs, Tensor};
use crate::format::FloatType;
use std::collections::BTreeMap;
use std::fmt;

/// Expectations by output.
pub type Expected = BTreeMap<&'static str, Expectation>;

/// The expected contents of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// These bits; NaN equals NaN.
    Exactly(Tensor),
    /// Elements within ranges.
    Within {
        /// What the bits mean.
        element: FloatType,
        /// One range for each element.
        ranges: Vec<Range>,
    },
    /// Any bits: another output says that this one is not to be read.
    Unspecified {
        /// What the bits mean.
        element: ElementType,
        /// Number of elements.
        len: usize,
    },
}

/// The allowed values of an element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// These bits: a kernel must leave the element alone.
    Bits(u32),
    /// From the first to the second, both included; NaN if both are NaN.
    Between(f32, f32),
}

impl Range {
    /// Whether the range can tell a right element from a wrong one. A range with one NaN end or
    /// with its ends out of order accepts nothing; a range from -infinity to infinity accepts
    /// everything but NaN.
    fn is_meaningful(self) -> bool {
        match self {
            Self::Bits(_) => true,
            Self::Between(low, high) if low.is_nan() || high.is_nan() => {
                low.is_nan() && high.is_nan()
            }
            Self::Between(low, high) => {
                low <= high && !(low == f32::NEG_INFINITY && high == f32::INFINITY)
            }
        }
    }
}

impl Expectation {
    /// What the bits mean.
    pub fn element(&self) -> ElementType {
        match self {
            Self::Exactly(tensor) => tensor.element,
            Self::Within { element, .. } => (*element).into(),
            Self::Unspecified { element, .. } => *element,
        }
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        match self {
            Self::Exactly(tensor) => tensor.bits.len(),
            Self::Within { ranges, .. } => ranges.len(),
            Self::Unspecified { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no element can be wrong.
    pub const fn takes_anything(&self) -> bool {
        self.is_empty() || matches!(self, Self::Unspecified { .. })
    }

    /// The first element whose range cannot tell right from wrong, such as -infinity to infinity.
    pub fn meaningless(&self) -> Option<usize> {
        match self {
            Self::Exactly(_) | Self::Unspecified { .. } => None,
            Self::Within { ranges, .. } => ranges.iter().position(|range| !range.is_meaningful()),
        }
    }

    /// Whether element `index` may have these bits.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn accepts(&self, index: usize, bits: u32) -> bool {
        match self {
            Self::Exactly(tensor) => tensor.is_same(tensor.bits[index], bits),
            Self::Within { element, ranges } => match ranges[index] {
                Range::Bits(expected) => bits == expected,
                Range::Between(low, high) => {
                    let value = element.from_bits(bits);
                    let is_nan = low.is_nan() && high.is_nan() && value.is_nan();
                    is_nan || (low..=high).contains(&value)
                }
            },
            Self::Unspecified { .. } => true,
        }
    }

    /// The allowed values of element `index`, as text.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn describe(&self, index: usize) -> impl fmt::Display {
        match self {
            Self::Exactly(tensor) => format!("{:#x}", tensor.bits[index]),
            Self::Within { ranges, .. } => match ranges[index] {
                Range::Bits(bits) => format!("{bits:#x}, untouched"),
                Range::Between(low, high) if low == high => format!("{low:e}"),
                Range::Between(low, high) => format!("from {low:e} to {high:e}"),
            },
            Self::Unspecified { .. } => "anything".to_owned(),
        }
    }
}

/// Expects outputs bit for bit.
pub fn exactly(outputs: Outputs) -> Expected {
    let expect = |(name, tensor)| (name, Expectation::Exactly(tensor));
    outputs.into_iter().map(expect).collect()
}
