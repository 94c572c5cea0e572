//! The model and the task that are part of the binary: what `mxlab train` writes.

use crate::checkpoint::{Checkpoint, CheckpointError};

/// The embedded task, as JSON lines.
pub const TASK: &str = include_str!("../embedded/task.jsonl");

/// The embedded model.
///
/// # Errors
/// Never with the files that this crate ships.
pub fn checkpoint() -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(
        include_bytes!("../embedded/config.json"),
        include_bytes!("../embedded/tokenizer.json"),
        include_bytes!("../embedded/model.safetensors"),
        "embedded",
    )
}
