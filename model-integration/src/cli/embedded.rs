//! The model and the task that are part of the binary.

use anyhow::{Result, bail};

use crate::checkpoint::Checkpoint;

/// The embedded task, as JSON lines.
pub const TASK: &str = "";

/// The embedded model.
pub fn checkpoint() -> Result<Checkpoint> {
    bail!("this build has no embedded model: name one with --model")
}
