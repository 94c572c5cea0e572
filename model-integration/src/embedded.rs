//! The model and the task in the binary, written by `mxlab train`.

use crate::checkpoint::{Checkpoint, CheckpointError};

/// The embedded task, as JSON lines.
pub const TASK: &str = include_str!("../embedded/task.jsonl");

/// The embedded model.
///
/// # Errors
/// None with the shipped files.
pub fn checkpoint() -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(
        include_bytes!("../embedded/config.json"),
        include_bytes!("../embedded/tokenizer.json"),
        include_bytes!("../embedded/model.safetensors"),
        "embedded",
    )
}
