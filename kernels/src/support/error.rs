//! The one refusal of a format.

use super::Taker;
use crate::format::{BlockFormat, MatrixFormat};
use std::fmt;

/// A format that a taker does not support: the part that it refuses, and what it expects there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The format; boxed to keep errors small.
    pub format: Box<MatrixFormat>,
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
    /// The structure of a format of ggml: super-blocks and minima.
    Structure,
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

/// A tensor scale that is there.
const PRESENT: &str = "present";

impl Part {
    /// What a block format has there.
    fn of(self, format: &BlockFormat) -> String {
        match self {
            Self::Structure => "of blocks".to_owned(),
            Self::Element => format!("{} of {} bits", format.element(), format.element().bits()),
            Self::Scale => format.scale().to_string(),
            Self::Rule => format.rule().to_string(),
            Self::Rounding => format.rounding().to_string(),
            Self::BlockSize => format.block_size().to_string(),
            Self::TensorScale if format.has_tensor_scale() => PRESENT.to_owned(),
            Self::TensorScale => "absent".to_owned(),
            Self::Dialect => format.dialect().to_string(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Structure => "structure",
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
        let found = match format.as_ref() {
            MatrixFormat::Ggml(_) => "ggml's".to_owned(),
            MatrixFormat::Block(format) => part.of(format),
        };
        let remedy = match part {
            Part::TensorScale if found == PRESENT => "leave the tensor scale out".into(),
            Part::TensorScale => "give it a tensor scale".into(),
            Part::Structure => "choose a block format such as fp4_e2m1 for a device".into(),
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
