//! GGUF files: the values of their types, split models, configuration and tokenizer in the file,
//! and malformed files.

mod config;
mod dequantise;
mod head;
mod malformed;
mod split;
mod tokenizer;
pub mod writer;

use std::fs;
use std::path::Path;

use mxlab::checkpoint::{Checkpoint, CheckpointError};
use writer::File;

/// A small model, F16 throughout but for one Q8_0 matrix.
fn small() -> File {
    File::llama([320, 64], 1, vec![0x11; 320 * 64 * 2])
}

/// Writes the file into a folder of its own, and opens it.
fn open(file: &File) -> Result<Checkpoint, CheckpointError> {
    let folder = tempfile::tempdir().expect("a folder");
    open_in(folder.path(), file)
}

fn open_in(folder: &Path, file: &File) -> Result<Checkpoint, CheckpointError> {
    let path = folder.join("model.gguf");
    fs::write(&path, file.bytes()).expect("writable");
    Checkpoint::open(&path)
}

/// The message for a file that does not open.
fn refusal(file: &File) -> String {
    open(file).expect_err("it is malformed").to_string()
}
