//! Real checkpoints against what Hugging Face transformers and microxcaling say of them.
//!
//! `MXLAB_SHARED` names the folder that holds `models/`; without it nothing here is run, and says
//! so. With `MXLAB_LONG` set the LAMBADA files are scored too.

mod config;
mod operands;
mod scores;

use std::io::Write;
use std::path::PathBuf;

/// The model directories with reference results, if this machine has them.
fn models() -> Vec<PathBuf> {
    let beside_workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside_workspace.into());
    let names = ["stories260k", "babyllama-tok361"];
    let all = names.map(|name| PathBuf::from(&shared).join("models").join(name));
    let found: Vec<PathBuf> = all.into_iter().filter(|path| path.is_dir()).collect();
    if found.is_empty() {
        say("not run: no reference models (set MXLAB_SHARED)");
    }
    found
}

/// Writes past the capture of the test harness: what was not run must be seen.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
