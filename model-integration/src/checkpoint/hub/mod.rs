//! Finds the model directory of a name: a local path, or a repository on the Hugging Face hub
//! (`org/name`, `org/name@revision`). Downloads go once into the cache that Hugging Face's own
//! libraries use.
//!
//! A model that is complete in the cache needs no network. Missing files are downloaded with the
//! `hf-hub` crate. Their lengths are checked here, because the crate accepts any length.

mod error;
mod repository;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::RepoType;

pub use error::HubError;
use repository::{Repository, is_repository_name};

use super::file::io_error;
use super::{CheckpointError, folder, gguf};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_RETRIES: usize = 3;

/// The model directory of a local path or a hub name, with options from the environment.
///
/// # Errors
/// As [`HubOptions::resolve`].
pub fn resolve(name_or_path: &str) -> Result<PathBuf, CheckpointError> {
    HubOptions::from_env().resolve(name_or_path)
}

/// The local directory or GGUF file of a name; `None` if the name can only be on the hub.
///
/// # Errors
/// `NoSuchDirectory` and `NotADirectory` for names that can only be a path.
pub fn local(name_or_path: &str) -> Result<Option<PathBuf>, CheckpointError> {
    let path = PathBuf::from(name_or_path);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() || gguf::has_gguf_name(&path) => return Ok(Some(path)),
        Ok(_) => return Err(folder::no_directory(&path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(&path, error)),
    }
    let repo = name_or_path
        .split_once('@')
        .map_or(name_or_path, |(repo, _)| repo);
    let is_file = [".gguf", ".safetensors"]
        .iter()
        .any(|ending| repo.ends_with(ending));
    match is_repository_name(repo) && !is_file {
        true => Ok(None),
        false => Err(CheckpointError::NoSuchDirectory { path }),
    }
}

/// Downloads those of `files` that the repository of a hub name has, beside the files in
/// `directory`. Nothing for a local path, and nothing without network.
///
/// # Errors
/// [`HubError`].
pub fn download_beside(
    name_or_path: &str,
    directory: &Path,
    files: &[&str],
) -> Result<(), CheckpointError> {
    let options = HubOptions::from_env();
    if options.offline || local(name_or_path)?.is_some() {
        return Ok(());
    }
    let repository = Repository::new(&options, name_or_path, RepoType::Model)?;
    repository.download_beside(directory, files)
}

/// A file of a dataset repository on the hub, with options from the environment.
///
/// # Errors
/// As [`HubOptions::dataset_file`].
pub fn dataset_file(repo: &str, path: &str) -> Result<PathBuf, CheckpointError> {
    HubOptions::from_env().dataset_file(repo, path)
}

/// Address, cache and credentials of the hub.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Address of the hub (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Directory of the cache (`HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `~/.cache/huggingface/hub`); `None` if there is no home either.
    pub cache: Option<PathBuf>,
    /// Access token (`HF_TOKEN`, else the file `HF_HOME/token`).
    pub token: Option<String>,
    /// Whether to use only the cache (`HF_HUB_OFFLINE` = 1, on, yes or true).
    pub offline: bool,
    /// How often an interrupted download is resumed.
    pub retries: usize,
    /// Whether to show a progress bar on a terminal.
    pub progress: bool,
}

impl HubOptions {
    /// The options from the environment variables.
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// The options from `variable`, which looks up environment variables. An empty value counts as
    /// unset.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| variable(name).map(PathBuf::from);
        let home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface")));
        let token = variable("HF_TOKEN").or_else(|| {
            let file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")))?;
            fs::read_to_string(file).ok()
        });
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            cache: path("HF_HUB_CACHE").or_else(|| home.map(|home| home.join("hub"))),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| {
                ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
            }),
            retries: DEFAULT_RETRIES,
            progress: true,
        }
    }

    /// The model directory of `name_or_path`: the local directory or GGUF file if it exists, else
    /// the hub repository `org/name` or `org/name@revision`.
    ///
    /// # Errors
    /// `NoSuchDirectory` and `NotADirectory` for names that can only be a path; [`HubError`];
    /// `Json`, `Field` and `ShardPath` for a broken index in the repository.
    pub fn resolve(&self, name_or_path: &str) -> Result<PathBuf, CheckpointError> {
        match local(name_or_path)? {
            Some(path) => Ok(path),
            None => Repository::new(self, name_or_path, RepoType::Model)?.model_directory(),
        }
    }

    /// The local copy of file `path` of the dataset repository `repo` (`org/name` or
    /// `org/name@revision`).
    ///
    /// # Errors
    /// [`HubError`].
    pub fn dataset_file(&self, repo: &str, path: &str) -> Result<PathBuf, CheckpointError> {
        let repository = Repository::new(self, repo, RepoType::Dataset)?;
        let network = !self.offline;
        repository.file(path, network)
    }
}
