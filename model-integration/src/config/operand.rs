//! An operand in files and flags.

use std::fmt;
use std::str::FromStr;

use mxlab_kernels::format::{BlockFormat, ElementFormat, GgmlFormat, ScaleFormat};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::FormatSpec;
use crate::did_you_mean::did_you_mean;

/// An operand: a format, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperandSpec {
    /// Not quantised.
    None,
    /// Quantised; missing parts are inherited.
    Format(FormatSpec),
    /// A block format by a name of its own.
    Named(BlockName),
    /// One of ggml's formats, which weights alone may have.
    Ggml(GgmlFormat),
}

/// A block format that has a name as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the formats")]
pub enum BlockName {
    Mxfp4,
    Nvfp4,
}

impl BlockName {
    const ALL: [Self; 2] = [Self::Mxfp4, Self::Nvfp4];

    const fn name(self) -> &'static str {
        match self {
            Self::Mxfp4 => "mxfp4",
            Self::Nvfp4 => "nvfp4",
        }
    }

    fn spec(self) -> FormatSpec {
        match self {
            Self::Mxfp4 => FormatSpec {
                element: Some(ElementFormat::FP4_E2M1),
                scale: Some(ScaleFormat::E8M0),
                block_size: Some(32),
                ..FormatSpec::default()
            },
            Self::Nvfp4 => FormatSpec::of(&BlockFormat::NVFP4),
        }
    }
}

impl OperandSpec {
    /// Its parts; `None` unless it is a block format.
    pub fn spec(&self) -> Option<FormatSpec> {
        match self {
            Self::None | Self::Ggml(_) => None,
            Self::Format(spec) => Some(*spec),
            Self::Named(name) => Some(name.spec()),
        }
    }
}

impl FromStr for OperandSpec {
    type Err = String;

    /// The name of an element format, of a format as a whole, or `none`.
    fn from_str(name: &str) -> Result<Self, String> {
        if name == "none" {
            return Ok(Self::None);
        }
        if let Some(known) = BlockName::ALL.into_iter().find(|one| one.name() == name) {
            return Ok(Self::Named(known));
        }
        if let Ok(format) = name.parse() {
            return Ok(Self::Ggml(format));
        }
        name.parse()
            .map(|element| {
                Self::Format(FormatSpec {
                    element: Some(element),
                    ..FormatSpec::default()
                })
            })
            .map_err(|_| {
                let whole = BlockName::ALL.map(BlockName::name);
                let ggml = GgmlFormat::ALL.map(GgmlFormat::name);
                let elements = ElementFormat::ALL.iter().map(|element| element.name());
                let known: Vec<&str> = elements.chain(whole).chain(ggml).collect();
                let near = did_you_mean(name, &known);
                format!(
                    "unknown format `{name}`; known: {}, and for weights {}; or `none`{near}",
                    known[..known.len() - ggml.len()].join(", "),
                    ggml.join(", "),
                )
            })
    }
}

impl fmt::Display for OperandSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(FormatSpec {
                element: Some(element),
                ..
            }) => write!(f, "{element}"),
            Self::Format(_) => f.write_str("inherited"),
            Self::Named(name) => f.write_str(name.name()),
            Self::Ggml(format) => write!(f, "{format}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for OperandSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OperandVisitor)
    }
}

struct OperandVisitor;

impl<'de> Visitor<'de> for OperandVisitor {
    type Value = OperandSpec;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a format, \"none\", or a table with `element`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<OperandSpec, E> {
        name.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OperandSpec, A::Error> {
        FormatSpec::deserialize(MapAccessDeserializer::new(map)).map(OperandSpec::Format)
    }
}
