//! A repository of the hub: its files in the cache, and their download.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::super::file::{MAX_INDEX_BYTES, io_error, read_required};
use super::super::weights::{INDEX_FILE, SINGLE_FILE, parse_index};
use super::super::{
    CHAT_TEMPLATE_FILE, CONFIG_FILE, CheckpointError, GENERATION_FILE, MODELOPT_FILE,
    SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE,
};
use super::{HubError, HubOptions};

const DEFAULT_REVISION: &str = "main";

/// One revision of one repository, in the cache and on the hub.
pub(super) struct Repository<'a> {
    options: &'a HubOptions,
    /// As the user wrote it.
    name: &'a str,
    revision: &'a str,
    repo: Repo,
    cache: Cache,
}

impl<'a> Repository<'a> {
    pub(super) fn new(
        options: &'a HubOptions,
        name: &'a str,
        repo_type: RepoType,
    ) -> Result<Self, CheckpointError> {
        let (id, revision) = name.split_once('@').unwrap_or((name, DEFAULT_REVISION));
        if !is_repository_name(id) || !is_repository_path(revision) {
            let name = name.to_owned();
            return Err(HubError::Name { name }.into());
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

    /// The directory with all files of the model; missing files are downloaded.
    pub(super) fn model_directory(&self) -> Result<PathBuf, CheckpointError> {
        match self.model_files(false) {
            Err(CheckpointError::Hub(HubError::Offline { .. })) if !self.options.offline => {
                self.model_files(true)
            }
            outcome => outcome,
        }
    }

    fn model_files(&self, network: bool) -> Result<PathBuf, CheckpointError> {
        let config = self.file(CONFIG_FILE, network)?;
        let snapshot = config.parent().unwrap_or(Path::new("")).to_owned();
        // All files must be of one commit; otherwise config and weights may not match.
        let of_snapshot = |file: &str, path: PathBuf| {
            if path == snapshot.join(file) {
                Ok(path)
            } else {
                Err(CheckpointError::from(HubError::Moved {
                    repo: self.name.to_owned(),
                    file: file.to_owned(),
                }))
            }
        };
        let required = |file: &str| of_snapshot(file, self.file(file, network)?);
        let optional = |file: &str| match self.file(file, network) {
            Ok(path) => of_snapshot(file, path).map(Some),
            Err(CheckpointError::Hub(HubError::NotFound { .. })) => Ok(None),
            Err(CheckpointError::Hub(HubError::Offline { .. })) if !network => Ok(None),
            Err(error) => Err(error),
        };

        // Optional files precede the last required one, so once all required files exist the
        // network is not used again.
        for file in [
            TOKENIZER_CONFIG_FILE,
            SPECIAL_TOKENS_FILE,
            GENERATION_FILE,
            CHAT_TEMPLATE_FILE,
            MODELOPT_FILE,
        ] {
            optional(file)?;
        }
        required(TOKENIZER_FILE)?;
        if optional(SINGLE_FILE)?.is_some() {
            return Ok(snapshot);
        }
        let Some(index) = optional(INDEX_FILE)? else {
            return Err(if network {
                CheckpointError::from(HubError::NoWeights {
                    repo: self.name.to_owned(),
                    endpoint: self.options.endpoint.clone(),
                })
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

    /// Downloads those of `files` that the repository has, of the commit of the snapshot
    /// `directory`.
    pub(super) fn download_beside(
        &self,
        directory: &Path,
        files: &[&str],
    ) -> Result<(), CheckpointError> {
        for file in files {
            match self.file(file, true) {
                Ok(path) if path == directory.join(file) => {}
                Ok(_) => {
                    return Err(CheckpointError::from(HubError::Moved {
                        repo: self.name.to_owned(),
                        file: (*file).to_owned(),
                    }));
                }
                Err(CheckpointError::Hub(HubError::NotFound { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One file, from the cache or else from the network.
    pub(super) fn file(&self, file: &str, network: bool) -> Result<PathBuf, CheckpointError> {
        if !is_repository_path(file) {
            return Err(HubError::File {
                repo: self.name.to_owned(),
                file: file.to_owned(),
            }
            .into());
        }
        match self.cached(file) {
            Some(path) => Ok(path),
            None if network => self.download(file),
            None => Err(self.not_cached(file)),
        }
    }

    fn cached(&self, file: &str) -> Option<PathBuf> {
        let cache = self.cache.repo(self.repo.clone());
        // Python's huggingface_hub writes no ref for a revision that is a commit.
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
        .into()
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
            // It would otherwise count as cached.
            for part in [&path, &blob] {
                fs::remove_file(part).map_err(|error| io_error(part, error))?;
            }
            return Err(HubError::Truncated {
                repo: self.name.to_owned(),
                file: file.to_owned(),
                received,
                announced,
            }
            .into());
        }
        Ok(path)
    }

    /// The length that the hub announces for a file. Also checks that the names under which
    /// `hf-hub` will write stay inside the cache, and that the rest of an earlier download can be
    /// resumed.
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
        match http_status(&error) {
            Some(status @ (401 | 403)) => HubError::Denied {
                repo,
                file: file.to_owned(),
                status,
                token_sent: self.options.token.is_some(),
            }
            .into(),
            Some(404) => HubError::NotFound {
                repo,
                file: file.to_owned(),
                endpoint: self.options.endpoint.clone(),
            }
            .into(),
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
        .into()
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

/// Whether `name` is a valid `org/name`.
pub(super) fn is_repository_name(name: &str) -> bool {
    name.split('/').count() == 2 && is_repository_path(name) && !name.starts_with('.')
}

/// Whether `path` is relative, stays below its root, and needs no escaping in a URL.
fn is_repository_path(path: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    path.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && part.chars().all(allowed))
}
