//! Why a record cannot be read.

use std::path::{Path, PathBuf};

use mxlab_harness::record::FileError;

use super::{KINDS, Kind};

/// Why a file cannot be read as a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not the expected record.
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
    /// It is not a complete JSON value.
    #[error("not JSON, damaged or cut off: {reason}; restore the file, or write it again")]
    CutOff {
        /// Position and reason.
        reason: String,
    },
    /// It has no `kind` or version.
    #[error("not a record: it has no field `{field}`; expected `kind` and `schema_version`")]
    NoHead {
        /// The missing field.
        field: &'static str,
    },
    /// Its kind is unknown.
    #[error("not a record: its kind is `{found}`; expected one of {}", known())]
    UnknownKind {
        /// The kind found.
        found: String,
    },
    /// It is of another kind.
    #[error(
        "found a record of kind `{}`, expected `{}`, which `{}` writes",
        found.name, expected.name, expected.command
    )]
    OtherKind {
        /// The kind found.
        found: Kind,
        /// What was expected.
        expected: Kind,
    },
    /// It is of another version.
    #[error(
        "found a record of kind `{}`, version {found}; expected version {}; {}",
        kind.name, kind.version, of_version(*found, *kind)
    )]
    OtherVersion {
        /// The kind.
        kind: Kind,
        /// The version found.
        found: u64,
    },
    /// A field is missing or has another type.
    #[error("damaged {} record: {reason}; write it again with `{}`", kind.name, kind.command)]
    Fields {
        /// The kind.
        kind: Kind,
        /// The field and the reason.
        reason: String,
    },
}

impl Wrong {
    /// Whether the file is JSON but no record, such as results in another program's schema.
    pub fn is_other(&self) -> bool {
        matches!(
            self,
            Self::NoHead { field: "kind" } | Self::UnknownKind { .. }
        )
    }

    /// Whether the file names a kind, which no record has.
    pub const fn has_kind(&self) -> bool {
        matches!(self, Self::UnknownKind { .. })
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

/// What to do about a record of another version.
fn of_version(found: u64, kind: Kind) -> String {
    match found > u64::from(kind.version) {
        true => "a newer mxlab wrote it: update mxlab".to_owned(),
        false => format!("write it again with `{}`", kind.command),
    }
}
