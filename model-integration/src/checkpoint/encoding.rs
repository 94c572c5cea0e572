//! The encodings of quantised weights: which tensors hold a matrix.
//!
//! | encoding | tensors of the matrix `m.weight` |
//! |---|---|
//! | compressed-tensors, named by `config.json` | `m.weight_packed`, `m.weight_scale` |
//! | blocks, as in gpt-oss | `m.weight_blocks` [rows, blocks, 16], `m.weight_scales` |
//! | `mxlab quantize`, named by metadata | `m.weight.codes`, and `.scales`, `.tensor_scale` |
//! | GGUF's MXFP4 | `m.weight`, in ggml's blocks |

use mxlab_kernels::format::{BlockFormat, ElementFormat};
use safetensors::Dtype;

use super::CheckpointError;
use super::fields::Fields;
use super::packed::{MX_BLOCK, Packed, Place, mxfp4};
use super::weights::Weights;

/// Metadata key of a packed file's block format. With `.` and a tensor's name appended, the key of
/// that tensor's format.
pub const FORMAT_KEY: &str = "mxlab.format";

/// Supported formats of compressed-tensors, and their elements; scales are E8M0, blocks 32.
pub const COMPRESSED_TENSORS_FORMATS: [(&str, ElementFormat); 2] = [
    ("mxfp4-pack-quantized", ElementFormat::FP4_E2M1),
    ("mxfp6-pack-quantized", ElementFormat::FP6_E2M3),
];

/// The encoding that `quantization_config` names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Encoding {
    /// None named; the tensors determine it.
    Unsaid,
    /// compressed-tensors, in this format.
    CompressedTensors(BlockFormat),
}

impl Encoding {
    /// From the top level of a `config.json`.
    ///
    /// # Errors
    /// `Field` and `MissingField` for an unsupported method or format.
    pub(super) fn parse(fields: Fields) -> Result<Self, CheckpointError> {
        let Some(config) = fields.object("quantization_config")? else {
            return Ok(Self::Unsaid);
        };
        match config.text("quant_method")? {
            Some("mxfp4") => Ok(Self::Unsaid),
            Some("compressed-tensors") => compressed_tensors(config).map(Self::CompressedTensors),
            _ => Err(config.error(
                "quant_method",
                "\"compressed-tensors\" or \"mxfp4\", the supported methods",
            )),
        }
    }

