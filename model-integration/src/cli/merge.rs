//! The flag that rotates a model's weights for good.

use anyhow::Result;
use clap::Args;
use mxlab_kernels::format::Rotation;

use super::model::open_checkpoint;
use crate::checkpoint::Checkpoint;
use crate::model::merged::merged;

// The flag of commands that choose or write weights.
#[derive(Args, Clone, Debug)]
pub struct MergeArgs {
    /// Rotation of the residual stream and of heads' values, merged into the weights, so that
    /// nothing is rotated when the model runs; sizes and seeds as those of --rotation. A head that
    /// is the embedding becomes a matrix of its own
    #[arg(long, value_name = "SIZE[:SEED]", help_heading = "Formats")]
    pub merge_rotation: Option<Rotation>,
}

impl MergeArgs {
    /// Opens a model, and merges the rotation if there is one.
    pub fn open(&self, model: &str) -> Result<Checkpoint> {
        let checkpoint = open_checkpoint(model)?;
        Ok(match &self.merge_rotation {
            None => checkpoint,
            Some(rotation) => merged(checkpoint, rotation)?,
        })
    }
}
