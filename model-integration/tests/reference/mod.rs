//! Real checkpoints against the results of Hugging Face transformers and microxcaling.
//!
//! `MXLAB_SHARED` names the folder with `models/`; without it the tests print `not run`. With
//! `MXLAB_LONG` the LAMBADA files are scored, too.

mod config;
mod operands;
mod scores;

use not_run::not_run;
use std::path::PathBuf;

/// The model directories with reference results, if they are present.
fn models() -> Vec<PathBuf> {
    let beside_workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside_workspace.into());
    let names = ["stories260k", "babyllama-tok361"];
    let all = names.map(|name| PathBuf::from(&shared).join("models").join(name));
    let found: Vec<PathBuf> = all.into_iter().filter(|path| path.is_dir()).collect();
    if found.is_empty() {
        not_run("comparison with reference models", "MXLAB_SHARED");
    }
    found
}
