//! How each operand is quantised: named configurations, TOML files, command-line flags.
//!
//! | module | contents |
//! |---|---|
//! | `named.toml` | every named configuration; **a new one is a table there** |
//! | [`named`] | finds a configuration by name or file |
//! | [`file`](mod@file) | the contents of such a table |
//! | [`format_spec`] | a format with some parts given and the others inherited |
//! | [`flags`] | command-line flags on top of any configuration |
//! | [`layers`] | sets of layers, `0-3,7` |

pub mod file;
pub mod flags;
pub mod format_spec;
pub mod layers;
pub mod named;

use std::fmt;
use std::str::FromStr;

use mxlab_kernels::format::{BlockFormat, Rounding};
use serde::{Deserialize, Deserializer, Serialize};

pub use file::ConfigFile;
pub use flags::FormatFlags;
pub use format_spec::FormatSpec;
pub use layers::LayerSet;
pub use named::{NAMED_CONFIGS, load};

/// A linear projection of a transformer block. Its weights and its input activations are quantised
/// along the input dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(
    missing_docs,
    reason = "the names are those of the checkpoints, `q_proj` and so on"
)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// Every projection, in the order of the forward pass.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A configuration: the format of each operand, or `None` for unquantised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuantConfig {
    /// Its name in tables, records and file names.
    pub name: String,
    /// Weights of the projections.
    pub weights: Option<BlockFormat>,
    /// Inputs of the projections.
    pub activations: Option<BlockFormat>,
    /// Keys, after rotation, along head_dim.
    pub keys: Option<BlockFormat>,
    /// Values, along head_dim.
    pub values: Option<BlockFormat>,
    /// Weights of the output head, as a product. The rows of a tied embedding stay as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<BlockFormat>,
    /// Whether inputs without a format here are quantised as the checkpoint says.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub stored_inputs: bool,
    /// Exceptions; later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

const fn yes() -> bool {
    true
}

/// Formats for some layers and projections. The outer `None` leaves an operand unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The layers; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerSet>,
    /// The projections; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projections: Option<Vec<Projection>>,
    /// Weights of these projections.
    #[serde(
        default,
        deserialize_with = "changed",
        skip_serializing_if = "Option::is_none"
    )]
    pub weights: Option<Option<BlockFormat>>,
    /// Inputs of these projections.
    #[serde(
        default,
        deserialize_with = "changed",
        skip_serializing_if = "Option::is_none"
    )]
    pub activations: Option<Option<BlockFormat>>,
    /// Keys of these layers.
    #[serde(
        default,
        deserialize_with = "changed",
        skip_serializing_if = "Option::is_none"
    )]
    pub keys: Option<Option<BlockFormat>>,
    /// Values of these layers.
    #[serde(
        default,
        deserialize_with = "changed",
        skip_serializing_if = "Option::is_none"
    )]
    pub values: Option<Option<BlockFormat>>,
}

/// A field that is present, even with null: the operand is changed.
fn changed<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<BlockFormat>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A configuration names a layer that the model lacks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("override {number}: field `layers`: the model has layers 0-{}, not {layer}", layers - 1)]
pub struct NoSuchLayer {
    number: usize,
    layer: usize,
    layers: usize,
}

