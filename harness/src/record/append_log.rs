use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FileError;

/// An append-only log of JSON lines: a header that identifies the run, then one entry a line.
/// Appending is one write; a process killed at any moment leaves whole entries and at most one torn
/// tail, which [`AppendLog::resume`] cuts off.
///
/// The file is locked while the log is open, so that two runs never interleave.
pub struct AppendLog {
    path: PathBuf,
    file: File,
    /// Bytes that are known to be whole lines.
    length: u64,
}

/// The contents of a log that was opened again.
pub struct Resumed<H, E> {
    /// The log, ready to append.
    pub log: AppendLog,
    /// Its header.
    pub header: H,
    /// Its whole entries, in the order they were appended.
    pub entries: Vec<E>,
    /// Where each entry ends, in bytes from the start of the file.
    ends: Vec<u64>,
    header_end: u64,
}

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process has the log open.
    #[error("`{}` is locked by another run; wait for it, or choose another file", path.display())]
    Busy {
        /// The log.
        path: PathBuf,
    },
    /// A whole line is not valid. It is not the torn tail of a killed run.
    #[error("`{}` line {line}: {reason}", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl AppendLog {
    /// Creates the log, or empties an existing one, and writes its header.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn create<H: Serialize>(path: &Path, header: &H) -> Result<Self, LogError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(FileError::new("create directory", parent))?;
        }
        let mut log = Self::open(path, true)?;
        log.truncate(0)?;
        log.append(std::slice::from_ref(header))?;
        Ok(log)
    }

    /// Opens an existing log. `None` if there is none, or if its run was killed before the header
    /// was whole.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn resume<H, E>(path: &Path) -> Result<Option<Resumed<H, E>>, LogError>
    where
        H: DeserializeOwned,
        E: DeserializeOwned,
    {
        if !path.exists() {
            return Ok(None);
        }
        let mut log = Self::open(path, false)?;
        let mut bytes = Vec::new();
        log.file
            .read_to_end(&mut bytes)
            .map_err(FileError::new("read", path))?;
        let Some(header_end) = bytes.iter().position(|&b| b == b'\n') else {
            return Ok(None);
        };
        let damaged = |line: usize, error: serde_json::Error| LogError::Damaged {
            path: path.to_owned(),
            line,
            reason: error.to_string(),
        };
        let header =
            serde_json::from_slice(&bytes[..header_end]).map_err(|error| damaged(1, error))?;

        let header_end = header_end + 1;
        let (mut entries, mut ends, mut start) = (Vec::new(), Vec::new(), header_end);
        while let Some(length) = bytes[start..].iter().position(|&b| b == b'\n') {
            match serde_json::from_slice(&bytes[start..start + length]) {
                Ok(entry) => entries.push(entry),
                // A tail that a crash of the machine filled with rubbish is torn as well.
                Err(_) if start + length + 1 == bytes.len() => break,
                Err(error) => return Err(damaged(entries.len() + 2, error)),
            }
            start += length + 1;
            ends.push(start as u64);
        }
        log.truncate(start as u64)?;
        Ok(Some(Resumed {
            log,
            header,
            entries,
            ends,
            header_end: header_end as u64,
        }))
    }

    /// Appends entries by one write. If it fails, what was there before is kept.
    ///
    /// # Errors
    /// [`LogError::File`] if the system refuses, as it does when the disk is full.
    ///
    /// # Panics
    /// If an entry cannot be JSON, which no plain data type does.
    pub fn append<E: Serialize>(&mut self, entries: &[E]) -> Result<(), LogError> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry).expect("plain data is JSON");
            lines.push(b'\n');
        }
        let written = self.file.write_all(&lines);
        if let Err(error) = written {
            // The torn tail is cut off on resuming too: failing to cut it here loses nothing.
            let _ = self.truncate(self.length);
            return Err(FileError::new("write", &self.path)(error).into());
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Makes sure that everything appended is on the disk.
    ///
    /// # Errors
    /// [`LogError::File`] if the system refuses.
    pub fn sync(&self) -> Result<(), LogError> {
        Ok(self
            .file
            .sync_data()
            .map_err(FileError::new("write", &self.path))?)
    }

    fn open(path: &Path, create: bool) -> Result<Self, LogError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .open(path)
            .map_err(FileError::new("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LogError::Busy {
                    path: path.to_owned(),
                });
            }
            // Some network file systems have no locks; the log works there without.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            length: 0,
        })
    }

    fn truncate(&mut self, length: u64) -> Result<(), FileError> {
        let mut cut = || {
            self.file.set_len(length)?;
            self.file.seek(SeekFrom::Start(length))
        };
        cut().map_err(FileError::new("truncate", &self.path))?;
        self.length = length;
        Ok(())
    }
}

impl<H, E> Resumed<H, E> {
    /// Cuts the log and [`Self::entries`] back to the first `count` entries.
    ///
    /// # Errors
    /// [`LogError::File`] if the system refuses.
    pub fn keep(&mut self, count: usize) -> Result<(), LogError> {
        if count < self.entries.len() {
            let end = match count {
                0 => self.header_end,
                _ => self.ends[count - 1],
            };
            self.log.truncate(end)?;
            self.entries.truncate(count);
            self.ends.truncate(count);
        }
        Ok(())
    }
}