    /// The packed matrix `name` `[rows, cols]`, if there is one.
    ///
    /// # Errors
    /// `MissingTensor`, `Shape`, `PackedDtype` for tensors that do not form it; `PackedFormat`.
    pub(super) fn find(
        self,
        weights: &Weights,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<Packed>, CheckpointError> {
        let [rows, cols] = shape;
        if let Self::CompressedTensors(format) = self {
            let Some(codes) = weights.place(&format!("{name}_packed")) else {
                return Ok(None);
            };
            let blocks = format.blocks_per_row(cols);
            let scales = weights.required(&format!("{name}_scale"), &[rows, blocks])?;
            return Packed::separate(format, shape, [codes, scales], 1.0).map(Some);
        }
        if let Some(codes) = weights.place(&format!("{name}_blocks")) {
            let scales = [rows, cols.div_ceil(MX_BLOCK)];
            let scales = weights.required(&format!("{name}_scales"), &scales)?;
            return Packed::separate(mxfp4(), shape, [codes, scales], 1.0).map(Some);
        }
        match weights.place(&format!("{name}.codes")) {
            Some(codes) => own(weights, name, shape, codes).map(Some),
            None => Ok(None),
        }
    }
}

/// A matrix in this program's own encoding.
fn own(
    weights: &Weights,
    name: &str,
    [rows, cols]: [usize; 2],
    codes: Place,
) -> Result<Packed, CheckpointError> {
    let (file, _) = &codes;
    let refused = |reason: String| CheckpointError::PackedFormat {
        file: file.path().to_owned(),
        tensor: name.to_owned(),
        reason,
    };
    let text = file.metadata(&format!("{FORMAT_KEY}.{name}"));
    let text = text.or_else(|| file.metadata(FORMAT_KEY));
    let text = text.ok_or_else(|| refused(format!("metadata have no `{FORMAT_KEY}`")))?;
    let format: BlockFormat =
        serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
    let scales = [
        rows,
        format.blocks_per_row(cols),
        format.scale().storage_bytes(),
    ];
    let scales = weights.required(&format!("{name}.scales"), &scales)?;
    let mut tensor_scale = 1.0;
    if format.has_tensor_scale() {
        let name = format!("{name}.tensor_scale");
        let (file, tensor) = weights.required(&name, &[1])?;
        let (_, info, range) = &file.tensors()[tensor];
        let bytes = &file.bytes()[range.clone()];
        match (info.dtype, bytes.as_array::<4>()) {
            (Dtype::F32, Some(bytes)) => tensor_scale = f32::from_le_bytes(*bytes),
            _ => {
                return Err(refused(format!(
                    "`{name}` is {} {:?}; expected F32 [1]",
                    info.dtype, info.shape
                )));
            }
        }
    }
    Packed::separate(format, [rows, cols], [codes, scales], tensor_scale)
}

/// The format in a `quantization_config` of compressed-tensors. Activations and cache follow the
/// configuration, never the checkpoint.
fn compressed_tensors(config: Fields) -> Result<BlockFormat, CheckpointError> {
    let read = |fields: Fields, name| -> Result<Option<ElementFormat>, CheckpointError> {
        let Some(text) = fields.text(name)? else {
            return Ok(None);
        };
        let found = COMPRESSED_TENSORS_FORMATS
            .iter()
            .find(|(known, _)| *known == text);
        let known = COMPRESSED_TENSORS_FORMATS
            .map(|(name, _)| format!("\"{name}\""))
            .join(" or ");
        match found {
            Some((_, element)) => Ok(Some(*element)),
            None => Err(fields.error(name, format!("{known}, the supported formats"))),
        }
    };
    let Some(element) = read(config, "format")? else {
        return Err(config.error("format", "the name of a format"));
    };
    let Some(groups) = config.object("config_groups")? else {
        return Err(config.error("config_groups", "an object of groups"));
    };
    for name in groups.names() {
        let Some(group) = groups.object(name)? else {
            continue;
        };
        if read(group, "format")?.is_some_and(|other| other != element) {
            return Err(group.error("format", "that of the whole"));
        }
        for other in ["input_activations", "output_activations"] {
            if group.get(other).is_some() {
                let expected = "null (a configuration, not the checkpoint, quantises activations)";
                return Err(group.error(other, expected));
            }
        }
        let Some(weights) = group.object("weights")? else {
            return Err(group.error("weights", "an object"));
        };
        let bits = element.bits() as usize;
        for (field, value) in [("num_bits", bits), ("group_size", MX_BLOCK)] {
            if weights.size(field, 1 << 16)? != Some(value) {
                return Err(weights.error(field, value.to_string()));
            }
        }
        if weights.text("type")? != Some("float") {
            return Err(weights.error("type", "\"float\""));
        }
        if !weights.flag("symmetric", true)? {
            return Err(weights.error("symmetric", "true"));
        }
        if weights.get("actorder").is_some() {
            return Err(weights.error("actorder", "null"));
        }
    }
    if config.get("kv_cache_scheme").is_some() {
        let expected = "null (a configuration, not the checkpoint, quantises the cache)";
        return Err(config.error("kv_cache_scheme", expected));
    }
    for other in ["sparsity_config", "transform_config"] {
        if config
            .object(other)?
            .is_some_and(|object| object.names().next().is_some())
        {
            return Err(config.error(other, "nothing"));
        }
    }
    let format = BlockFormat::new(element).block_size(MX_BLOCK).build();
    Ok(format.expect("an MX format"))
}
