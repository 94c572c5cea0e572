//! The one refusal of a format.

use super::Taker;
use crate::format::BlockFormat;
use std::fmt;

/// A format that a taker does not support: the part that it refuses, and what it expects there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The format; boxed to keep errors small.
    pub format: Box<BlockFormat>,
    /// The taker that refuses it.
    pub taker: Taker,
    /// The part that it refuses.
    pub part: Part,
    /// What it expects there.
    pub expected: &'static str,
}

/// A part of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The element format.
    Element,
    /// The scale format.
    Scale,
    /// The scale rule.
    Rule,
    /// The rounding of elements.
    Rounding,
    /// k.
    BlockSize,
    /// The scale of the tensor as a whole.
    TensorScale,
    /// The dialect.
    Dialect,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Element => "element",
            Self::Scale => "scale format",
            Self::Rule => "scale rule",
            Self::Rounding => "rounding",
            Self::BlockSize => "block size",
            Self::TensorScale => "tensor scale",
            Self::Dialect => "dialect",
        })
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            taker,
            part,
            expected,
        } = self;
        let found = match part {
            Part::Element => format!("{} of {} bits", format.element(), format.element().bits()),
            Part::Scale => format.scale().to_string(),
            Part::Rule => format.rule().to_string(),
            Part::Rounding => format.rounding().to_string(),
            Part::BlockSize => format.block_size().to_string(),
            Part::TensorScale if format.has_tensor_scale() => "present".to_owned(),
            Part::TensorScale => "absent".to_owned(),
            Part::Dialect => format.dialect().to_string(),
        };
        let remedy = match part {
            Part::TensorScale if format.has_tensor_scale() => "leave the tensor scale out".into(),
            Part::TensorScale => "give it a tensor scale".into(),
            _ => format!("choose another {part}"),
        };
        write!(
            f,
            "`{format}` is not supported by {taker}: its {part} is {found}, expected {expected}; \
             {remedy}, or use the CPU, which takes every format"
        )
    }
}

impl std::error::Error for Unsupported {}
