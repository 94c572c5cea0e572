//! Problems on which a kernel was once wrong, kept as files.

use mxlab_kernels::registry::Problem;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// A kernel and a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// The kernel's id.
    pub kernel: String,
    /// What went wrong.
    pub was: String,
    /// The problem.
    pub problem: Problem,
}

/// Why a regression could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegressionError {
    /// Reading failed.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] mxlab_harness::record::FileError),
    /// The file is not a regression.
    #[error("{}: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: serde_json::Error,
    },
}

impl Regression {
    /// Reads one.
    ///
    /// # Errors
    /// [`RegressionError`] names the file, and the field where it is broken.
    pub fn read(path: &Path) -> Result<Self, RegressionError> {
        let path = path.to_owned();
        match std::fs::read(&path) {
            Err(reason) => Err(RegressionError::Io { path, reason }),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|reason| RegressionError::Json { path, reason }),
        }
    }

    /// Every one in a folder, by name.
    ///
    /// # Errors
    /// As [`Regression::read`].
    pub fn read_all(folder: &Path) -> Result<Vec<(PathBuf, Self)>, RegressionError> {
        let error = |reason| RegressionError::Io {
            path: folder.to_owned(),
            reason,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                paths.push(path);
            }
        }
        paths.sort();
        paths
            .into_iter()
            .map(|path| Ok((path.clone(), Self::read(&path)?)))
            .collect()
    }

    /// Writes it into a folder as `<kernel>.json`, or `<kernel>-2.json` and so on; the path.
    ///
    /// # Errors
    /// [`RegressionError::Io`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf, RegressionError> {
        let error = |reason| RegressionError::Io {
            path: folder.to_owned(),
            reason,
        };
        std::fs::create_dir_all(folder).map_err(error)?;
        let json = serde_json::to_vec(self).map_err(|reason| RegressionError::Json {
            path: folder.to_owned(),
            reason,
        })?;
        let name = |n: u32| match n {
            1 => format!("{}.json", self.kernel),
            _ => format!("{}-{n}.json", self.kernel),
        };
        let mut free = (1..)
            .map(|n| folder.join(name(n)))
            .filter(|path| !path.exists());
        let path = free
            .next()
            .unwrap_or_else(|| folder.join("regression.json"));
        mxlab_harness::record::write_atomic(&path, &json)?;
        Ok(path)
    }
}
