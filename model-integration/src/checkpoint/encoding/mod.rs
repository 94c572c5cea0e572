//! The encodings of quantised weights: which tensors hold a matrix, and how inputs are quantised.
//!
//! | written by | `quant_method` | tensors of the matrix `m.weight` |
//! |---|---|---|
//! | compressed-tensors | `compressed-tensors` | `m.weight_packed` or `m.weight`, `m.weight_scale` |
//! | AutoRound | `auto-round` | those of compressed-tensors, GPTQ or AWQ |
//! | ModelOpt | `modelopt` | `m.weight`, `m.weight_scale`, `m.weight_scale_2` |
//! | Quark | `quark` | `m.weight`, `m.weight_scale` |
//! | DeepSeek, transformers | `fp8` | `m.weight`, `m.weight_scale_inv` |
//! | GPTQ, AWQ | `gptq`, `awq` | `m.qweight`, `m.qzeros`, `m.scales`, `m.g_idx` |
//! | bitsandbytes | `bitsandbytes` | `m.weight`, `m.weight.absmax` and others |
//! | gpt-oss | `mxfp4` | `m.weight_blocks` [rows, blocks, 16], `m.weight_scales` |
//! | `mxlab quantize` | none, but metadata | `m.weight.codes`, and `.scales`, `.tensor_scale` |
//!
//! Codes and scales of a format of ours stay what they are. A matrix in any other layout is decoded
//! when it is read.

mod auto_round;
mod bitsandbytes;
mod by_columns;
mod by_rows;
mod code_table;
mod compressed_tensors;
mod fp8;
mod grouped;
mod modelopt;
mod own;
mod quark;
mod scale_table;
mod scheme;
mod targets;

use std::sync::Arc;

pub(super) use code_table::dtype_error;
pub(super) use own::rotation as stored_rotation;
pub use own::{FORMAT_KEY, INPUT_KEY, StoredFormat};
pub(crate) use scheme::rounds_as_packages;
pub use scheme::{CodeKind, ScalarInput, StoredInput};

use super::CheckpointError;
use super::decoded::DecodedRows;
use super::fields::Fields;
use super::packed::Packed;
use super::tensor::TensorView;
use super::weights::Weights;
use grouped::Grouped;
use targets::Schemes;

/// How the weights of a checkpoint are encoded.
#[derive(Clone, Debug)]
pub(super) enum Encoding {
    /// Nothing said; the tensors determine it.
    Unsaid,
    /// Codes by rows, by a scheme for each module.
    ByRows(Schemes),
    /// Codes by columns, as GPTQ and AWQ have them.
    ByColumns(by_columns::Layout),
    /// bitsandbytes.
    Bitsandbytes,
}

/// A matrix in codes.
pub(super) enum Found {
    /// In a format of ours.
    Packed(Packed),
    /// In another layout.
    Decoded(Arc<dyn DecodedRows>),
}

impl Found {
    /// A view of the matrix.
    pub(super) fn view(self, name: &str, shape: [usize; 2]) -> TensorView {
        match self {
            Self::Packed(packed) => TensorView::of_packed(name, shape, packed),
            Self::Decoded(rows) => TensorView::of_decoded(name, shape, rows),
        }
    }

    fn new(matrix: Grouped) -> Self {
        match matrix.format() {
            None => Self::Decoded(Arc::new(matrix)),
            Some(format) => {
                let (cols, tensor_scale) = (matrix.cols, matrix.tensor_scale());
                let rows = Box::new(matrix);
                Self::Packed(Packed::made(format, cols, rows, tensor_scale))
            }
        }
    }
}

