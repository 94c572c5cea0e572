//! From a name to a model directory: a local path, or a repository on the Hugging Face hub
//! (`org/name`, `org/name@revision`), downloaded once into the cache that Hugging Face's
//! own libraries use.
//!
//! What is completely in the cache is used without asking the network. The rest is
//! downloaded by the `hf-hub` crate; its result is checked for length here, as the crate
//! takes whatever came.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::file::{MAX_INDEX_BYTES, io_error, read_required};
use super::weights::{INDEX_FILE, SINGLE_FILE, parse_index};
use super::{CONFIG_FILE, CheckpointError, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const DEFAULT_REVISION: &str = "main";
const DEFAULT_RETRIES: usize = 3;

/// The model directory of a local path or a hub name, with the options of the environment.
///
/// # Errors
/// As [`HubOptions::resolve`].
pub fn resolve(name_or_path: &str) -> Result<PathBuf, CheckpointError> {
    HubOptions::from_env().resolve(name_or_path)
}

/// A file of a dataset repository on the hub, with the options of the environment.
///
/// # Errors
/// As [`HubOptions::dataset_file`].
pub fn dataset_file(repo: &str, path: &str) -> Result<PathBuf, CheckpointError> {
    HubOptions::from_env().dataset_file(repo, path)
}

/// Where the hub is, where downloads are kept, and who is asking.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Address of the hub (`HF_ENDPOINT`).
    pub endpoint: String,
    /// Directory of the cache (`HF_HUB_CACHE`, else `HF_HOME/hub`, else
    /// `~/.cache/huggingface/hub`); `None` if there is no home either.
    pub cache: Option<PathBuf>,
    /// Access token (`HF_TOKEN`, else the file `HF_HOME/token`).
    pub token: Option<String>,
    /// Use the cache only (`HF_HUB_OFFLINE` = 1, on, yes or true).
    pub offline: bool,
    /// How often a broken download is resumed.
    pub retries: usize,
    /// Show a progress bar on a terminal.
    pub progress: bool,
}

impl HubOptions {
    /// The options that the environment variables say.
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    /// The options that `variable` says, by the names of the environment variables. An
    /// empty value counts as unset.
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

    /// The model directory that `name_or_path` means: the local directory if there is one,
    /// else the hub repository `org/name` or `org/name@revision`.
    ///
    /// # Errors
    /// `NoSuchDirectory` and `NotADirectory` for what can only be a path, and the `Hub`
    /// variants; `Json`, `Field` and `ShardPath` for a broken index in the repository.
    pub fn resolve(&self, name_or_path: &str) -> Result<PathBuf, CheckpointError> {
        let path = PathBuf::from(name_or_path);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => return Ok(path),
            Ok(_) => return Err(CheckpointError::NotADirectory { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&path, error)),
        }
        let repo = name_or_path
            .split_once('@')
            .map_or(name_or_path, |(repo, _)| repo);
        if !is_repository_name(repo) {
            return Err(CheckpointError::NoSuchDirectory { path });
        }
        Repository::new(self, name_or_path, RepoType::Model)?.model_directory()
    }

    /// The local copy of file `path` of the dataset repository `repo` (`org/name` or
    /// `org/name@revision`).
    ///
    /// # Errors
    /// The `Hub` variants.
    pub fn dataset_file(&self, repo: &str, path: &str) -> Result<PathBuf, CheckpointError> {
        let repository = Repository::new(self, repo, RepoType::Dataset)?;
        let network = !self.offline;
        repository.file(path, network)
    }
}

/// One revision of one repository, in the cache and on the hub.
struct Repository<'a> {
    options: &'a HubOptions,
    /// As the user wrote it.
    name: &'a str,
    revision: &'a str,
    repo: Repo,
    cache: Cache,
}

impl<'a> Repository<'a> {
    fn new(
        options: &'a HubOptions,
        name: &'a str,
        repo_type: RepoType,
    ) -> Result<Self, CheckpointError> {
        let (id, revision) = name.split_once('@').unwrap_or((name, DEFAULT_REVISION));
        if !is_repository_name(id) || !is_repository_path(revision) {
            return Err(HubError::Name {
                name: name.to_owned(),
            });
        }
        let cache = options.cache.as_ref().ok_or(HubError::NoCache)?;
        let cache = std::path::absolute(cache).map_err(|error| io_error(cache, error))?;
        Ok(Self {
            options,
            name,
            revision,
            repo: Repo::with_revision(id.to_owned(), repo_type, revision.to_owned()),
            cache: Cache::new(cache),
        })
    }

    /// The directory with all files of the model, downloading what the cache lacks.
    fn model_directory(&self) -> Result<PathBuf, CheckpointError> {
        match self.model_files(false) {
            Err(HubError::Offline { .. }) if !self.options.offline => {
                self.model_files(true)
            }
            outcome => outcome,
        }
    }

