//! The weights of a model directory as one table of tensors, from one safetensors file or from
//! shards with an index.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::fields::{Fields, parse_object};
use super::file::{MAX_INDEX_BYTES, read_if_present};
use super::weight_file::WeightFile;
use super::{CheckpointError, synthetic};

/// The weight file of an unsharded model.
pub(super) const SINGLE_FILE: &str = "model.safetensors";
/// Maps tensors to shards.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// The place of a tensor: a file, and an index in [`WeightFile::tensors`].
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    tensor: usize,
}

/// All weight files of a model, and the table of their tensors.
pub(super) struct Weights {
    /// The file that messages about absent tensors name: the single file, or the index.
    listing: PathBuf,
    files: Vec<Arc<WeightFile>>,
    places: HashMap<String, Place>,
    /// Whether names and row order are llama.cpp's.
    is_gguf: bool,
}

impl Weights {
    /// Opens `model.safetensors` or else the index and its shards, in transformers' order of
    /// preference.
    pub(super) fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let single = dir.join(SINGLE_FILE);
        if let Some(file) = WeightFile::open(&single)? {
            return Self::collect(single, vec![file]);
        }
        let index = dir.join(INDEX_FILE);
        let Some(json) = read_if_present(&index, MAX_INDEX_BYTES)? else {
            return Err(CheckpointError::MissingFile {
                file: single,
                purpose: "weights are read from it, or from model.safetensors.index.json and its \
                    shards (other formats are not supported)",
            });
        };
        let weight_map = parse_index(&json, &index)?;
        let mut shards: BTreeMap<&str, Option<WeightFile>> = weight_map
            .values()
            .map(|shard| (shard.as_str(), None))
            .collect();
        for (shard, file) in &mut shards {
            *file = Some(WeightFile::open(&dir.join(shard))?.ok_or_else(|| {
                CheckpointError::MissingShard {
                    index: index.clone(),
                    shard: (*shard).to_owned(),
                }
            })?);
        }
        let weights = Self::collect(index.clone(), shards.into_values().flatten().collect())?;
        for (tensor, shard) in weight_map {
            let in_shard = weights
                .find(&tensor)
                .is_some_and(|(file, _)| file.path() == dir.join(&shard));
            if !in_shard {
                return Err(CheckpointError::NotInShard {
                    index,
                    tensor,
                    shard,
                });
            }
        }
        Ok(weights)
    }

    /// A GGUF file.
    pub(super) fn from_gguf(file: WeightFile) -> Result<Self, CheckpointError> {
        let mut weights = Self::collect(file.path().to_owned(), vec![file])?;
        weights.is_gguf = true;
        Ok(weights)
    }

    /// One file in the binary.
    pub(super) fn from_static(
        path: PathBuf,
        bytes: &'static [u8],
    ) -> Result<Self, CheckpointError> {
        let file = WeightFile::from_static(path.clone(), bytes)?;
        Self::collect(path, vec![file])
    }

    /// Generated weights.
    pub(super) fn made(
        path: PathBuf,
        weights: synthetic::Weights,
    ) -> Result<Self, CheckpointError> {
        let file = WeightFile::made(path.clone(), weights);
        Self::collect(path, vec![file])
    }

    fn collect(listing: PathBuf, files: Vec<WeightFile>) -> Result<Self, CheckpointError> {
        let mut places: HashMap<String, Place> = HashMap::new();
        for (file, weight_file) in files.iter().enumerate() {
            for (tensor, (name, ..)) in weight_file.tensors().iter().enumerate() {
                if let Some(first) = places.insert(name.clone(), Place { file, tensor }) {
                    return Err(CheckpointError::DuplicateTensor {
                        tensor: name.clone(),
                        first: files[first.file].path().to_owned(),
                        second: weight_file.path().to_owned(),
                    });
                }
            }
        }
        Ok(Self {
            listing,
            files: files.into_iter().map(Arc::new).collect(),
            places,
            is_gguf: false,
        })
    }

    /// Whether the weights come from a GGUF file.
    pub(super) const fn is_gguf(&self) -> bool {
        self.is_gguf
    }

    /// The file with the tensor, and its index in [`WeightFile::tensors`].
    pub(super) fn find(&self, name: &str) -> Option<(&Arc<WeightFile>, usize)> {
        let place = self.places.get(name)?;
        Some((&self.files[place.file], place.tensor))
    }

    /// [`Self::find`], with an owned handle of the file.
    pub(super) fn place(&self, name: &str) -> Option<(Arc<WeightFile>, usize)> {
        let (file, tensor) = self.find(name)?;
        Some((Arc::clone(file), tensor))
    }

    /// [`Self::find`] for a required tensor; `shape` is for the message.
    pub(super) fn required(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(Arc<WeightFile>, usize), CheckpointError> {
        self.place(name)
            .ok_or_else(|| CheckpointError::MissingTensor {
                file: self.listing.clone(),
                tensor: name.to_owned(),
                expected: shape.to_owned(),
            })
    }

    /// The file that messages about absent tensors name.
    pub(super) fn listing(&self) -> &Path {
        &self.listing
    }

    pub(super) fn files(&self) -> &[Arc<WeightFile>] {
        &self.files
    }
}

/// The map from tensors to shards in a `model.safetensors.index.json`; `file` is for messages.
/// Shard paths stay inside the model directory.
pub(super) fn parse_index(
    json: &[u8],
    file: &Path,
) -> Result<BTreeMap<String, String>, CheckpointError> {
    let object = parse_object(json, file)?;
    let fields = Fields::new(file, &object);
    let expected = "an object of tensor name -> shard file name";
    let Some(Value::Object(map)) = fields.get("weight_map") else {
        return Err(fields.error("weight_map", expected));
    };
    if map.is_empty() {
        return Err(fields.error("weight_map", "at least one tensor"));
    }
    map.iter()
        .map(|(tensor, shard)| {
            let Some(shard) = shard.as_str() else {
                return Err(fields.error("weight_map", expected));
            };
            let mut components = Path::new(shard).components().peekable();
            let stays_inside = components.peek().is_some()
                && components.all(|component| matches!(component, Component::Normal(_)));
            if !stays_inside || shard.contains(['\\', '\0']) {
                return Err(CheckpointError::ShardPath {
                    index: file.to_owned(),
                    tensor: tensor.clone(),
                    shard: shard.to_owned(),
                });
            }
            Ok((tensor.clone(), shard.to_owned()))
        })
        .collect()
}
