//! Errors of the hub.

use std::path::PathBuf;

use thiserror::Error;

/// Why the hub does not provide a model or a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// An invalid name of a repository.
    #[error(
        "`{name}`: not a hub name; expected org/name or org/name@revision of letters, digits, `-`, \
         `_` and `.`"
    )]
    Name {
        /// The name as given.
        name: String,
    },
    /// An invalid path of a repository's file.
    #[error(
        "{repo}: `{file}` is not a file of a repository; expected a relative path of letters, \
         digits, `-`, `_`, `.` and `/`"
    )]
    File {
        /// The repository.
        repo: String,
        /// The path as given.
        file: String,
    },
    /// No directory for downloads.
    #[error("no cache directory for downloads: neither HF_HOME nor HOME is set")]
    NoCache,
    /// Offline, and the cache lacks a file.
    #[error(
        "{repo}: `{file}` is not in the cache {} and HF_HUB_OFFLINE forbids downloading it",
        cache.display()
    )]
    Offline {
        /// The repository.
        repo: String,
        /// The first file that is missing.
        file: String,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// 401 or 403: the repository requires access rights.
    #[error(
        "{repo}: access to `{file}` denied ({status}): the repository is private, gated or does \
         not exist; {}",
        match *token_sent {
            true => "the token that was sent (HF_TOKEN) does not grant access",
            false => "set HF_TOKEN to a token with access",
        }
    )]
    Denied {
        /// The repository.
        repo: String,
        /// The file asked for.
        file: String,
        /// HTTP status.
        status: u16,
        /// Whether a token was sent.
        token_sent: bool,
    },
    /// 404: no such repository, revision or file.
    #[error(
        "{repo}: `{file}` not found at {endpoint} (404): no such repository, revision or file, and \
         no local directory of that name{}",
        match file.as_str() {
            "config.json" => "; of a repository of GGUF files, download one and give its path",
            _ => "",
        }
    )]
    NotFound {
        /// The repository.
        repo: String,
        /// The file asked for.
        file: String,
        /// The hub's address.
        endpoint: String,
    },
    /// A repository without weights in a supported format.
    #[error(
        "{repo}: neither model.safetensors nor model.safetensors.index.json at {endpoint}; convert \
         other weights with transformers' save_pretrained, or give the path of a GGUF file"
    )]
    NoWeights {
        /// The repository.
        repo: String,
        /// The hub's address.
        endpoint: String,
    },
    /// Any other failure of a download.
    #[error("{repo}: downloading `{file}` from {endpoint} failed: {reason}")]
    Download {
        /// The repository.
        repo: String,
        /// The file asked for.
        file: String,
        /// The hub's address.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// A download whose length differs from the announced one.
    #[error(
        "{repo}: download of `{file}` has {received} bytes, the hub announced {announced}; try \
         again"
    )]
    Truncated {
        /// The repository.
        repo: String,
        /// The file asked for.
        file: String,
        /// Length of the download.
        received: u64,
        /// Length that the hub announced.
        announced: u64,
    },
    /// The branch moved between two files of one download.
    #[error(
        "{repo}: revision changed while downloading (`{file}` belongs to another commit); try again"
    )]
    Moved {
        /// The repository.
        repo: String,
        /// The file from another commit.
        file: String,
    },
}
