//! Finds and runs a tool.

use super::ToolError;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A tool that is looked for.
pub(super) struct Tool {
    pub name: &'static str,
    pub variable: &'static str,
}

impl Tool {
    /// The file that the variable names; else `beside`, a folder; else the first on the path. A
    /// variable that names no file is an error, not a reason to look elsewhere.
    pub fn find(&self, beside: Option<&Path>) -> Result<PathBuf, ToolError> {
        let missing = |looked| ToolError::Missing {
            tool: self.name,
            variable: self.variable,
            looked,
        };
        if let Some(value) = env::var_os(self.variable) {
            let path = PathBuf::from(value);
            let looked = || format!("{} names `{}`", self.variable, path.display());
            return path
                .is_file()
                .then(|| path.clone())
                .ok_or_else(|| missing(looked()));
        }
        let paths = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&paths);
        let mut files = beside
            .map(Path::to_owned)
            .into_iter()
            .chain(folders)
            .map(|folder| folder.join(self.name));
        files.find(|file| file.is_file()).ok_or_else(|| {
            missing(format!(
                "{} is not set and it is not on the path",
                self.variable
            ))
        })
    }
}

/// Runs a tool to its end.
pub(super) fn output(path: &Path, command: &mut Command) -> Result<Output, ToolError> {
    command.output().map_err(|reason| ToolError::NotRun {
        path: path.to_owned(),
        reason,
    })
}
