//! What operands inherit: flags, overrides, operands and defaults, one above the other.

use mxlab_kernels::format::{BlockFormat, MatrixFormat};
use toml::Spanned;

use super::file::{ConfigError, Operand, OverrideFile, Source};
use super::{FormatFlags, FormatSpec, OperandSpec, Override};

/// An operand, and the name of its field.
pub(super) struct Named<'a> {
    pub field: &'static str,
    pub operand: Option<&'a Spanned<OperandSpec>>,
}

/// The operands that an override may change.
pub(super) struct Operands<'a> {
    pub weights: Named<'a>,
    pub activations: Named<'a>,
    pub keys: Named<'a>,
    pub values: Named<'a>,
}

/// `kv` stands for `keys` and `values` if these are not given.
pub(super) fn operand<'a>(field: &'static str, own: &'a Operand, kv: &'a Operand) -> Named<'a> {
    match (own, kv) {
        (None, Some(kv)) => Named {
            field: "kv",
            operand: Some(kv),
        },
        _ => Named {
            field,
            operand: own.as_ref(),
        },
    }
}

/// The layers above and below every operand of a file: flags and defaults.
pub(super) struct Layers<'a> {
    pub source: Source<'a>,
    pub common: FormatSpec,
    pub default: FormatSpec,
}

impl Layers<'_> {
    /// The format of an operand with the flag above it.
    pub fn base(
        &self,
        named: &Named,
        flag: Option<&OperandSpec>,
    ) -> Result<Option<MatrixFormat>, ConfigError> {
        let own = named.operand.map(Spanned::get_ref);
        let Some(chosen) = flag.or(own) else {
            return Ok(None);
        };
        let spec = match (chosen, chosen.spec(), own.and_then(OperandSpec::spec)) {
            (OperandSpec::Ggml(format), ..) => return Ok(Some(MatrixFormat::Ggml(*format))),
            (_, None, _) => return Ok(None),
            (_, Some(chosen), Some(own)) => chosen.over(own),
            (_, Some(chosen), None) => chosen,
        };
        let built = self.build(named, spec, FormatSpec::default())?;
        Ok(Some(built.into()))
    }

    /// The format of an operand other than weights.
    pub fn blocks(
        &self,
        named: &Named,
        flag: Option<&OperandSpec>,
    ) -> Result<Option<BlockFormat>, ConfigError> {
        let format = self.base(named, flag)?;
        format.map(|format| self.block(named, format)).transpose()
    }

    fn block(&self, named: &Named, format: MatrixFormat) -> Result<BlockFormat, ConfigError> {
        format.block().ok_or_else(|| {
            let message = format!(
                "{format} is a format of weights; expected an element such as fp4_e2m1 or int8"
            );
            self.fault(named, message)
        })
    }

    /// An override with the flags above it, and the file's operands `base` below.
    pub fn change(
        &self,
        change: &Spanned<OverrideFile>,
        base: &Operands,
        flags: &FormatFlags,
    ) -> Result<Override, ConfigError> {
        let this = change.get_ref();
        let own = Operands {
            weights: operand("weights", &this.weights, &None),
            activations: operand("activations", &this.activations, &None),
            keys: operand("keys", &this.keys, &this.kv),
            values: operand("values", &this.values, &this.kv),
        };
        let fault = |message: &str| self.source.fault(change, "override", message.to_owned());
        let has_kv = own.keys.operand.or(own.values.operand).is_some();
        let has_linear = own.weights.operand.or(own.activations.operand).is_some();
        if !has_kv && !has_linear {
            return Err(fault(
                "changes nothing: give weights, activations, keys, values or kv",
            ));
        }
        if this.projections.is_some() && has_kv {
            return Err(fault(
                "keys and values belong to a layer, not to projections",
            ));
        }
        if this.projections.as_ref().is_some_and(Vec::is_empty) {
            return Err(fault("`projections` is empty"));
        }
        Ok(Override {
            layers: this.layers.clone(),
            projections: this.projections.clone(),
            weights: self.changed(&own.weights, &base.weights, flags.weight())?,
            activations: self.changed_blocks(
                &own.activations,
                &base.activations,
                flags.activations.as_ref(),
            )?,
            keys: self.changed_blocks(&own.keys, &base.keys, flags.keys())?,
            values: self.changed_blocks(&own.values, &base.values, flags.values())?,
        })
    }

    /// The effect of an override on an operand. A flag that names its element also replaces the
    /// override's; an override with `none` stays.
    fn changed(
        &self,
        own: &Named,
        base: &Named,
        flag: Option<&OperandSpec>,
    ) -> Result<Option<Option<MatrixFormat>>, ConfigError> {
        let spec = match (own.operand.map(Spanned::get_ref), flag) {
            (None, _) | (_, Some(OperandSpec::None)) => return Ok(None),
            (Some(OperandSpec::None), _) => return Ok(Some(None)),
            (Some(_), Some(OperandSpec::Ggml(format)))
            | (Some(OperandSpec::Ggml(format)), None) => {
                return Ok(Some(Some(MatrixFormat::Ggml(*format))));
            }
            (Some(own), flag) => {
                let flag = flag.and_then(OperandSpec::spec).unwrap_or_default();
                flag.over(own.spec().unwrap_or_default())
            }
        };
        let base = base.operand.and_then(|base| base.get_ref().spec());
        let format = self.build(own, spec, base.unwrap_or_default())?;
        Ok(Some(Some(format.into())))
    }

    fn changed_blocks(
        &self,
        own: &Named,
        base: &Named,
        flag: Option<&OperandSpec>,
    ) -> Result<Option<Option<BlockFormat>>, ConfigError> {
        let changed = self.changed(own, base, flag)?;
        let block = |format| self.block(own, format);
        changed
            .map(|format| format.map(block).transpose())
            .transpose()
    }

    fn build(
        &self,
        named: &Named,
        spec: FormatSpec,
        below: FormatSpec,
    ) -> Result<BlockFormat, ConfigError> {
        let whole = self.common.over(spec).over(below).over(self.default);
        whole.build().map_err(|message| self.fault(named, message))
    }

    fn fault(&self, named: &Named, message: String) -> ConfigError {
        match named.operand {
            Some(at) => self.source.fault(at, named.field, message),
            None => ConfigError::Flag {
                file: self.source.file.to_owned(),
                field: named.field,
                message,
            },
        }
    }
}
