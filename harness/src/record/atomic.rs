use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::FileError;

/// Replaces `path` by `contents` in one step: they are written and synced to a temporary file
/// in the same directory, which is then renamed. Whatever goes wrong, a file that was there
/// before stays whole. Missing parent directories are created.
///
/// A `path` that exists and is no regular file (`/dev/stdout`, a pipe) is written to directly:
/// renaming would replace the device.
///
/// # Errors
/// Names the file and the step that failed.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            Err(FileError::new("write", path)(source))
        }
        Ok(metadata) if !metadata.is_file() => {
            write_directly(path, contents).map_err(FileError::new("write", path))
        }
        _ => write_renamed(path, contents),
    }
}

fn write_directly(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(contents)?;
    file.flush()
}

fn write_renamed(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory).map_err(FileError::new("create directory", directory))?;
    let write = || {
        let mut temporary = new_temporary(directory)?;
        temporary.write_all(contents)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)?;
        sync_directory(directory)
    };
    write().map_err(FileError::new("write", path))
}

/// The permissions of a file that the user creates, not the private ones of a temporary file.
#[cfg(unix)]
fn new_temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix(".mxlab-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

#[cfg(not(unix))]
fn new_temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::NamedTempFile::new_in(directory)
}

/// Makes the rename itself survive a power failure.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
