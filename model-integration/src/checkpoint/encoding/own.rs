//! Encodings that need no configuration: our own, and the blocks of gpt-oss.

use mxlab_kernels::format::{BlockFormat, Rotation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::CheckpointError;
use super::super::packed::{MX_BLOCK, Packed, Place, mxfp4};
use super::super::weights::Weights;
use super::StoredInput;
use super::by_rows::scalar;

/// Metadata key of a packed file's block format. With `.` and a tensor's name appended, the key of
/// that tensor's format.
pub const FORMAT_KEY: &str = "mxlab.format";

/// What the metadata say of a packed matrix: its block format, and whether its rows are rotated.
/// Builds that do not know of rotations refuse the field `rotation`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct StoredFormat {
    /// The format of its codes and scales.
    #[serde(flatten)]
    pub format: BlockFormat,
    /// The rotation of its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

impl From<&BlockFormat> for StoredFormat {
    fn from(format: &BlockFormat) -> Self {
        Self {
            format: *format,
            rotation: None,
        }
    }
}

impl TryFrom<Map<String, Value>> for StoredFormat {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let rotation = fields.remove("rotation");
        Ok(Self {
            format: serde_json::from_value(Value::Object(fields))?,
            rotation: rotation.map(serde_json::from_value).transpose()?,
        })
    }
}

/// Metadata key of the block format of inputs of packed matrices; `null` for none. With `.` and a
/// tensor's name appended, that of its input.
pub const INPUT_KEY: &str = "mxlab.input";

/// The quantisation of the input of the matrix `name`, if its file says one.
///
/// # Errors
/// `PackedFormat`.
pub(super) fn input(weights: &Weights, name: &str) -> Result<Option<StoredInput>, CheckpointError> {
    let Some((file, _)) = weights.place(&format!("{name}.codes")) else {
        return Ok(None);
    };
    let text = file.metadata(&format!("{INPUT_KEY}.{name}"));
    let Some(text) = text.or_else(|| file.metadata(INPUT_KEY)) else {
        return Ok(None);
    };
    let format: Option<BlockFormat> =
        serde_json::from_str(text).map_err(|error| CheckpointError::PackedFormat {
            file: file.path().to_owned(),
            tensor: name.to_owned(),
            reason: format!("`{INPUT_KEY}`: {error}"),
        })?;
    Ok(format.map(|format| StoredInput::Block(format, None)))
}

/// The rotation of the rows of the matrix `name`; `None` unless it is in our own encoding.
///
/// # Errors
/// `PackedFormat`.
pub(in crate::checkpoint) fn rotation(
    weights: &Weights,
    name: &str,
) -> Result<Option<Rotation>, CheckpointError> {
    match weights.place(&format!("{name}.codes")) {
        Some(codes) => Ok(stored_format(name, &codes)?.rotation),
        None => Ok(None),
    }
}

/// What the metadata say of the matrix `name` with these codes.
fn stored_format(name: &str, (file, _): &Place) -> Result<StoredFormat, CheckpointError> {
    let refused = |reason: String| CheckpointError::PackedFormat {
        file: file.path().to_owned(),
        tensor: name.to_owned(),
        reason,
    };
    let text = file.metadata(&format!("{FORMAT_KEY}.{name}"));
    let text = text.or_else(|| file.metadata(FORMAT_KEY));
    let text = text.ok_or_else(|| refused(format!("metadata have no `{FORMAT_KEY}`")))?;
    serde_json::from_str(text).map_err(|error| refused(error.to_string()))
}

/// The packed matrix `name` `[rows, cols]`, if there is one.
///
/// # Errors
/// `MissingTensor`, `Shape`, `PackedDtype` for tensors that do not form it; `PackedFormat`.
pub(super) fn find(
    weights: &Weights,
    name: &str,
    shape: [usize; 2],
) -> Result<Option<Packed>, CheckpointError> {
    let [rows, cols] = shape;
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

/// A matrix in this program's own encoding.
fn own(
    weights: &Weights,
    name: &str,
    [rows, cols]: [usize; 2],
    codes: Place,
) -> Result<Packed, CheckpointError> {
    let StoredFormat { format, .. } = stored_format(name, &codes)?;
    let scales = [
        rows,
        format.blocks_per_row(cols),
        format.scale().storage_bytes(),
    ];
    let scales = weights.required(&format!("{name}.scales"), &scales)?;
    let tensor_scale = match format.has_tensor_scale() {
        true => scalar(weights, &format!("{name}.tensor_scale"))?,
        false => 1.0,
    };
    Packed::separate(format, [rows, cols], [codes, scales], tensor_scale)
}
