//! Activations in memory.

/// An activation matrix `[tokens, features]`, row-major.
#[derive(Clone, Debug)]
pub struct Activation {
    values: Vec<f32>,
    features: usize,
}

impl Activation {
    /// Rows of `features` values.
    pub(super) fn new(values: Vec<f32>, features: usize) -> Self {
        Self { values, features }
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
