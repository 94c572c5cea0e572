//! Why a record cannot be read.

use std::path::{Path, PathBuf};

use mxlab_harness::record::FileError;

use super::{KINDS, Kind};

/// Why a file cannot be read as a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not the record that was expected.
    #[error("`{}`: {wrong}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        wrong: Wrong,
    },
}

impl RecordError {
    pub(crate) fn of(path: &Path) -> impl FnOnce(Wrong) -> Self {
        move |wrong| Self::Wrong {
            path: path.to_owned(),
            wrong,
        }
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is no whole JSON value.
    #[error("damaged, cut off or no JSON: {reason}; restore the file, or write it again")]
    CutOff {
        /// Where and why.
        reason: String,
    },
    /// It does not say what it is.
    #[error("no record: it has no field `{field}`; expected `kind` and `schema_version`")]
    NoHead {
        /// What is missing.
        field: &'static str,
    },
    /// It says that it is something else altogether.
    #[error("no record: its kind is `{found}`; expected one of {}", known())]
    UnknownKind {
        /// What it says.
        found: String,
    },
    /// It is of another kind.
    #[error(
        "found a record of kind `{}`, expected `{}`, which `{}` writes",
        found.name, expected.name, expected.command
    )]
    OtherKind {
        /// What it is.
        found: Kind,
        /// What was expected.
        expected: Kind,
    },
    /// It is of another version.
    #[error(
        "found a {} record of version {found}, expected version {}; write it again with `{}`",
        kind.name, kind.version, kind.command
    )]
    OtherVersion {
        /// What it is.
        kind: Kind,
        /// Its version.
        found: u64,
    },
    /// A field is missing or has another type.
    #[error("damaged {} record: {reason}; write it again with `{}`", kind.name, kind.command)]
    Fields {
        /// What it is.
        kind: Kind,
        /// Which and why.
        reason: String,
    },
}

impl Wrong {
    /// Whether the file is something else that is JSON, such as results in another program's
    /// schema.
    pub fn is_other(&self) -> bool {
        matches!(
            self,
            Self::NoHead { field: "kind" } | Self::UnknownKind { .. }
        )
    }

    pub(super) fn unknown(found: &str) -> Self {
        Self::UnknownKind {
            found: found.to_owned(),
        }
    }
}

fn known() -> String {
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    names.join(", ")
}
