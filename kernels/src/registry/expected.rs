//! What must come out of a kernel: certain bits, or a range that roundings leave open.

use super::{ElementType, Outputs, Tensor};
use crate::format::FloatType;
use std::collections::BTreeMap;
use std::fmt;

/// What must come out, by output.
pub type Expected = BTreeMap<&'static str, Expectation>;

/// What a buffer must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// These bits; NaN equals NaN.
    Exactly(Tensor),
    /// Elements within ranges.
    Within {
        /// What the bits mean.
        element: FloatType,
        /// One an element.
        ranges: Vec<Range>,
    },
    /// Anything: what another output says not to read.
    Unspecified {
        /// What the bits mean.
        element: ElementType,
        /// Number of elements.
        len: usize,
    },
}

/// What an element may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// These bits: what no kernel may touch.
    Bits(u32),
    /// From the first to the second, both included; or NaN, if they are.
    Between(f32, f32),
}

impl Range {
    /// Whether it tells a right element from a wrong one. A range of which one end alone is NaN, or
    /// whose ends are out of order, takes no element; one from -infinity to infinity takes all but NaN.
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

    /// What element `index` may be, for people.
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

/// Outputs that must come out bit for bit.
pub fn exactly(outputs: Outputs) -> Expected {
    let expect = |(name, tensor)| (name, Expectation::Exactly(tensor));
    outputs.into_iter().map(expect).collect()
}
