//! Lets a test report that it did not run, and what is missing.
//!
//! The test harness of Rust knows no such state: a test that returns early passes. Every test that
//! needs more than this repository calls [`not_run`], and `.ci/run` counts the lines.

use std::io::Write;

/// The variable that names a file to which the lines are appended.
pub const FILE: &str = "MXLAB_NOT_RUN";

/// Says that `test`, or a part of it, did not run for lack of `needs`: a program such as `ptxas`, a
/// device, or a variable to set such as `MXLAB_SHARED`.
///
/// # Panics
/// If [`FILE`] names a file that cannot be written: a line must not be lost.
pub fn not_run(test: &str, needs: &str) {
    let needs = needs.replace('\n', " ");
    let line = format!("not run: {test}: needs {needs}\n");
    // Past the capture of output, and in one piece: tests run beside each other.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(FILE) {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{FILE}: {error}"));
    }
}
