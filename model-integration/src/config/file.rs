//! The contents of a configuration file.
//!
//! ```toml
//! default = { scale = "e8m0", block_size = 32 }            # what operands inherit
//! weights = "fp4_e2m1"                                      # an element, the rest inherited;
//!                                                           # or a name such as `nvfp4`, `q4_k`
//! activations = { element = "fp6_e2m3", rounding = "away" } # or any part of the format
//! kv = "fp8_e4m3"                                           # or `keys` and `values`
//! kv_first = 1                                              # positions that stay as they are
//! key_recent = 4                                            # keys that a query sees as they are
//! key_rotation = "row"                                      # of heads of queries and keys
//! head = "fp8_e4m3"                                         # weights of the output head
//! head_activations = "int8"                                 # its input
//! fallback = "ggml"                                         # what rows get that are no multiple
//!                                                           # of 256, as K-quants need
//! rotation = "32"                                         # inputs and weights by Hadamard of 32
//! rotated = ["down"]                                        # of these projections alone
//! stored_inputs = true                                      # quantise the other inputs as the
//!                                                           # checkpoint says
//!
//! [[override]]                                              # exceptions, later ones win
//! layers = "0-3,7"
//! projections = ["down"]
//! weights = "none"
//! ```

use std::path::Path;

use mxlab_kernels::format::Rotation;
use serde::Deserialize;
use toml::Spanned;

use crate::did_you_mean::did_you_mean;

use super::inherit::{Layers, Operands, operand};
use super::{
    Fallback, FormatFlags, FormatSpec, KvOptions, LayerSet, OperandSpec, Projection, QuantConfig,
};

/// A configuration file, before inheritance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    #[serde(default)]
    default: FormatSpec,
    weights: Operand,
    activations: Operand,
    keys: Operand,
    values: Operand,
    kv: Operand,
    kv_first: Option<Spanned<usize>>,
    key_recent: Option<Spanned<usize>>,
    key_rotation: Option<Spanned<Rotation>>,
    head: Operand,
    head_activations: Operand,
    rotation: Option<Rotation>,
    rotated: Option<Spanned<Vec<Projection>>>,
    fallback: Option<Fallback>,
    stored_inputs: Option<bool>,
    #[serde(default, rename = "override")]
    overrides: Vec<Spanned<OverrideFile>>,
}

pub(super) type Operand = Option<Spanned<OperandSpec>>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OverrideFile {
    pub layers: Option<LayerSet>,
    pub projections: Option<Vec<Projection>>,
    pub weights: Operand,
    pub activations: Operand,
    pub keys: Operand,
    pub values: Operand,
    pub kv: Operand,
}

/// Why a configuration cannot be used. Every variant names the file, the line and the field.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ConfigError {
    #[error(
        "unknown configuration `{name}`; expected a TOML file, or one of {}{}",
        known.join(", "), did_you_mean(name, known)
    )]
    Unknown { name: String, known: Vec<String> },
    #[error("cannot read `{file}`: {reason}")]
    Read {
        file: String,
        reason: std::io::Error,
    },
    #[error("`{file}`: {message}")]
    Syntax { file: String, message: String },
    #[error("`{file}` line {line}: `{field}`: {message}")]
    Field {
        file: String,
        line: usize,
        field: &'static str,
        message: String,
    },
    #[error("{file}: `{field}`: {message}")]
    Flag {
        file: String,
        field: &'static str,
        message: String,
    },
}

/// The source of a configuration, for errors.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Name of the file.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl<'a> Source<'a> {
    /// Parses a whole file.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] with line, column and the line's text.
    pub fn parse<T: Deserialize<'a>>(self) -> Result<T, ConfigError> {
        toml::from_str(self.text).map_err(|error| ConfigError::Syntax {
            file: self.file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }

    /// The error of the field `field`, which is wrong `at` this place.
    pub(super) fn fault<T>(
        self,
        at: &Spanned<T>,
        field: &'static str,
        message: String,
    ) -> ConfigError {
        let before = self.text.get(..at.span().start).unwrap_or_default();
        ConfigError::Field {
            file: self.file.to_owned(),
            line: 1 + before.matches('\n').count(),
            field,
            message,
        }
    }
}

