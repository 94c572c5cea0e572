//! What a kernel is given, and what must come out.

use super::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Everything that a kernel is given: sizes and tensors by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Sizes, strides, offsets, seeds.
    pub sizes: BTreeMap<String, u64>,
    /// Tensors that are read.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A problem that names what an entry does not have, or lacks what it needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// A size or tensor is missing.
    #[error("the problem has no `{0}`")]
    Missing(String),
    /// A size or tensor has a value that no problem of this kernel has.
    #[error("the problem's `{name}` does not fit: {reason}")]
    Unfit {
        /// Of what.
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
                    "it has {} elements, {} are needed",
                    tensor.bits.len(),
                    range.end
                ),
            })
    }
}

/// Elements of a tensor, at most: sizes that are given must not ask for any amount of memory. The largest matrix of
/// Llama 3 1B, 128256 by 2048, has fewer.
pub(crate) const MAX_ELEMENTS: usize = 1 << 28;

/// Checks that a tensor of so many rows and columns has elements, and not too many.
pub(crate) fn check_elements(name: &str, rows: usize, cols: usize) -> Result<(), ProblemError> {
    let elements = rows.saturating_mul(cols);
    match (1..=MAX_ELEMENTS).contains(&elements) {
        true => Ok(()),
        false => Err(ProblemError::Unfit {
            name: name.to_owned(),
            reason: format!("{rows} by {cols} elements, from 1 to {MAX_ELEMENTS} are possible"),
        }),
    }
}

/// What a kernel wrote, or should write: buffers by name, whole, with what lies between rows.
pub type Outputs = BTreeMap<&'static str, Tensor>;

/// What filled a buffer before a kernel wrote to it.
pub const UNTOUCHED: u8 = 0xA5;
