//! The folder of a campaign: whose journals it holds, and that one supervisor at a time works
//! there.

use mxlab_harness::record::{AppendLog, LogError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What makes a campaign the one that it is: the jobs, the seed, the program, by name.
pub type Identity = BTreeMap<String, String>;

/// A folder that belongs to this campaign, and to this process as long as it is open.
pub struct Folder {
    path: PathBuf,
    /// Whether a campaign was begun here before.
    is_resumed: bool,
    _lock: AppendLog,
}

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be written, or is in use.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It is of another campaign.
    #[error(
        "`{}` holds a campaign that was not finished, with another {name} ({found}, not \
         {expected}); finish it with its own command, or delete the folder",
        path.display()
    )]
    Other {
        /// The folder.
        path: PathBuf,
        /// What differs.
        name: String,
        /// As it is there.
        found: String,
        /// As it is here.
        expected: String,
    },
    /// It holds something else.
    #[error(
        "`{}` is there and has no head of a campaign in `campaign.json`; delete it, or choose \
         another name",
        path.display()
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be removed.
    #[error("cannot remove `{}`: {reason}", path.display())]
    Remove {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

impl Folder {
    /// Opens the folder of a campaign, or begins one there.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path, identity: &Identity) -> Result<Self, FolderError> {
        // No journal: its name ends otherwise.
        let file = path.join("campaign.json");
        let path = path.to_owned();
        let resumed = match AppendLog::resume::<Identity, ()>(&file) {
            Err(LogError::Damaged { .. }) => return Err(FolderError::Foreign { path }),
            resumed => resumed?,
        };
        let Some(resumed) = resumed else {
            // What is there without a head is of nobody knows what.
            let has = |entry: fs::DirEntry| entry.file_name() != "campaign.json";
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            if entries.into_iter().any(has) {
                return Err(FolderError::Foreign { path });
            }
            return Ok(Self {
                path,
                is_resumed: false,
                _lock: AppendLog::create(&file, identity)?,
            });
        };
        let mut names: Vec<&String> = identity.keys().chain(resumed.header.keys()).collect();
        names.sort();
        let of = |identity: &Identity, name: &String| {
            let value = identity.get(name).cloned();
            value.unwrap_or_else(|| "none".to_owned())
        };
        for name in names {
            let (found, expected) = (of(&resumed.header, name), of(identity, name));
            if found != expected {
                return Err(FolderError::Other {
                    path,
                    name: name.clone(),
                    found,
                    expected,
                });
            }
        }
        Ok(Self {
            path,
            is_resumed: true,
            _lock: resumed.log,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a campaign was begun here before.
    pub const fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Removes what campaigns write there, and the folder if nothing else is in it: what it held is
    /// recorded elsewhere.
    ///
    /// # Errors
    /// [`FolderError::Remove`].
    pub fn remove(self) -> Result<(), FolderError> {
        let path = self.path;
        let remove = || -> io::Result<()> {
            let mut is_empty = true;
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let own = ["campaign.json", "order.json", "worker-", "supervisor-"];
                match own.iter().any(|own| name.starts_with(own)) {
                    true => fs::remove_file(entry.path())?,
                    false => is_empty = false,
                }
            }
            match is_empty {
                true => fs::remove_dir(&path),
                false => Ok(()),
            }
        };
        remove().map_err(|reason| FolderError::Remove {
            path: path.clone(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_campaign_and_one_process() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("journal");
        let identity = |seed: &str| Identity::from([("seed".to_owned(), seed.to_owned())]);
        let folder = Folder::open(&path, &identity("3")).unwrap();
        assert!(!folder.is_resumed());
        let busy = Folder::open(&path, &identity("3")).err().unwrap();
        assert!(busy.to_string().contains("another run"), "{busy}");
        drop(folder);
        let other = Folder::open(&path, &identity("4")).err().unwrap();
        let text = other.to_string();
        assert!(text.contains("another seed (3, not 4)"), "{text}");
        let folder = Folder::open(&path, &identity("3")).unwrap();
        assert!(folder.is_resumed());
        folder.remove().unwrap();
        assert!(!path.exists());
        // What is somebody else's is neither taken nor removed.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("notes.txt"), "precious").unwrap();
        let foreign = Folder::open(&path, &identity("3")).err().unwrap();
        assert!(
            foreign.to_string().contains("no head of a campaign"),
            "{foreign}"
        );
        fs::remove_file(path.join("notes.txt")).unwrap();
        let folder = Folder::open(&path, &identity("3")).unwrap();
        fs::write(path.join("notes.txt"), "precious").unwrap();
        folder.remove().unwrap();
        let left: Vec<_> = fs::read_dir(&path).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
