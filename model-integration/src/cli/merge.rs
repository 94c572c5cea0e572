//! The flag that rotates a model's weights for good.

use anyhow::Result;
use clap::Args;
use mxlab_kernels::format::Rotation;

use super::model::open_checkpoint;
use super::output::Usage;
use crate::checkpoint::Checkpoint;
use crate::config::{Projection, QuantConfig};
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
    /// Opens a model for a configuration, and merges the rotation if there is one.
    pub fn open(&self, model: &str, config: &QuantConfig) -> Result<Checkpoint> {
        // Without signs a Hadamard matrix is its own inverse.
        let undone = |projection: &Projection| {
            let own = config.rotation_of(*projection);
            own.is_some_and(|own| self.merge_rotation == Some(own) && own.seed().is_none())
        };
        if let Some(projection) = Projection::ALL
            .iter()
            .find(|one| **one != Projection::Down && undone(one))
        {
            let message = format!(
                "--rotation undoes --merge-rotation at the input of {}: both are the same rotation \
                 without signs; give one a seed, as in 32:1, or rotate down alone (--rotated down)",
                projection.name()
            );
            return Err(Usage(message).into());
        }
        let checkpoint = open_checkpoint(model)?;
        Ok(match &self.merge_rotation {
            None => checkpoint,
            Some(rotation) => merged(checkpoint, rotation)?,
        })
    }
}
