//! Errors of a folder of images.

use super::MAKE;
use crate::assemble::Target;
use std::path::PathBuf;

/// Why a folder of images cannot be used. The message says what was found and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImagesError {
    /// There is no index, or it cannot be read.
    #[error("no images in `{}`: index.json: {reason}; {MAKE}", folder.display())]
    NoIndex {
        /// The folder.
        folder: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// The index is not JSON, or lacks something.
    #[error("`{}` is no index of images: {reason}; {MAKE}", path.display())]
    NotAnIndex {
        /// The index.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// The index has another kind, or is of another version of the lab.
    #[error(
        "`{}` holds {found}, expected {expected}; {MAKE}", path.display()
    )]
    Foreign {
        /// The index.
        path: PathBuf,
        /// Kind and version that it names.
        found: String,
        /// Kind and version of this build.
        expected: String,
    },
    /// A file that the index names is not there, or cannot be read.
    #[error(
        "image `{}`: {reason}; run `mxlab bundle` again, which makes what is missing",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// A file is longer or shorter than the index says.
    #[error(
        "image `{}` has {found} bytes, expected {expected}: it was cut or edited; copy the folder \
         again, or run `mxlab bundle` again, which makes it anew",
        path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// The bytes that the index gives.
        expected: u64,
    },
    /// A file has other bytes than the index says.
    #[error(
        "image `{}` has SHA-256 {found}, expected {expected}: it was edited; copy the folder \
         again, or run `mxlab bundle` again, which makes it anew",
        path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Its digest in hexadecimal.
        found: String,
        /// The one that the index says.
        expected: String,
    },
    /// A file does not hold what `mxlab bundle` writes.
    #[error("image `{}`: {reason}; run `mxlab bundle` again into an empty folder", path.display())]
    Packing {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A module is for a chip that the index is not for.
    #[error(
        "image `{}` is for {found}, expected one that runs on {expected}, the chip of its index; \
         {MAKE}",
        path.display()
    )]
    OtherChip {
        /// The file.
        path: PathBuf,
        /// The chip of the module.
        found: Target,
        /// The chip of the index.
        expected: Target,
    },
}
