//! A directory that appears only when it is complete.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mxlab_harness::record::write_atomic;
use tempfile::TempDir;

use crate::cli::output::Usage;

/// A directory under construction, beside its target.
pub struct NewDirectory {
    target: PathBuf,
    /// Holds the new directory, and briefly the old one.
    around: TempDir,
    new: PathBuf,
}

impl NewDirectory {
    /// Checks that `target` does not exist, or may be replaced.
    ///
    /// # Errors
    /// If it may not.
    pub fn check(target: &Path, overwrite: bool) -> Result<()> {
        let mut entries = match fs::read_dir(target) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("`{}`", target.display())),
        };
        let is_full = entries
            .as_mut()
            .is_some_and(|entries| entries.next().is_some());
        if is_full && !overwrite {
            let message = format!(
                "`{}` exists already; replace it with --overwrite, or choose another \
                 directory",
                target.display()
            );
            return Err(Usage(message).into());
        }
        if is_full && !target.join("config.json").is_file() {
            let message = format!(
                "`{}` is not replaced, because it is not a model directory (it has no config.json)",
                target.display()
            );
            return Err(Usage(message).into());
        }
        Ok(())
    }

    /// Starts the directory that will become `target`.
    ///
    /// # Errors
    /// As [`NewDirectory::check`], and if nothing can be written beside it.
    pub fn create(target: &Path, overwrite: bool) -> Result<Self> {
        Self::check(target, overwrite)?;
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let writing = || format!("cannot write beside `{}`", target.display());
        fs::create_dir_all(parent).with_context(writing)?;
        let mut around = tempfile::Builder::new();
        let around = around.prefix(".mxlab-convert-").tempdir_in(parent);
        let around = around.with_context(writing)?;
        let new = around.path().join("new");
        fs::create_dir(&new).with_context(writing)?;
        Ok(Self {
            target: target.to_owned(),
            around,
            new,
        })
    }

    /// Its path during construction.
    pub fn path(&self) -> &Path {
        &self.new
    }

    /// Writes one of its files.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        Ok(write_atomic(&self.new.join(name), content)?)
    }

    /// Moves it to the target, replacing an existing one.
    ///
    /// # Errors
    /// If it cannot be renamed; an existing target is restored.
    pub fn commit(self) -> Result<()> {
        let old = self.around.path().join("old");
        let replacing = || format!("cannot replace `{}`", self.target.display());
        let is_there = self.target.exists();
        if is_there {
            fs::rename(&self.target, &old).with_context(replacing)?;
        }
        if let Err(error) = fs::rename(&self.new, &self.target) {
            if is_there {
                fs::rename(&old, &self.target).with_context(replacing)?;
            }
            return Err(error).with_context(replacing);
        }
        Ok(())
    }
}
