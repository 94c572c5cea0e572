//! Writes weights atomically: a reader sees the old file or the new one.

use std::borrow::Cow;
use std::path::Path;

use half::bf16;
use mxlab_harness::record::write_atomic;
use safetensors::Dtype;
use safetensors::tensor::{View, serialize};

use super::CheckpointError;
use super::file::io_error;

/// A tensor to write: f32 values, row-major.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// Name in the checkpoint.
    pub name: &'a str,
    /// Sizes, slowest axis first.
    pub shape: &'a [usize],
    /// The values; their number must fit `shape`.
    pub values: &'a [f32],
}

/// Writes `tensors` to the safetensors file `path`, rounded to bf16 (half to even). The
/// same tensors always give the same bytes.
///
/// # Errors
/// `Unwritable` for a tensor whose shape does not fit its values, that is not finite after
/// rounding, or whose name occurs twice; `Io`. `path` is untouched then.
pub fn save_bf16(path: &Path, tensors: &[NamedTensor]) -> Result<(), CheckpointError> {
    let refuse = |tensor: &str, reason: String| CheckpointError::Unwritable {
        file: path.to_owned(),
        tensor: tensor.to_owned(),
        reason,
    };
    let mut names = std::collections::HashSet::new();
    for NamedTensor {
        name,
        shape,
        values,
    } in tensors
    {
        if !names.insert(*name) {
            return Err(refuse(name, "its name occurs twice".to_owned()));
        }
        let elements = shape
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size));
        if elements != Some(values.len()) {
            return Err(refuse(
                name,
                format!("{} values for shape {shape:?}", values.len()),
            ));
        }
        if let Some(index) = values.iter().position(|&x| !bf16::from_f32(x).is_finite()) {
            let reason = format!(
                "{} at flat index {index} is not finite in bf16",
                values[index]
            );
            return Err(refuse(name, reason));
        }
    }
    let views = tensors.iter().map(|tensor| (tensor.name, AsBf16(tensor)));
    let bytes = serialize(views, None).map_err(|error| refuse("(header)", error.to_string()))?;
    write_atomic(path, &bytes).map_err(|error| io_error(&error.path, error.reason))
}

/// Rounds one tensor at a time while it is written.
struct AsBf16<'a>(&'a NamedTensor<'a>);

impl View for AsBf16<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let rounded = self
            .0
            .values
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes());
        Cow::Owned(rounded.collect())
    }

    fn data_len(&self) -> usize {
        2 * self.0.values.len()
    }
}