/// Reads a configuration file; its name is the file's stem.
///
/// # Errors
/// [`ConfigError`].
pub fn read(path: &Path, flags: &FormatFlags) -> Result<QuantConfig, ConfigError> {
    let file = path.to_string_lossy();
    let text = std::fs::read_to_string(path).map_err(|reason| ConfigError::Read {
        file: file.clone().into_owned(),
        reason,
    })?;
    let source = Source {
        file: &file,
        text: &text,
    };
    let config: ConfigFile = source.parse()?;
    config.check(&file, flags)?;
    let stem = path.file_stem().unwrap_or(path.as_os_str());
    let name = crate::file_name::file_name(&stem.to_string_lossy());
    config.under(&name, source, flags)
}

impl ConfigFile {
    /// Refuses a file that seems to quantise something but does not.
    fn check(&self, file: &str, flags: &FormatFlags) -> Result<(), ConfigError> {
        let fault = |message: &str| {
            Err(ConfigError::Syntax {
                file: file.to_owned(),
                message: message.to_owned(),
            })
        };
        if self.default.element.is_some() {
            return fault(
                "`default`: `element` does not belong here: name it for weights, activations, \
                 keys, values, kv, head or head_activations",
            );
        }
        let operands = [
            &self.weights,
            &self.activations,
            &self.keys,
            &self.values,
            &self.kv,
            &self.head,
            &self.head_activations,
        ];
        let says_something = operands.iter().any(|operand| operand.is_some())
            || self.stored_inputs.is_some()
            || self.rotation.is_some()
            || !self.overrides.is_empty()
            || flags.names_operand();
        match says_something {
            true => Ok(()),
            false => fault(
                "quantises nothing: name an element for weights, activations, keys, values or kv \
                 (or \"none\", if you mean it)",
            ),
        }
    }

    /// The configuration with flags on top. It is renamed if they change it, so that its results
    /// are not mistaken for those of the original.
    ///
    /// # Errors
    /// See [`ConfigFile::resolve`].
    pub fn under(
        &self,
        name: &str,
        source: Source,
        flags: &FormatFlags,
    ) -> Result<QuantConfig, ConfigError> {
        let own = self.resolve(name, source, &FormatFlags::default())?;
        // If the configuration is valid without the flags, the flags are to blame.
        let blame_flags = |error| match error {
            ConfigError::Field { field, message, .. } => ConfigError::Flag {
                file: format!("configuration `{name}` under the flags"),
                field,
                message,
            },
            error => error,
        };
        let mut changed = self.resolve(name, source, flags).map_err(blame_flags)?;
        if changed != own {
            changed.name.push_str(&flags.suffix());
        }
        Ok(changed)
    }

