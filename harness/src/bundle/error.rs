//! Errors of a bundle.

use crate::assemble::Target;
use crate::assemble::ToolError;
use crate::device::ImagesError;
use crate::record::FileError;
use std::path::PathBuf;

/// Why a bundle was not finished. The folder keeps what was assembled, and the same command resumes
/// from there.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// ptxas is not there or does not run. What it says of a kernel does not stop a bundle.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file cannot be written, as on a full disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder holds something else than images.
    #[error("nothing was written to the folder: {0}")]
    Foreign(ImagesError),
    /// An image cannot be packed.
    #[error("cannot pack an image: {0}")]
    Packing(std::io::Error),
    /// ptxas ended well and wrote something else than an ELF file.
    #[error("{module}: ptxas wrote no ELF file")]
    NoElf {
        /// The first kernel of the module.
        module: String,
    },
    /// The folder holds images of another chip, which are not to be lost.
    #[error(
        "`{}` holds images for {found}, not {expected}; choose another folder, or delete it",
        folder.display()
    )]
    OtherChip {
        /// The folder.
        folder: PathBuf,
        /// The chip that they are for.
        found: Target,
        /// The requested chip.
        expected: Target,
    },
}
