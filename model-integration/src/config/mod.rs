//! How each operand is quantised: named configurations, TOML files, command-line flags.
//!
//! | module | contents |
//! |---|---|
//! | `named.toml` | every named configuration; **a new one is a table there** |
//! | [`named`] | finds a configuration by name or file |
//! | [`file`](mod@file) | the contents of such a table |
//! | `inherit` | what operands inherit from flags, overrides and defaults |
//! | `operand` | an operand in files and flags: `none`, an element, a name, or a table |
//! | [`format_spec`] | a format with some parts given and the others inherited |
//! | [`flags`] | command-line flags on top of any configuration |
//! | `kv_options` | what keys and values have besides their formats |
//! | [`layers`] | sets of layers, `0-3,7` |
//! | `describe`, `write` | a configuration in words, and as a file |

mod describe;
pub mod file;
pub mod flags;
pub mod format_spec;
mod inherit;
mod kv_options;
pub mod layers;
pub mod named;
mod operand;
mod write;

use clap::ValueEnum;
use mxlab_kernels::format::{BlockFormat, MatrixFormat, Rotation, Rounding};
use serde::{Deserialize, Deserializer, Serialize};

pub use file::ConfigFile;
pub use flags::FormatFlags;
pub use format_spec::FormatSpec;
pub use kv_options::{KvMisfit, KvOptions};
pub use layers::LayerSet;
pub use named::{NAMED_CONFIGS, load};
pub use operand::OperandSpec;

/// A linear projection of a transformer block. Its weights and its input activations are quantised
/// along the input dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
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
    pub weights: Option<MatrixFormat>,
    /// Inputs of the projections.
    pub activations: Option<BlockFormat>,
    /// Keys, after rotation, along head_dim.
    pub keys: Option<BlockFormat>,
    /// Values, along head_dim.
    pub values: Option<BlockFormat>,
    /// What keys and values have besides their formats.
    #[serde(default, skip_serializing_if = "KvOptions::is_default")]
    pub kv: KvOptions,
    /// Weights of the output head, as a product. The rows of a tied embedding stay as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<MatrixFormat>,
    /// Input of the output head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_activations: Option<BlockFormat>,
    /// The rotation of the inputs of projections, and of their weights before they are quantised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// The projections that are rotated; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Vec<Projection>>,
    /// What weights get whose rows their format does not have; `None` to refuse them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whether inputs without a format here are quantised as the checkpoint says.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub stored_inputs: bool,
    /// Exceptions; later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// What weights get whose rows are no whole blocks of a format of ggml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// The type that llama.cpp takes then
    Ggml,
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
    pub weights: Option<Option<MatrixFormat>>,
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
fn changed<'de, D: Deserializer<'de>, F: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<F>>, D::Error> {
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
            kv: KvOptions::default(),
            head: None,
            head_activations: None,
            rotation: None,
            rotated: None,
            fallback: None,
            stored_inputs: true,
            overrides: Vec::new(),
        }
    }

    /// The formats of a projection's weights and of its input.
    pub fn for_projection(
        &self,
        layer: usize,
        projection: Projection,
    ) -> (Option<MatrixFormat>, Option<BlockFormat>) {
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

    /// The rotation of a projection's input and weight.
    pub fn rotation_of(&self, projection: Projection) -> Option<Rotation> {
        let is_rotated = |some: &Vec<Projection>| some.contains(&projection);
        (self.rotation).filter(|_| self.rotated.as_ref().is_none_or(is_rotated))
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

    /// Whether keys and values have a format, of each in some layer.
    pub fn has_kv(&self) -> [bool; 2] {
        let keys = self.overrides.iter().map(|change| change.keys.flatten());
        let values = self.overrides.iter().map(|change| change.values.flatten());
        [
            self.keys.is_some() || keys.flatten().next().is_some(),
            self.values.is_some() || values.flatten().next().is_some(),
        ]
    }

    /// The same without formats of weights.
    #[must_use]
    pub fn without_weights(&self) -> Self {
        let mut config = self.clone();
        (config.weights, config.head) = (None, None);
        for change in &mut config.overrides {
            change.weights = None;
        }
        config
    }

    /// The same without formats of inputs.
    #[must_use]
    pub fn without_inputs(&self) -> Self {
        let mut config = self.clone();
        (config.activations, config.head_activations) = (None, None);
        for change in &mut config.overrides {
            change.activations = None;
        }
        config
    }

    /// The same without what no model directory stores: formats of keys and values, and of the
    /// head's input.
    #[must_use]
    pub fn without_cache(&self) -> Self {
        let mut config = self.clone();
        (config.keys, config.values, config.head_activations) = (None, None, None);
        config.kv = KvOptions::default();
        for change in &mut config.overrides {
            (change.keys, change.values) = (None, None);
        }
        config
    }

    /// Whether it leaves everything as the checkpoint has it, like the baseline.
    pub fn is_unquantised(&self) -> bool {
        self.formats().next().is_none() && self.stored_inputs && self.rotation.is_none()
    }

    /// Every format in it, overrides included.
    pub fn formats(&self) -> impl Iterator<Item = MatrixFormat> {
        let inputs = [self.activations, self.keys, self.values];
        let inputs = inputs.into_iter().flatten().map(MatrixFormat::from);
        let of_head = self.head_activations.map(MatrixFormat::from);
        let head = self.head.into_iter().chain(of_head);
        let base = self.weights.into_iter().chain(inputs).chain(head);
        let changed = self.overrides.iter().flat_map(|change| {
            let inputs = [change.activations, change.keys, change.values];
            let inputs = inputs.into_iter().flatten().flatten();
            let weights = change.weights.flatten().into_iter();
            weights.chain(inputs.map(MatrixFormat::from))
        });
        base.chain(changed)
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
        let seeded = |format: &mut BlockFormat| {
            if let Rounding::Stochastic { seed: own } = format.rounding() {
                let seed = own.wrapping_add(seed);
                *format = format
                    .to_builder()
                    .rounding(Rounding::Stochastic { seed })
                    .build()
                    .expect("only the seed changed");
            }
        };
        let mut inputs = vec![
            &mut self.activations,
            &mut self.keys,
            &mut self.values,
            &mut self.head_activations,
        ];
        let mut matrices = vec![&mut self.weights, &mut self.head];
        for change in &mut self.overrides {
            let changed = [
                &mut change.activations,
                &mut change.keys,
                &mut change.values,
            ];
            inputs.extend(changed.into_iter().flatten());
            matrices.extend(&mut change.weights);
        }
        inputs.into_iter().flatten().for_each(seeded);
        for matrix in matrices.into_iter().flatten() {
            match matrix {
                MatrixFormat::Block(format) => seeded(format),
                MatrixFormat::Ggml(_) => {}
            }
        }
        self
    }
}

impl Override {
    fn covers(&self, layer: usize) -> bool {
        self.layers
            .as_ref()
            .is_none_or(|layers| layers.contains(layer))
    }
}