    /// Applies inheritance and flags to every operand.
    ///
    /// # Errors
    /// [`ConfigError`] with the operand whose parts are incompatible.
    pub fn resolve(
        &self,
        name: &str,
        source: Source,
        flags: &FormatFlags,
    ) -> Result<QuantConfig, ConfigError> {
        if let [_, second, ..] = flags.weights.as_slice() {
            return Err(ConfigError::Flag {
                file: source.file.to_owned(),
                field: "weights",
                message: format!(
                    "found several formats, `{second}` the second; expected one: only `eval` makes \
                     a configuration of each"
                ),
            });
        }
        let layers = Layers {
            source,
            common: flags.common(),
            default: self.default,
        };
        let kv = &self.kv;
        let base = Operands {
            weights: operand("weights", &self.weights, &None),
            activations: operand("activations", &self.activations, &None),
            keys: operand("keys", &self.keys, kv),
            values: operand("values", &self.values, kv),
        };
        let overrides = self.overrides.iter();
        let mut config = QuantConfig {
            name: name.to_owned(),
            weights: layers.base(&base.weights, flags.weight())?,
            activations: layers.blocks(&base.activations, flags.activations.as_ref())?,
            keys: layers.blocks(&base.keys, flags.keys())?,
            values: layers.blocks(&base.values, flags.values())?,
            kv: KvOptions::default(),
            head: layers.base(&operand("head", &self.head, &None), flags.head.as_ref())?,
            head_activations: layers.blocks(
                &operand("head_activations", &self.head_activations, &None),
                flags.head_activations.as_ref(),
            )?,
            rotation: flags.rotation.or(self.rotation),
            rotated: self.rotated(source, flags)?,
            fallback: flags.fallback.or(self.fallback),
            stored_inputs: self.stored_inputs.unwrap_or(true),
            overrides: overrides
                .map(|change| layers.change(change, &base, flags))
                .collect::<Result<_, _>>()?,
        };
        config.kv = self.kv_options(&config, source, flags)?;
        let ggml = config.formats().find_map(|format| format.ggml());
        if layers.common != FormatSpec::default()
            && let Some(format) = ggml
            && config.formats().all(|format| format.block().is_none())
        {
            return Err(ConfigError::Flag {
                file: source.file.to_owned(),
                field: "weights",
                message: format!(
                    "{format} has blocks and scales of its own, which flags do not change; leave \
                     out --scale, --block-size and the like, or name an element such as fp4_e2m1"
                ),
            });
        }
        Ok(config)
    }
}

impl ConfigFile {
    /// The projections that are rotated, if there is a rotation.
    fn rotated(
        &self,
        source: Source,
        flags: &FormatFlags,
    ) -> Result<Option<Vec<Projection>>, ConfigError> {
        let projections = match (flags.rotated.as_slice(), &self.rotated) {
            ([], None) => return Ok(None),
            ([], Some(own)) => own.get_ref().clone(),
            (given, _) => given.to_vec(),
        };
        let message = match flags.rotation.or(self.rotation) {
            None => "no rotation; expected `rotation` beside it",
            Some(_) if projections.is_empty() => "names no projection; expected q, k and so on",
            Some(_) => return Ok(Some(projections)),
        };
        let message = message.to_owned();
        Err(match &self.rotated {
            Some(own) => source.fault(own, "rotated", message),
            None => ConfigError::Flag {
                file: source.file.to_owned(),
                field: "rotated",
                message,
            },
        })
    }

    /// What the quantised ones of keys and values have besides their formats: flags add nothing to
    /// a configuration without any.
    fn kv_options(
        &self,
        config: &QuantConfig,
        source: Source,
        flags: &FormatFlags,
    ) -> Result<KvOptions, ConfigError> {
        let [keys, values] = config.has_kv();
        let fault = |what: &str| format!("no format of {what}; expected `kv`, `keys` or `values`");
        let (mut first, mut key_rotation) = (flags.kv_first, flags.key_rotation);
        let mut key_recent = flags.key_recent;
        if let Some(own) = &self.kv_first {
            first = first.or(Some(*own.get_ref()));
            if !keys && !values && flags.keys().or(flags.values()).is_none() {
                return Err(source.fault(own, "kv_first", fault("keys or values")));
            }
        }
        if let Some(own) = &self.key_rotation {
            key_rotation = key_rotation.or(Some(*own.get_ref()));
            if !keys && flags.keys().is_none() {
                return Err(source.fault(own, "key_rotation", fault("keys")));
            }
        }
        if let Some(own) = &self.key_recent {
            key_recent = key_recent.or(Some(*own.get_ref()));
            if !keys && flags.keys().is_none() {
                return Err(source.fault(own, "key_recent", fault("keys")));
            }
        }
        Ok(KvOptions {
            key_recent: key_recent.filter(|_| keys).unwrap_or(0),
            first: first.filter(|_| keys || values).unwrap_or(0),
            key_rotation: key_rotation.filter(|_| keys),
        })
    }
}
