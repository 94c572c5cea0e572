//! Opens files of a model directory, with errors that name them.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;

use super::{CheckpointError, foreign};

/// Longest config.json or tokenizer_config.json read, in bytes. Real ones have a few KB,
/// chat templates included.
pub(super) const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// Longest model.safetensors.index.json read, in bytes.
pub(super) const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Longest tokenizer.json read, in bytes. Those of 256k-token vocabularies have 35 MB.
pub(super) const MAX_TOKENIZER_BYTES: u64 = 512 << 20;

/// The error of a failed system call on `file`.
pub(super) fn io_error(file: &Path, reason: io::Error) -> CheckpointError {
    CheckpointError::Io {
        file: file.to_owned(),
        reason,
    }
}

/// Opens a regular, non-empty file and returns its length in bytes; `Ok(None)` if it does not
/// exist.
///
/// # Errors
/// `NotAFile`, `EmptyFile`, `Foreign`, `Io`.
pub(super) fn open_if_present(file: &Path) -> Result<Option<(File, u64)>, CheckpointError> {
    // The type is checked before opening: opening a pipe would block.
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(file, error)),
    };
    if !metadata.is_file() {
        return Err(CheckpointError::NotAFile {
            file: file.to_owned(),
        });
    }
    if metadata.len() == 0 {
        return Err(CheckpointError::EmptyFile {
            file: file.to_owned(),
        });
    }
    let failed = |error| io_error(file, error);
    let mut opened = File::open(file).map_err(failed)?;
    let mut head = Vec::new();
    let length = foreign::HEAD_BYTES as u64;
    (&mut opened)
        .take(length)
        .read_to_end(&mut head)
        .map_err(failed)?;
    foreign::check(file, &head)?;
    opened.rewind().map_err(failed)?;
    Ok(Some((opened, metadata.len())))
}

/// Reads a whole text file of at most `limit` bytes; `Ok(None)` if it does not exist.
///
/// # Errors
/// As [`open_if_present`], and `FileTooLarge`.
pub(super) fn read_if_present(file: &Path, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    let Some((opened, bytes)) = open_if_present(file)? else {
        return Ok(None);
    };
    if bytes > limit {
        return Err(CheckpointError::FileTooLarge {
            file: file.to_owned(),
            bytes,
            limit,
        });
    }
    let mut content = Vec::new();
    opened
        .take(limit)
        .read_to_end(&mut content)
        .map_err(|error| io_error(file, error))?;
    // A byte order mark is no part of the text.
    if content.starts_with(b"\xef\xbb\xbf") {
        content.drain(..3);
    }
    Ok(Some(content))
}

/// Reads a required file; `purpose` is for the message if it is absent.
pub(super) fn read_required(
    file: &Path,
    limit: u64,
    purpose: &'static str,
) -> Result<Vec<u8>, CheckpointError> {
    read_if_present(file, limit)?.ok_or_else(|| CheckpointError::MissingFile {
        file: file.to_owned(),
        purpose,
    })
}
