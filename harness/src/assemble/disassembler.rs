//! nvdisasm: a cubin to a listing of its machine code.

use super::tool::{Tool, output};
use super::{Assembler, ToolError};
use std::path::{Path, PathBuf};
use std::process::Command;

/// nvdisasm.
#[derive(Clone, Debug)]
pub struct Disassembler {
    path: PathBuf,
}

impl Disassembler {
    /// nvdisasm from `$NVDISASM`, else from beside ptxas, else from the path.
    ///
    /// # Errors
    /// [`ToolError::Missing`].
    pub fn find(assembler: &Assembler) -> Result<Self, ToolError> {
        let tool = Tool {
            name: "nvdisasm",
            variable: "NVDISASM",
        };
        let path = tool.find(assembler.path().parent())?;
        Ok(Self { path })
    }

    /// The executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listing of a cubin's code sections; `module` is the name that errors give it.
    ///
    /// # Errors
    /// [`ToolError::Report`] with what nvdisasm says if it does not take the file.
    pub fn listing(&self, module: &str, cubin: &[u8]) -> Result<String, ToolError> {
        let file = |action| move |reason| ToolError::File { action, reason };
        let folder = tempfile::tempdir().map_err(file("create"))?;
        let source = folder.path().join("k.cubin");
        std::fs::write(&source, cubin).map_err(file("write"))?;
        let out = output(&self.path, Command::new(&self.path).arg("-c").arg(&source))?;
        let report = |reason| ToolError::Report {
            module: module.to_owned(),
            tool: "nvdisasm",
            reason,
        };
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(report(format!("{}: {}", out.status, said.trim())));
        }
        String::from_utf8(out.stdout).map_err(|error| report(error.to_string()))
    }
}
