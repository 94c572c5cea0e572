//! Small inputs that are like people's models and files, each with what should come of it. Their
//! script runs the binary and judges it. `MXLAB_SHARED` names the folder with `cases/`; without it
//! the test prints `not run`.

use std::path::PathBuf;
use std::process::Command;

use not_run::not_run;

/// Kinds of which every case has to pass.
const KINDS: [&str; 5] = ["accept-*", "format-*", "message-*", "model-*", "value-*"];

#[test]
fn files_that_people_have_are_read_or_refused_as_they_should_be() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("MXLAB_SHARED").unwrap_or_else(|| beside.into());
    let script = PathBuf::from(shared).join("cases/check.py");
    if !script.is_file() {
        not_run("cases of people's files", "MXLAB_SHARED");
        return;
    }
    for kind in KINDS {
        let mut python = Command::new("python3");
        let run = python
            .arg(&script)
            .args(["--only", kind, env!("CARGO_BIN_EXE_mxlab")]);
        let output = run.output().expect("a Python");
        let table = String::from_utf8_lossy(&output.stdout);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{kind}:\n{table}{message}");
    }
}
