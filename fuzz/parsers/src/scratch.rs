//! Files for readers that take paths.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory of this thread's own, removed with the thread.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        // In memory, where the system has such a place: writers wait until the disk has it all.
        let memory = Path::new("/dev/shm");
        let directory = match memory.is_dir() {
            true => TempDir::new_in(memory),
            false => TempDir::new(),
        };
        Self(directory.expect("a temporary directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file of the directory.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("a temporary file");
        path
    }
}