impl Encoding {
    /// From the top level of a `config.json`.
    ///
    /// # Errors
    /// `Field` and `MissingField` for an unsupported method or format.
    pub(super) fn parse(fields: Fields) -> Result<Self, CheckpointError> {
        // Early files of compressed-tensors have the second name.
        let config = fields.object("quantization_config")?;
        let config = match config {
            None => fields.object("compression_config")?,
            some => some,
        };
        let Some(config) = config else {
            return Ok(Self::Unsaid);
        };
        let method = config.text("quant_method")?;
        Ok(match method {
            Some("mxfp4") => Self::Unsaid,
            Some("compressed-tensors") => Self::ByRows(compressed_tensors::parse(config)?),
            Some("auto-round") => auto_round::parse(config)?,
            Some("modelopt" | "modelopt_fp4") => Self::ByRows(modelopt::parse(config)?),
            Some("quark") => Self::ByRows(quark::parse(config)?),
            Some("fp8") => Self::ByRows(fp8::parse(config)?),
            Some("gptq") => Self::ByColumns(by_columns::gptq(config)?),
            Some("awq") => Self::ByColumns(by_columns::awq(config)?),
            Some("bitsandbytes") => {
                bitsandbytes::check(config)?;
                Self::Bitsandbytes
            }
            _ => {
                let expected = "\"compressed-tensors\", \"auto-round\", \"modelopt\", \"quark\", \
                    \"fp8\", \"gptq\", \"awq\", \"bitsandbytes\" or \"mxfp4\", the supported \
                    methods (transformers can save a dequantised copy of others)";
                return Err(config.error("quant_method", expected));
            }
        })
    }

    /// From ModelOpt's `hf_quant_config.json`, if `config.json` says nothing.
    ///
    /// # Errors
    /// As [`Encoding::parse`].
    pub(super) fn or_sidecar(self, fields: Fields) -> Result<Self, CheckpointError> {
        match self {
            Self::Unsaid => modelopt::parse(fields).map(Self::ByRows),
            said => Ok(said),
        }
    }

    /// What the checkpoint says that this program does not apply, for the user.
    pub(super) fn not_applied(&self) -> &[String] {
        match self {
            Self::ByRows(schemes) => &schemes.not_applied,
            _ => &[],
        }
    }

    /// The matrix `name` `[rows, cols]` in codes, if there is one.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `PackedDtype` for tensors that do not form it; `PackedFormat`.
    pub(super) fn find(
        &self,
        weights: &Weights,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<Found>, CheckpointError> {
        match self {
            Self::Unsaid => Ok(own::find(weights, name, shape)?.map(Found::Packed)),
            Self::ByRows(schemes) => {
                let Some(scheme) = schemes.of(module(name)) else {
                    return Ok(None);
                };
                let matrix = by_rows::find(weights, name, shape, &scheme.weights, schemes.writer)?;
                Ok(matrix.map(Found::new))
            }
            Self::ByColumns(layout) => {
                Ok(layout.find(weights, module(name), shape)?.map(Found::new))
            }
            Self::Bitsandbytes => bitsandbytes::find(weights, name, shape),
        }
    }

    /// The quantisation of the input of a module whose weight is the matrix `name` in codes.
    ///
    /// # Errors
    /// `MissingTensor`, `PackedFormat` for a stored scale that is absent or no single float;
    /// for parts that do not fit each other.
    pub(super) fn input(
        &self,
        weights: &Weights,
        name: &str,
        features: usize,
    ) -> Result<Option<StoredInput>, CheckpointError> {
        let schemes = match self {
            Self::Unsaid => return own::input(weights, name),
            Self::ByRows(schemes) => schemes,
            Self::ByColumns(_) | Self::Bitsandbytes => return Ok(None),
        };
        let module = module(name);
        let Some(scheme) = schemes.of(module).and_then(|scheme| scheme.inputs) else {
            return Ok(None);
        };
        let stored = match scheme.stored {
            None => None,
            Some((suffix, factor)) => {
                let name = format!("{module}.{suffix}");
                let value = by_rows::scalar(weights, &name)?;
                Some(match factor {
                    scheme::Factor::Multiplies => value,
                    scheme::Factor::Divides => value.recip(),
                })
            }
        };
        let input = scheme.of_input(features, stored);
        let refused = || {
            let reason = format!("its input scheme does not fit {features} features");
            by_rows::refused(weights, name, reason)
        };
        input.map(Some).ok_or_else(refused)
    }
}

/// The module of a weight.
fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}
