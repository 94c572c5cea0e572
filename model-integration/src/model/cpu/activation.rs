//! Activations in memory.

use crate::model::buffer::Buffer;

/// An activation matrix `[tokens, features]`, row-major.
#[derive(Clone, Debug)]
pub struct Activation {
    values: Buffer,
    features: usize,
}

impl Activation {
    /// Rows to be filled.
    pub(super) fn of_any_values(tokens: usize, features: usize) -> Self {
        Self {
            values: Buffer::of_any_values(tokens * features),
            features,
        }
    }

    /// Features of a token.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.values.len().checked_div(self.features).unwrap_or(0)
    }

    /// Every value.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
