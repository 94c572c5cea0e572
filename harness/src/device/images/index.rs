//! `index.json`: which module holds the machine code of which PTX text.

use super::{ImagesError, TextHash};
use crate::assemble::Target;
use crate::record::Environment;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The kind that an index names.
pub const KIND: &str = "mxlab-images";
/// Version of the schema; a change that breaks readers raises it.
pub const SCHEMA_VERSION: u32 = 1;
/// The name of the index in its folder.
pub const INDEX: &str = "index.json";
/// How the names of modules end: LZMA as `xz --format=lzma` writes it.
pub const MODULE_SUFFIX: &str = ".cubin.lzma";

/// The index of a folder of images.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`KIND`].
    pub kind: String,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The chip that the images are for.
    #[serde(with = "as_text")]
    pub chip: Target,
    /// The version of ptxas, such as `V13.0.88`.
    pub ptxas: String,
    /// The CUDA version of ptxas, as 13000 for 13.0: the oldest driver that takes the images.
    pub cuda: u32,
    /// When, by which build and by which command it was begun.
    pub environment: Environment,
    /// Whether the folder has every requested kernel.
    pub is_complete: bool,
    /// The modules.
    pub modules: Vec<Module>,
}

/// A file with the machine code of some kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name in the folder.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// SHA-256 of them, hexadecimal.
    pub sha256: String,
    /// Bytes of the ELF image, once unpacked.
    pub image_bytes: u64,
    /// What it was assembled for.
    #[serde(with = "as_text")]
    pub arch: Target,
    /// The PTX texts of its kernels. The text names the entry.
    pub kernels: Vec<TextHash>,
}

/// The fields that identify the JSON file.
#[derive(Deserialize)]
struct Head {
    kind: String,
    schema_version: u32,
}

impl Index {
    /// Reads the index of a folder, without checking the files that it names.
    ///
    /// # Errors
    /// If there is no index, or the file is something else.
    pub fn read(folder: &Path) -> Result<Self, ImagesError> {
        let path = folder.join(INDEX);
        let text = std::fs::read(&path).map_err(|reason| ImagesError::NoIndex {
            folder: folder.to_owned(),
            reason: reason.to_string(),
        })?;
        let not_an_index = |reason: String| ImagesError::NotAnIndex {
            path: path.clone(),
            reason,
        };
        let head: Head =
            serde_json::from_slice(&text).map_err(|error| not_an_index(error.to_string()))?;
        if (head.kind.as_str(), head.schema_version) != (KIND, SCHEMA_VERSION) {
            let name = |kind: &str, version| format!("`{kind}` of version {version}");
            return Err(ImagesError::Foreign {
                path,
                found: name(&head.kind, head.schema_version),
                expected: name(KIND, SCHEMA_VERSION),
            });
        }
        let index: Self =
            serde_json::from_slice(&text).map_err(|error| not_an_index(error.to_string()))?;
        for module in &index.modules {
            // A name with a path in it would leave the folder.
            let is_digest = |name: &str| name.len() == 64 && name.bytes().all(is_hexadecimal);
            if !module
                .file
                .strip_suffix(MODULE_SUFFIX)
                .is_some_and(is_digest)
            {
                let file = &module.file;
                return Err(not_an_index(format!(
                    "`{file}` is not the name of an image"
                )));
            }
            if !module.arch.runs_on(index.chip.sm()) {
                return Err(ImagesError::OtherChip {
                    path: folder.join(&module.file),
                    found: module.arch,
                    expected: index.chip,
                });
            }
        }
        Ok(index)
    }
}

const fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A target by its name.
mod as_text {
    use crate::assemble::Target;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(target: &Target, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(target)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Target, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