impl QuantConfig {
    /// The configuration that quantises nothing.
    pub fn unquantised(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            weights: None,
            activations: None,
            keys: None,
            values: None,
            head: None,
            stored_inputs: true,
            overrides: Vec::new(),
        }
    }

    /// The formats of a projection's weights and of its input.
    pub fn for_projection(
        &self,
        layer: usize,
        projection: Projection,
    ) -> (Option<BlockFormat>, Option<BlockFormat>) {
        let mut formats = (self.weights, self.activations);
        for change in self.overrides.iter().filter(|change| change.covers(layer)) {
            if !change
                .projections
                .as_ref()
                .is_none_or(|some| some.contains(&projection))
            {
                continue;
            }
            formats = (
                change.weights.unwrap_or(formats.0),
                change.activations.unwrap_or(formats.1),
            );
        }
        formats
    }

    /// The formats of a layer's keys and values.
    pub fn for_kv(&self, layer: usize) -> (Option<BlockFormat>, Option<BlockFormat>) {
        let mut formats = (self.keys, self.values);
        for change in self.overrides.iter().filter(|change| change.covers(layer)) {
            formats = (
                change.keys.unwrap_or(formats.0),
                change.values.unwrap_or(formats.1),
            );
        }
        formats
    }

    /// Whether it leaves everything as the checkpoint has it, like the baseline.
    pub fn is_unquantised(&self) -> bool {
        self.formats().next().is_none() && self.stored_inputs
    }

    /// Every format in it, overrides included.
    pub fn formats(&self) -> impl Iterator<Item = &BlockFormat> {
        let base = [
            &self.weights,
            &self.activations,
            &self.keys,
            &self.values,
            &self.head,
        ];
        let changed = self.overrides.iter().flat_map(|change| {
            [
                &change.weights,
                &change.activations,
                &change.keys,
                &change.values,
            ]
            .into_iter()
            .flatten()
        });
        base.into_iter().chain(changed).flatten()
    }

    /// Checks that a model with `layers` layers has every layer that an override names.
    ///
    /// # Errors
    /// [`NoSuchLayer`] for the first that it lacks.
    pub fn check_layers(&self, layers: usize) -> Result<(), NoSuchLayer> {
        for (index, change) in self.overrides.iter().enumerate() {
            let largest = change.layers.as_ref().map(LayerSet::largest);
            if let Some(layer) = largest.filter(|&layer| layer >= layers) {
                return Err(NoSuchLayer {
                    number: index + 1,
                    layer,
                    layers,
                });
            }
        }
        Ok(())
    }

    /// Derives every stochastic rounding's random stream from `seed`.
    #[must_use]
    pub fn with_seed(mut self, seed: u32) -> Self {
        let base = [
            &mut self.weights,
            &mut self.activations,
            &mut self.keys,
            &mut self.values,
            &mut self.head,
        ];
        let changed = self.overrides.iter_mut().flat_map(|change| {
            [
                &mut change.weights,
                &mut change.activations,
                &mut change.keys,
                &mut change.values,
            ]
            .into_iter()
            .flatten()
        });
        for format in base.into_iter().chain(changed).flatten() {
            if let Rounding::Stochastic { seed: own } = format.rounding() {
                let seed = own.wrapping_add(seed);
                *format = format
                    .to_builder()
                    .rounding(Rounding::Stochastic { seed })
                    .build()
                    .expect("only the seed changed");
            }
        }
        self
    }

    /// The element bits of each quantised operand, such as `W4A6KV4H8`. A `*` marks an operand with
    /// overrides. Empty if nothing is quantised.
    pub fn operands(&self) -> String {
        let operand = |name: &str, format: Option<BlockFormat>| {
            format.map_or_else(String::new, |format| {
                format!("{name}{}", format.element().bits())
            })
        };
        let bits = |format: BlockFormat| format.element().bits();
        let kv = match (self.keys, self.values) {
            (Some(keys), Some(values)) if bits(keys) == bits(values) => operand("KV", self.keys),
            _ => operand("K", self.keys) + &operand("V", self.values),
        };
        let overrides = if self.overrides.is_empty() { "" } else { "*" };
        let head = operand("H", self.head);
        operand("W", self.weights) + &operand("A", self.activations) + &kv + &head + overrides
    }

    /// The quantised operands in one line: elements first, then their common parts.
    pub fn describe(&self) -> String {
        let operands = [
            ("W", self.weights),
            ("A", self.activations),
            ("K", self.keys),
            ("V", self.values),
            ("head", self.head),
        ];
        let quantised: Vec<_> = operands
            .into_iter()
            .filter_map(|(operand, format)| Some((operand, format?)))
            .collect();
        let own = in_a_line(&quantised);
        let count = self.overrides.len();
        let plural = if count == 1 { "" } else { "s" };
        match self.overrides.first() {
            None if self.stored_inputs => own.unwrap_or_else(|| "nothing quantised".to_owned()),
            None => {
                let own = own.map_or_else(String::new, |own| format!("{own}; "));
                format!("{own}inputs as floats, whatever the checkpoint says")
            }
            Some(first) => {
                let other = first.describe();
                match own {
                    Some(own) => format!("{own}; {count} override{plural}"),
                    None => format!("{count} override{plural} alone, {other}"),
                }
            }
        }
    }
}

/// Quantised operands in one line; `None` if there are none.
fn in_a_line(quantised: &[(&str, BlockFormat)]) -> Option<String> {
    let ((_, first), rest) = quantised.split_first()?;
    let shared = beyond_element(first);
    let separate = rest
        .iter()
        .any(|(_, format)| beyond_element(format) != shared);
    let words: Vec<String> = quantised
        .iter()
        .map(|(operand, format)| match separate {
            true => format!("{operand} {format}"),
            false => format!("{operand} {}", format.element()),
        })
        .collect();
    Some(match separate {
        true => words.join("; "),
        false => format!("{}; {shared}", words.join(", ")),
    })
}

/// The parts of a format besides its element: `e8m0 k32 floor/even ocp`.
fn beyond_element(format: &BlockFormat) -> String {
    let whole = format.to_string();
    let rest = whole.split_once(' ').map(|(_, rest)| rest.to_owned());
    rest.unwrap_or(whole)
}

impl Override {
    /// The override in one line, such as `layers 0-3, down: W fp4_e2m1; e8m0 k32 floor/even ocp`.
    fn describe(&self) -> String {
        let operands = [
            ("W", self.weights),
            ("A", self.activations),
            ("K", self.keys),
            ("V", self.values),
        ];
        let quantised = operands.into_iter();
        let quantised = quantised.filter_map(|(operand, format)| Some((operand, format??)));
        let quantised: Vec<_> = quantised.collect();
        let mut place = match &self.layers {
            Some(layers) => format!("layers {layers}"),
            None => "all layers".to_owned(),
        };
        for projection in self.projections.iter().flatten() {
            place += ", ";
            place += projection.name();
        }
        let formats = in_a_line(&quantised).unwrap_or_else(|| "nothing quantised".to_owned());
        format!("{place}: {formats}")
    }

    fn covers(&self, layer: usize) -> bool {
        self.layers
            .as_ref()
            .is_none_or(|layers| layers.contains(layer))
    }
}

/// An operand in files and flags: a format, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperandSpec {
    /// Not quantised.
    None,
    /// Quantised; missing parts are inherited.
    Format(FormatSpec),
}

impl FromStr for OperandSpec {
    type Err = String;

    /// The name of an element format, or `none`.
    fn from_str(name: &str) -> Result<Self, String> {
        if name == "none" {
            return Ok(Self::None);
        }
        match name.parse() {
            Ok(element) => Ok(Self::Format(FormatSpec {
                element: Some(element),
                ..FormatSpec::default()
            })),
            Err(error) => Err(format!("{error}, or `none`")),
        }
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
            Self::None => f.write_str("none"),
        }
    }
}
