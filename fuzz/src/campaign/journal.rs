//! What workers tell, one JSON line an event. A journal that was cut off lacks its last event.

use super::Visit;
use mxlab_harness::record::{AppendLog, LogError};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// What a worker tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It begins a job.
    Begun {
        /// The job.
        job: String,
        /// Of this round.
        round: u32,
    },
    /// It has done it.
    Ended {
        /// The job.
        job: String,
        /// Of this round.
        round: u32,
        /// What came of it.
        visit: Visit,
    },
}

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
struct Head {
    schema_version: u32,
    kind: String,
    pid: u32,
}

const KIND: &str = "campaign-journal";

/// A journal that is being written. Nobody else can write it meanwhile.
pub struct Journal(AppendLog);

/// A journal that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It, or its folder, cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

impl Journal {
    /// Begins a journal; one that is there is emptied.
    ///
    /// # Errors
    /// [`JournalError::Log`].
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let head = Head {
            schema_version: 1,
            kind: KIND.to_owned(),
            pid: std::process::id(),
        };
        Ok(Self(AppendLog::create(path, &head)?))
    }

    /// Appends an event, with one write.
    ///
    /// # Errors
    /// [`JournalError::Log`] if the system refuses, as it does when the disk is full.
    pub fn append(&mut self, event: &Event) -> Result<(), JournalError> {
        Ok(self.0.append(std::slice::from_ref(event))?)
    }
}

/// What journals hold.
#[derive(Debug, Default)]
pub struct Told {
    /// Their events.
    pub events: Vec<Event>,
    /// Lines that are none, for people: their jobs are done again.
    pub damaged: Vec<String>,
}

/// Everything that the journals of a folder hold; nothing if there is no folder.
///
/// # Errors
/// If a file cannot be read. The last line of a journal may be cut off: it is passed over.
pub fn read_folder(folder: &Path) -> Result<Told, JournalError> {
    let failed = |reason| JournalError::Read {
        path: folder.to_owned(),
        reason,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Told::default()),
        entries => entries.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let is_journal = path.extension().is_some_and(|e| e == "jsonl");
        paths.extend(is_journal.then_some(path));
    }
    paths.sort();
    let mut told = Told::default();
    for path in paths {
        let Told { events, damaged } = Reader::new(path).news()?;
        told.events.extend(events);
        told.damaged.extend(damaged);
    }
    Ok(told)
}

/// A journal that is read while it grows.
pub(super) struct Reader {
    pub path: PathBuf,
    /// Bytes and lines that were read.
    bytes: u64,
    lines: usize,
}

impl Reader {
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            bytes: 0,
            lines: 0,
        }
    }

    /// What it has got since the last time; nothing if there is no such file yet.
    ///
    /// # Errors
    /// As [`read_folder`].
    pub fn news(&mut self) -> Result<Told, JournalError> {
        let failed = |reason| JournalError::Read {
            path: self.path.clone(),
            reason,
        };
        let mut told = Told::default();
        let mut text = Vec::new();
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(told),
            file => {
                let mut file = file.map_err(failed)?;
                file.seek(SeekFrom::Start(self.bytes)).map_err(failed)?;
                file.read_to_end(&mut text).map_err(failed)?;
            }
        }
        // What follows the last line break is a line that is not whole yet, was cut off, or
        // nothing.
        let mut lines = text.split_inclusive(|&byte| byte == b'\n').peekable();
        while let Some(line) = lines.next_if(|line| line.ends_with(b"\n")) {
            self.bytes += line.len() as u64;
            self.lines += 1;
            let parsed = match self.lines {
                1 => serde_json::from_slice::<Head>(line).map(|_| None),
                _ => serde_json::from_slice(line).map(Some),
            };
            let is_last = lines.peek().is_none_or(|next| !next.ends_with(b"\n"));
            match parsed {
                Ok(event) => told.events.extend(event),
                // A crash of the machine can leave rubbish there.
                Err(_) if is_last => {}
                Err(reason) => told.damaged.push(format!(
                    "`{}` line {} is no event of a campaign ({reason}); its job is done again",
                    self.path.display(),
                    self.lines
                )),
            }
        }
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::Verdict;

    fn event(job: &str) -> Event {
        Event::Ended {
            job: job.to_owned(),
            round: 0,
            visit: Visit {
                verdict: Verdict::Right,
                problems: 4,
                elements: 2400,
                code: None,
            },
        }
    }

    #[test]
    fn a_journal_that_is_cut_anywhere_keeps_the_events_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        let events: Vec<Event> = ["a", "b", "c"].map(event).into();
        for event in &events {
            journal.append(event).unwrap();
        }
        drop(journal);
        let whole = fs::read(&path).unwrap();
        assert_eq!(read_folder(folder.path()).unwrap().events, events);
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let Told {
                events: read,
                damaged,
            } = read_folder(folder.path()).unwrap();
            assert!(damaged.is_empty());
            let breaks = whole[..length].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(read, events[..breaks.saturating_sub(1)], "{length} bytes");
        }
        // A line in the middle that is none is told, and the others count.
        let text = String::from_utf8(whole).unwrap();
        fs::write(&path, text.replacen("ended", "endet", 1)).unwrap();
        let told = read_folder(folder.path()).unwrap();
        assert_eq!(told.events, events[1..]);
        let [damaged] = &told.damaged[..] else {
            panic!("{:?}", told.damaged);
        };
        assert!(damaged.contains("a.jsonl` line 2"), "{damaged}");
        let absent = read_folder(&folder.path().join("absent")).unwrap();
        assert!(absent.events.is_empty());
    }
}
