//! The inputs of a kernel, and its outputs.

use super::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// The inputs of a kernel: sizes and tensors by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Sizes, strides, offsets, seeds.
    pub sizes: BTreeMap<String, u64>,
    /// Tensors that are read.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A problem that does not fit an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// A size or tensor is missing.
    #[error("the problem has no `{0}`")]
    Missing(String),
    /// A size or tensor does not fit the kernel.
    #[error("the problem's `{name}` does not fit: {reason}")]
    Unfit {
        /// The size or tensor.
        name: String,
        /// Why.
        reason: String,
    },
}

impl Problem {
    /// A problem of these parts.
    pub fn new<const S: usize, const T: usize>(
        sizes: [(&str, usize); S],
        tensors: [(&str, Tensor); T],
    ) -> Self {
        let size = |(name, size): (&str, usize)| (name.to_owned(), size as u64);
        let tensor = |(name, tensor): (&str, Tensor)| (name.to_owned(), tensor);
        Self {
            sizes: sizes.into_iter().map(size).collect(),
            tensors: tensors.into_iter().map(tensor).collect(),
        }
    }

    /// A size.
    ///
    /// # Errors
    /// [`ProblemError`] if it is missing or too large.
    pub fn size(&self, name: &str) -> Result<usize, ProblemError> {
        let missing = || ProblemError::Missing(name.to_owned());
        let &size = self.sizes.get(name).ok_or_else(missing)?;
        // No problem is anywhere near; products of two sizes cannot overflow.
        let unfit = |_| ProblemError::Unfit {
            name: name.to_owned(),
            reason: format!("{size} is too large"),
        };
        Ok(u32::try_from(size).map_err(unfit)? as usize)
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`ProblemError::Missing`].
    pub fn tensor(&self, name: &str) -> Result<&Tensor, ProblemError> {
        let missing = || ProblemError::Missing(name.to_owned());
        self.tensors.get(name).ok_or_else(missing)
    }

    /// Some elements of a tensor.
    ///
    /// # Errors
    /// If the tensor is missing or shorter.
    pub(crate) fn part(&self, name: &str, range: Range<usize>) -> Result<Tensor, ProblemError> {
        let tensor = self.tensor(name)?;
        tensor
            .part(range.clone())
            .ok_or_else(|| ProblemError::Unfit {
                name: name.to_owned(),
                reason: format!(
                    "it has {} elements; expected {}",
                    tensor.bits.len(),
                    range.end
                ),
            })
    }
}

/// The most elements of a tensor, so that a problem cannot ask for any amount of memory. The
/// largest matrix of Llama 3 1B, 128256 by 2048, has fewer.
pub(crate) const MAX_ELEMENTS: usize = 1 << 28;

/// Checks that a tensor of `rows` and `cols` has elements, and at most [`MAX_ELEMENTS`].
pub(crate) fn check_elements(name: &str, rows: usize, cols: usize) -> Result<(), ProblemError> {
    let elements = rows.saturating_mul(cols);
    match (1..=MAX_ELEMENTS).contains(&elements) {
        true => Ok(()),
        false => Err(ProblemError::Unfit {
            name: name.to_owned(),
            reason: format!("{rows} by {cols} elements; expected 1 to {MAX_ELEMENTS}"),
        }),
    }
}

/// The outputs of a kernel: whole buffers by name, including the elements between rows.
pub type Outputs = BTreeMap<&'static str, Tensor>;

/// The byte that fills output buffers before a launch.
pub const UNTOUCHED: u8 = 0xA5;
