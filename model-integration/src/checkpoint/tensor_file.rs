//! A single safetensors file, independent of any model.

use std::path::Path;
use std::sync::Arc;

use mxlab_kernels::format::FloatType;
use safetensors::Dtype;

use super::weight_file::WeightFile;
use super::{CheckpointError, TensorView};

/// A mapped safetensors file with a checked header.
pub struct TensorFile(Arc<WeightFile>);

/// A tensor of any type in a [`TensorFile`].
pub struct StoredTensor {
    file: Arc<WeightFile>,
    index: usize,
}

impl TensorFile {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// `MissingFile`, or a malformation of its header.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = WeightFile::open(path)?.ok_or_else(|| CheckpointError::MissingFile {
            file: path.to_owned(),
            purpose: "it is the safetensors file to read",
        })?;
        Ok(Self(Arc::new(file)))
    }

    /// Its tensors, in file order.
    pub fn tensors(&self) -> impl Iterator<Item = StoredTensor> + '_ {
        (0..self.0.tensors().len()).map(|index| StoredTensor {
            file: Arc::clone(&self.0),
            index,
        })
    }
}

impl StoredTensor {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.file.tensors()[self.index].0
    }

    /// Its sizes, slowest axis first; row-major.
    pub fn shape(&self) -> &[usize] {
        &self.file.tensors()[self.index].1.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.file.tensors()[self.index].1.dtype
    }

    /// Its stored elements.
    pub fn bytes(&self) -> &[u8] {
        &self.file.bytes()[self.file.tensors()[self.index].2.clone()]
    }

    /// The tensor as floats, with their type; `None` for other types.
    ///
    /// # Errors
    /// `NonFinite` if it has NaN or infinite elements; this reads all of it.
    pub fn floats(&self) -> Result<Option<(TensorView, FloatType)>, CheckpointError> {
        if !matches!(self.dtype(), Dtype::F32 | Dtype::BF16 | Dtype::F16) {
            return Ok(None);
        }
        let view = TensorView::new(Arc::clone(&self.file), self.index)?;
        view.check_finite()?;
        Ok(view.dtype().map(|dtype| (view, dtype)))
    }
}
