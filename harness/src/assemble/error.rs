//! Errors of the tools.

use super::{Resources, Target};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no machine code, or no listing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The tool is not on this machine.
    #[error(
        "no {tool}: {looked}; `pip install nvidia-cuda-nvcc==13.0.88 nvidia-cuda-nvdisasm` has it, \
         then set {variable} to its path"
    )]
    Missing {
        /// Its name.
        tool: &'static str,
        /// The environment variable that points to it.
        variable: &'static str,
        /// Where it was looked for.
        looked: String,
    },
    /// The tool exists but could not be started.
    #[error("cannot run `{}`: {reason}", path.display())]
    NotRun {
        /// The tool.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// A temporary file could not be written or read.
    #[error("cannot {action} a temporary file: {reason}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        reason: io::Error,
    },
    /// The tool refuses its input, or warns about it.
    #[error("{module} for {target}: {}", lines(diagnostics))]
    Rejected {
        /// The name of the PTX text.
        module: String,
        /// What it was assembled for.
        target: Target,
        /// Everything that it said.
        diagnostics: Vec<Diagnostic>,
    },
    /// The kernel keeps values in local memory.
    #[error(
        "{module} for {target}: local memory: {} bytes of stack, {} bytes of spill stores, {} of \
         spill loads",
        resources.stack_bytes, resources.spill_store_bytes, resources.spill_load_bytes
    )]
    LocalMemory {
        /// The name of the PTX text.
        module: String,
        /// What it was assembled for.
        target: Target,
        /// The resources of the kernel.
        resources: Resources,
    },
    /// The tool did what was asked and reported it in an unknown way.
    #[error("{module}: {tool}'s report is not understood: {reason}")]
    Report {
        /// Its input.
        module: String,
        /// Its name.
        tool: &'static str,
        /// What is missing.
        reason: String,
    },
}

impl ToolError {
    /// What is missing on this machine: the tool, then this error.
    pub fn needed(&self) -> String {
        match self {
            Self::Missing { tool, .. } => format!("{tool} ({self})"),
            _ => format!("a tool that works ({self})"),
        }
    }
}

/// One line of what ptxas says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The line of the PTX text, if it names one; the first is 1.
    pub line: Option<u32>,
    /// What it says.
    pub message: String,
}

impl Diagnostic {
    /// From `ptxas FILE, line 6; error : MESSAGE` or `ptxas warning : MESSAGE`; `None` for notes
    /// and for the summary after other errors.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("ptxas ")?;
        let (place, message) = ["error", "fatal", "warning"].iter().find_map(|severity| {
            let (place, rest) = rest.split_once(severity)?;
            Some((place, rest.trim_start().strip_prefix(':')?))
        })?;
        let message = message.trim();
        if message == "Ptx assembly aborted due to errors" {
            return None;
        }
        let line = place.rsplit_once("line ").and_then(|(_, rest)| {
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        Some(Self {
            line,
            message: message.to_owned(),
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::Diagnostic;

    #[test]
    fn messages_keep_their_lines() {
        let parse = |text| Diagnostic::parse(text).map(|d| d.to_string());
        let error = "ptxas /tmp/line 9/k.ptx, line 6; error   : Unknown modifier '.u33'";
        assert_eq!(
            parse(error).as_deref(),
            Some("line 6: Unknown modifier '.u33'")
        );
        let fatal = "ptxas fatal   : Value 'sm_77' is not defined for option 'gpu-name'";
        assert_eq!(
            parse(fatal).as_deref(),
            Some("Value 'sm_77' is not defined for option 'gpu-name'")
        );
        let warning = "ptxas warning : Local memory used for function 't'";
        assert_eq!(
            parse(warning).as_deref(),
            Some("Local memory used for function 't'")
        );
        assert_eq!(parse("ptxas info    : 0 bytes gmem"), None);
        assert_eq!(
            parse("ptxas fatal   : Ptx assembly aborted due to errors"),
            None
        );
    }
}