    fn model_files(&self, network: bool) -> Result<PathBuf, CheckpointError> {
        let config = self.file(CONFIG_FILE, network)?;
        let snapshot = config.parent().unwrap_or(Path::new("")).to_owned();
        // All files must be of one commit, or config and weights may not fit.
        let of_snapshot = |file: &str, path: PathBuf| {
            if path == snapshot.join(file) {
                Ok(path)
            } else {
                Err(HubError::Moved {
                    repo: self.name.to_owned(),
                    file: file.to_owned(),
                })
            }
        };
        let required = |file: &str| of_snapshot(file, self.file(file, network)?);
        let optional = |file: &str| match self.file(file, network) {
            Ok(path) => of_snapshot(file, path).map(Some),
            Err(HubError::NotFound { .. }) => Ok(None),
            Err(HubError::Offline { .. }) if !network => Ok(None),
            Err(error) => Err(error),
        };

        // The optional file before the last required one: once all of those are there, the
        // network is not asked again.
        optional(TOKENIZER_CONFIG_FILE)?;
        required(TOKENIZER_FILE)?;
        if optional(SINGLE_FILE)?.is_some() {
            return Ok(snapshot);
        }
        let Some(index) = optional(INDEX_FILE)? else {
            return Err(if network {
                HubError::NoWeights {
                    repo: self.name.to_owned(),
                    endpoint: self.options.endpoint.clone(),
                }
            } else {
                self.not_cached(SINGLE_FILE)
            });
        };
        let json = read_required(&index, MAX_INDEX_BYTES, "it lists the shards")?;
        let mut shards: Vec<String> = parse_index(&json, &index)?.into_values().collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            required(&shard)?;
        }
        Ok(snapshot)
    }

    /// One file, from the cache or else the network.
    fn file(&self, file: &str, network: bool) -> Result<PathBuf, CheckpointError> {
        if !is_repository_path(file) {
            return Err(HubError::File {
                repo: self.name.to_owned(),
                file: file.to_owned(),
            });
        }
        match self.cached(file) {
            Some(path) => Ok(path),
            None if network => self.download(file),
            None => Err(self.not_cached(file)),
        }
    }

    fn cached(&self, file: &str) -> Option<PathBuf> {
        let cache = self.cache.repo(self.repo.clone());
        // Python's huggingface_hub leaves no ref for a revision that is a commit.
        let by_commit = cache.pointer_path(self.revision).join(file);
        cache
            .get(file)
            .or_else(|| by_commit.exists().then_some(by_commit))
    }

    fn not_cached(&self, file: &str) -> CheckpointError {
        HubError::Offline {
            repo: self.name.to_owned(),
            file: file.to_owned(),
            cache: self.cache.path().clone(),
        }
    }

    fn download(&self, file: &str) -> Result<PathBuf, CheckpointError> {
        let api = self.api().map_err(|error| self.failure(file, error))?;
        let repo = api.repo(self.repo.clone());
        let announced = self.announced_length(&api, &repo, file)?;
        let path = repo
            .download(file)
            .map_err(|error| self.failure(file, error))?;
        let blob = fs::canonicalize(&path).map_err(|error| io_error(&path, error))?;
        let received = fs::metadata(&blob)
            .map_err(|error| io_error(&blob, error))?
            .len();
        if received != announced {
            // Left there, it would pass for cached.
            for part in [&path, &blob] {
                fs::remove_file(part).map_err(|error| io_error(part, error))?;
            }
            return Err(HubError::Truncated {
                repo: self.name.to_owned(),
                file: file.to_owned(),
                received,
                announced,
            });
        }
        Ok(path)
    }

    /// The length that the hub announces for a file. Also makes sure that the names that
    /// `hf-hub` will write under stay in the cache, and that what is left of an earlier
    /// download can be resumed.
    fn announced_length(
        &self,
        api: &Api,
        repo: &ApiRepo,
        file: &str,
    ) -> Result<u64, CheckpointError> {
        let metadata = api
            .metadata(&repo.url(file))
            .map_err(|error| self.failure(file, error))?;
        if !is_repository_path(metadata.etag()) || !is_repository_path(metadata.commit_hash()) {
            let reason = "the server's etag or commit is not a plain name".to_owned();
            return Err(self.download_error(file, reason));
        }
        let announced = metadata.size() as u64;
        let blob = self
            .cache
            .repo(self.repo.clone())
            .blob_path(metadata.etag());
        let part = blob.with_extension("part");
        if fs::metadata(&part).is_ok_and(|part| part.len() >= announced) {
            fs::remove_file(&part).map_err(|error| io_error(&part, error))?;
        }
        Ok(announced)
    }

    fn api(&self) -> Result<Api, ApiError> {
        ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.options.endpoint.trim_end_matches('/').to_owned())
            .with_token(self.options.token.clone())
            .with_retries(self.options.retries)
            .with_progress(self.options.progress)
            .build()
    }

    fn failure(&self, file: &str, error: ApiError) -> CheckpointError {
        let repo = self.name.to_owned();
        let name = file.to_owned();
        match http_status(&error) {
            Some(status @ (401 | 403)) => HubError::Denied {
                repo,
                file: name,
                status,
                token_sent: self.options.token.is_some(),
            },
            Some(404) => HubError::NotFound {
                repo,
                file: name,
                endpoint: self.options.endpoint.clone(),
            },
            _ => self.download_error(file, error.to_string()),
        }
    }

    fn download_error(&self, file: &str, reason: String) -> CheckpointError {
        HubError::Download {
            repo: self.name.to_owned(),
            file: file.to_owned(),
            endpoint: self.options.endpoint.clone(),
            reason,
        }
    }
}

fn http_status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(request) => match **request {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        ApiError::TooManyRetries(last) => http_status(last),
        _ => None,
    }
}

/// Whether `name` is `org/name` as the hub allows it.
fn is_repository_name(name: &str) -> bool {
    name.split('/').count() == 2 && is_repository_path(name) && !name.starts_with('.')
}

/// Whether `path` is relative, stays below its root, and needs no escaping in a URL.
fn is_repository_path(path: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed))
}
