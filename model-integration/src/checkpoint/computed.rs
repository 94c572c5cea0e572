//! Models whose parameters are computed from those of another one when they are read.

use std::sync::Arc;

use mxlab_kernels::format::FloatType;
use serde_json::{Map, Value};

use super::{Checkpoint, CheckpointError, TensorView};
use crate::description::parameters::Parameter;

/// Rows of floats that no file has. An element of a vector is a row.
pub trait ComputedRows: Send + Sync {
    /// The type in which they are written.
    fn dtype(&self) -> FloatType;

    /// Checks that what they are computed from is finite.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    fn check(&self) -> Result<(), CheckpointError>;

    /// Writes the values of a row. `out` has its length.
    fn read(&self, row: usize, out: &mut [f32]);
}

/// How parameters are computed from stored ones.
pub trait Computation: Send + Sync {
    /// What it does, in words, for digests.
    fn name(&self) -> String;

    /// A parameter; `stored` gives those of the files.
    ///
    /// # Errors
    /// As [`Checkpoint::view`].
    fn view(
        &self,
        parameter: &Parameter,
        stored: &dyn Fn(&Parameter) -> Result<TensorView, CheckpointError>,
    ) -> Result<TensorView, CheckpointError>;
}

impl Checkpoint {
    /// The model with computed parameters, its head apart from the embedding.
    ///
    /// # Errors
    /// If its config is no JSON object.
    pub fn computed(mut self, by: Arc<dyn Computation>) -> Result<Self, serde_json::Error> {
        let mut settings: Map<String, Value> = serde_json::from_slice(&self.config_json)?;
        settings.insert("tie_word_embeddings".to_owned(), false.into());
        self.config_json = Value::Object(settings).to_string().into_bytes();
        self.config.tie_word_embeddings = false;
        self.parameters.untie();
        self.computation = Some(by);
        Ok(self)
    }
}
