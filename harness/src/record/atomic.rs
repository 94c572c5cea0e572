use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::FileError;

/// Replaces `path` by `contents` in one step: see [`AtomicFile`].
///
/// A `path` that exists and is no regular file (`/dev/stdout`, a pipe) is written to directly:
/// renaming would replace the device.
///
/// # Errors
/// Names the file and the step that failed.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            write_directly(path, contents).map_err(FileError::new("write", path))
        }
        _ => {
            let mut file = AtomicFile::create(path)?;
            file.write(|file| file.write_all(contents))?;
            file.commit()
        }
    }
}

fn write_directly(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(contents)?;
    file.flush()
}

/// A file that appears at its path all at once: it is written as a temporary file in the same
/// directory, synced, then renamed. Whatever goes wrong before, a file that was there stays
/// whole, and nothing else is left behind.
pub struct AtomicFile {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl AtomicFile {
    /// Begins a file. Missing parent directories are created.
    ///
    /// # Errors
    /// If the directory is not writable, or `path` exists and is not a regular file.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if let Ok(metadata) = fs::metadata(path)
            && !metadata.is_file()
        {
            let reason = io::Error::new(io::ErrorKind::AlreadyExists, "it is no regular file");
            return Err(FileError::new("write", path)(reason));
        }
        let directory = directory_of(path);
        fs::create_dir_all(directory).map_err(FileError::new("create directory", directory))?;
        let temporary = new_temporary(directory).map_err(FileError::new("create", path))?;
        let path = path.to_owned();
        Ok(Self { path, temporary })
    }

    /// Writes by `write`, which may seek.
    ///
    /// # Errors
    /// The error of `write`, with the name of the file.
    pub fn write<T>(
        &mut self,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> Result<T, FileError> {
        write(self.temporary.as_file_mut()).map_err(FileError::new("write", &self.path))
    }

    /// Makes the file appear.
    ///
    /// # Errors
    /// If it cannot be synced or renamed.
    pub fn commit(self) -> Result<(), FileError> {
        let Self { path, temporary } = self;
        let commit = || {
            temporary.as_file().sync_all()?;
            temporary.persist(&path).map_err(|error| error.error)?;
            sync_directory(directory_of(&path))
        };
        commit().map_err(FileError::new("write", &path))
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The permissions of a file that the user creates, not the private ones of a temporary file.
#[cfg(unix)]
fn new_temporary(directory: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix(".mxlab-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

#[cfg(not(unix))]
fn new_temporary(directory: &Path) -> io::Result<NamedTempFile> {
    NamedTempFile::new_in(directory)
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
