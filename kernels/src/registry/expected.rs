//! What must come out of a kernel: certain bits, or a range that roundings leave open.

use super::{ElementType, Outputs, Tensor};
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
        /// What the bits mean: a float.
        element: ElementType,
        /// One an element.
        ranges: Vec<Range>,
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

impl Expectation {
    /// What the bits mean.
    pub const fn element(&self) -> ElementType {
        match self {
            Self::Exactly(tensor) => tensor.element,
            Self::Within { element, .. } => *element,
        }
    }

    /// Number of elements.
    pub const fn len(&self) -> usize {
        match self {
            Self::Exactly(tensor) => tensor.bits.len(),
            Self::Within { ranges, .. } => ranges.len(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
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
                    let float = element.float_type();
                    let value = float.map_or(f32::NAN, |float| float.from_bits(bits));
                    let is_nan = low.is_nan() && value.is_nan();
                    is_nan || (low..=high).contains(&value)
                }
            },
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
        }
    }
}

/// Outputs that must come out bit for bit.
pub fn exactly(outputs: Outputs) -> Expected {
    let expect = |(name, tensor)| (name, Expectation::Exactly(tensor));
    outputs.into_iter().map(expect).collect()
}
