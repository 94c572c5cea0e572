//! The weights of a model directory as one table of tensors, from one safetensors file or from
//! shards with an index.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::fields::{Fields, parse_object};
use super::file::{MAX_INDEX_BYTES, read_if_present};
use super::folder::Folder;
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
    /// Whether each tensor of each file has been found by a name.
    found: Vec<Vec<AtomicBool>>,
    /// The shards where the index places tensors that no shard has.
    absent: BTreeMap<String, String>,
    /// Whether names and row order are llama.cpp's.
    is_gguf: bool,
}

impl Weights {
    /// Opens `model.safetensors`, or else the index and its shards, in transformers' order of
    /// preference; without both, what else the folder has.
    pub(super) fn open(folder: &Folder) -> Result<Self, CheckpointError> {
        let dir = folder.path();
        let single = dir.join(SINGLE_FILE);
        if let Some(file) = WeightFile::open(&single)? {
            return Self::collect(single, vec![file]);
        }
        let index = dir.join(INDEX_FILE);
        let Some(json) = read_if_present(&index, MAX_INDEX_BYTES)? else {
            let open = |name| {
                let path = dir.join(name);
                let gone = || folder.no_weights();
                WeightFile::open(&path)?.ok_or_else(gone)
            };
            let files: Vec<_> = folder
                .unlisted_weights()?
                .into_iter()
                .map(open)
                .collect::<Result<_, _>>()?;
            let listing = match files.as_slice() {
                [one] => one.path().to_owned(),
                _ => dir.to_owned(),
            };
            return Self::collect(listing, files);
        };
        let weight_map = parse_index(&json, &index)?;
        let mut shards: BTreeMap<&str, Option<WeightFile>> = weight_map
            .values()
            .map(|shard| (shard.as_str(), None))
            .collect();
        let (mut missing, all) = (Vec::new(), shards.len());
        for (shard, file) in &mut shards {
            *file = WeightFile::open(&dir.join(shard))?;
            if file.is_none() {
                missing.push((*shard).to_owned());
            }
        }
        if !missing.is_empty() {
            return Err(CheckpointError::MissingShards {
                index,
                missing,
                all,
            });
        }
        let mut weights = Self::collect(index, shards.into_values().flatten().collect())?;
        // An index may name tensors that the model does not need, such as a tied head.
        weights.absent = weight_map;
        let Self { absent, places, .. } = &mut weights;
        absent.retain(|tensor, _| !places.contains_key(tensor));
        Ok(weights)
    }

    /// The files of a GGUF model.
    pub(super) fn from_gguf(files: Vec<WeightFile>) -> Result<Self, CheckpointError> {
        let mut weights = Self::collect(files[0].path().to_owned(), files)?;
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
        // Files of safetensors' `save_model` name the tensor that stands for another one.
        for (file, weight_file) in files.iter().enumerate() {
            for (other, name) in weight_file.all_metadata() {
                let place = places.get(name).filter(|place| place.file == file);
                if let (Some(&place), false) = (place, places.contains_key(other)) {
                    places.insert(other.to_owned(), place);
                }
            }
        }
        let found = files
            .iter()
            .map(|file| file.tensors().iter().map(|_| AtomicBool::new(false)));
        Ok(Self {
            listing,
            found: found.map(Iterator::collect).collect(),
            files: files.into_iter().map(Arc::new).collect(),
            places,
            absent: BTreeMap::new(),
            is_gguf: false,
        })
    }

    /// Lets the tensor `name` also be found as `other`, unless there is one of that name.
    pub(super) fn name_also(&mut self, name: &str, other: &str) {
        if let (Some(&place), false) = (self.places.get(name), self.places.contains_key(other)) {
            self.places.insert(other.to_owned(), place);
        }
    }

    /// Lets the tensors whose names begin with `from` also be found with `to` in its place.
    pub(super) fn name_also_with(&mut self, from: &str, to: &str) {
        let names = self.places.keys().filter(|name| name.starts_with(from));
        let names: Vec<String> = names.cloned().collect();
        for name in names {
            self.name_also(&name, &format!("{to}{}", &name[from.len()..]));
        }
    }

    /// The tensors that were never found by a name, in the order of files.
    pub(super) fn never_found(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().zip(&self.found);
        files.flat_map(|(file, found)| {
            let tensors = file.tensors().iter().zip(found);
            let never = tensors.filter(|(_, found)| !found.load(Ordering::Relaxed));
            never.map(|((name, ..), _)| name.as_str())
        })
    }

    /// Whether the weights come from a GGUF file.
    pub(super) const fn is_gguf(&self) -> bool {
        self.is_gguf
    }

    /// The file with the tensor, and its index in [`WeightFile::tensors`].
    pub(super) fn find(&self, name: &str) -> Option<(&Arc<WeightFile>, usize)> {
        let place = self.places.get(name)?;
        self.found[place.file][place.tensor].store(true, Ordering::Relaxed);
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
        self.place(name).ok_or_else(|| match self.absent.get(name) {
            Some(shard) => CheckpointError::NotInShard {
                index: self.listing.clone(),
                tensor: name.to_owned(),
                shard: shard.clone(),
            },
            None => CheckpointError::MissingTensor {
                file: self.listing.clone(),
                tensor: name.to_owned(),
                expected: shape.to_owned(),
                instead: self.alike(name),
            },
        })
    }

    /// A stored name that ends like `name`, or any.
    fn alike(&self, name: &str) -> Option<String> {
        let names = || {
            let tensors = self.files.iter().flat_map(|file| file.tensors());
            tensors.map(|(name, ..)| name.as_str())
        };
        let parts: Vec<&str> = name.split('.').collect();
        let mut ends = (1..parts.len()).map(|first| format!(".{}", parts[first..].join(".")));
        let ending = |end: String| {
            names().find(|stored| format!(".{stored}").ends_with(&end) && *stored != name)
        };
        ends.find_map(ending)
            .or_else(|| names().next())
            .map(str::to_owned)
    }

    /// Whether two tensors have the same type, shape and elements; of large ones, some pages are
    /// compared.
    pub(super) fn are_equal(&self, one: &str, other: &str) -> bool {
        const PAGE: usize = 4096;
        const PAGES: usize = 1024;
        let tensor = |name: &str| {
            let place = self.places.get(name)?;
            let file = &self.files[place.file];
            let (_, info, range) = &file.tensors()[place.tensor];
            Some((info.dtype, &info.shape, &file.bytes()[range.clone()]))
        };
        let (Some(one), Some(other)) = (tensor(one), tensor(other)) else {
            return false;
        };
        let pages = one.2.chunks(PAGE).zip(other.2.chunks(PAGE));
        let step = pages.len().div_ceil(PAGES).max(1);
        (one.0, one.1) == (other.0, other.1) && pages.step_by(step).all(|(a, b)| a == b)
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
