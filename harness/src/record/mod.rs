//! Result records: the environment they were made in, and files that are never half-written.
//!
//! | module | what |
//! |---|---|
//! | [`write_atomic`], [`AtomicFile`] | a file that is either the old or the new one |
//! | [`AppendLog`] | an append-only JSON-lines log that survives being killed |
//! | [`Environment`] | machine, build and command line |
//! | [`Build`] | the commit and compiler of a program |
//! | [`float`] | JSON for floats that may be NaN or infinite |

mod append_log;
mod atomic;
mod build;
mod environment;
pub mod float;

use std::io;
use std::path::{Path, PathBuf};

pub use append_log::{AppendLog, LogError, Resumed};
pub use atomic::{AtomicFile, write_atomic};
pub use build::Build;
pub use environment::{Environment, Machine, build_version};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`: {reason}", path.display())]
pub struct FileError {
    /// What was attempted: `create`, `write`, `read`, ...
    pub action: &'static str,
    /// The file it was attempted on.
    pub path: PathBuf,
    /// The system's answer.
    pub reason: io::Error,
}

impl FileError {
    fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self {
            action,
            path: path.to_owned(),
            reason,
        }
    }
}
