//! What a model directory holds, by the names in it: which weights are read where no standard name
//! is there, and what to say about models of other layouts.

use std::fs;
use std::path::{Path, PathBuf};

use glob::Pattern;
use serde_json::Value;
use thiserror::Error;

use super::file::{MAX_CONFIG_BYTES, io_error, read_if_present};
use super::weights::{INDEX_FILE, SINGLE_FILE};
use super::{CONFIG_FILE, CheckpointError, TOKENIZER_FILE, shortened};

/// A directory that holds no model, or not one in a layout that is read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A model in a layout that is not read.
    #[error("{}: {} there, but {}: {what}; {remedy}", dir.display(), found, missing)]
    Other {
        /// The directory.
        dir: PathBuf,
        /// The files by which the layout is known.
        found: String,
        /// The file that is not there.
        missing: &'static str,
        /// What it is.
        what: &'static str,
        /// What to do.
        remedy: String,
    },
    /// Shards without an index, and some are missing.
    #[error(
        "{}: {have} of {all} shards, and no {INDEX_FILE}; missing: {}; download them again",
        dir.display(), shortened(missing)
    )]
    Shards {
        /// The directory.
        dir: PathBuf,
        /// Number of shards there.
        have: usize,
        /// Number of shards by their names.
        all: usize,
        /// Names of the others.
        missing: Vec<String>,
    },
    /// Several files that could be the weights.
    #[error(
        "{}: which are the weights: {}? Name one {SINGLE_FILE}, or add the shards' {INDEX_FILE}",
        dir.display(), shortened(files)
    )]
    Ambiguous {
        /// The directory.
        dir: PathBuf,
        /// Names of the files.
        files: Vec<String>,
    },
    /// Several GGUF files.
    #[error(
        "{}: GGUF files: {}; give one of them to --model, such as {}",
        dir.display(), shortened(files), dir.join(&files[0]).display()
    )]
    SeveralGguf {
        /// The directory.
        dir: PathBuf,
        /// Names of the files.
        files: Vec<String>,
    },
    /// Models in directories below.
    #[error(
        "{}: no {CONFIG_FILE}, but in: {}; give one of them to --model, such as {}",
        dir.display(), shortened(below), dir.join(&below[0]).display()
    )]
    Below {
        /// The directory.
        dir: PathBuf,
        /// Paths below it.
        below: Vec<String>,
    },
    /// A file of a model instead of its directory.
    #[error("{}: a file of a model; give its directory, {}", file.display(), dir.display())]
    FileOfModel {
        /// The file.
        file: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
}

/// A layout that is not read, known by names of files.
struct Layout {
    files: &'static [&'static str],
    what: &'static str,
    /// What to do; `{dir}` stands for the directory.
    remedy: &'static str,
}

/// Remedy for everything that transformers opens.
const SAVE: &str = "convert them with transformers: python3 -c \"from transformers import \
    AutoModelForCausalLM as M; M.from_pretrained('{dir}').save_pretrained('{dir}')\", which writes \
    safetensors";

/// Layouts of weights; the first that matches is named.
#[rustfmt::skip]
const LAYOUTS: &[Layout] = &[
    Layout { files: &["adapter_config.json", "adapter_model.*"],
        what: "an adapter (LoRA or another one of PEFT) without the model that it belongs to",
        remedy: "merge it into its base model{base} with PEFT: python3 -c \"from peft import \
            AutoPeftModelForCausalLM as M; \
            M.from_pretrained('{dir}').merge_and_unload().save_pretrained('MERGED')\", and give \
            MERGED to --model" },
    Layout { files: &["consolidated.*.pth", "consolidated.pth"],
        what: "the original layout of Llama",
        remedy: "convert it with transformers' convert_llama_weights_to_hf.py, or download the \
            model in the layout of Hugging Face" },
    Layout { files: &["consolidated*.safetensors", "params.json"], what: "the original layout of \
            Mistral or Llama", remedy: "convert it with transformers' \
            convert_mistral_weights_to_hf.py or convert_llama_weights_to_hf.py, or download the \
            model in the layout of Hugging Face" },
    Layout { files: &["pytorch_model*.bin", "pytorch_model*.bin.index.json"],
        what: "weights as pickles of PyTorch", remedy: SAVE },
    Layout { files: &["ggml-*.bin", "ggml*.bin", "*.ggml"], what: "old ggml files, older than GGUF",
        remedy: "download a GGUF file" },
    Layout { files: &["openvino_model.*"], what: "a model of OpenVINO",
        remedy: "download the model it was made from" },
    Layout { files: &["*.distcp", "zero_to_fp32.py", "mp_rank_*", "*_model_states.pt"],
        what: "a checkpoint of distributed training", remedy: "gather it into one model first: \
            torch.distributed.checkpoint.format_utils.dcp_to_torch_save, or DeepSpeed's \
            zero_to_fp32.py; then save it as safetensors" },
    Layout { files: &["rank*.safetensors", "*.engine"], what: "a model of TensorRT-LLM",
        remedy: "download the model it was made from" },
    Layout { files: &["*.nemo"], what: "a model of NeMo",
        remedy: "convert it with NeMo's scripts to the layout of Hugging Face" },
    Layout { files: &["*.bin", "*.pt", "*.pth", "*.ckpt"], what: "weights as pickles of PyTorch",
        remedy: "convert them to safetensors: load them with PyTorch, and save them with \
            safetensors or save_pretrained" },
    Layout { files: &["tf_model*.h5", "*.h5", "saved_model.pb", "*.tflite"],
        what: "a model of TensorFlow", remedy: "convert it with transformers: python3 -c \"from \
            transformers import AutoModelForCausalLM as M; M.from_pretrained('{dir}', \
            from_tf=True).save_pretrained('{dir}')\"" },
    Layout { files: &["flax_model*.msgpack", "*.msgpack"], what: "a model of Flax",
        remedy: "convert it with transformers: python3 -c \"from transformers import \
            AutoModelForCausalLM as M; M.from_pretrained('{dir}', \
            from_flax=True).save_pretrained('{dir}')\"" },
    Layout { files: &["*.onnx", "*.onnx_data"], what: "a model of ONNX",
        remedy: "download the model it was exported from" },
    Layout { files: &["*.npz"], what: "arrays of NumPy, as MLX wrote them",
        remedy: "convert them with a new mlx-lm, or download the model they were made from" },
    Layout { files: &["*.llamafile"], what: "a llamafile", remedy: "unzip the GGUF file in it" },
    Layout { files: &["*.mlpackage", "*.mlmodelc"], what: "a model of Core ML",
        remedy: "download the model it was made from" },
    Layout { files: &["*.incomplete", "*.part", "*.aria2", "*.crdownload", "*.download"],
        what: "an unfinished download", remedy: "finish the download" },
];

/// Tokenizers without a tokenizer.json.
#[rustfmt::skip]
const TOKENIZERS: &[Layout] = &[
    Layout { files: &["*.model", "vocab.json", "merges.txt", "*.tiktoken", "vocab.txt"],
        what: "a tokenizer in another format", remedy: "convert it with transformers: python3 -c \
            \"from transformers import AutoTokenizer as T; \
            T.from_pretrained('{dir}').save_pretrained('{dir}')\", which writes tokenizer.json" },
    Layout { files: &["tekken.json"], what: "a tokenizer of Mistral", remedy: "download the \
            tokenizer.json of the model in the layout of Hugging Face, or convert it with \
            transformers 5" },
];

/// The names in a directory.
pub(super) struct Folder {
    dir: PathBuf,
    /// In order.
    names: Vec<String>,
}

impl Folder {
    /// Lists a directory.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let failed = |error| io_error(dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            names.push(
                entry
                    .map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        names.sort_unstable();
        let dir = dir.to_owned();
        Ok(Self { dir, names })
    }

    pub(super) fn path(&self) -> &Path {
        &self.dir
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// The GGUF file that is the model of this directory, which has no other weights; the first
    /// part of a split one.
    ///
    /// # Errors
    /// `SeveralGguf`.
    pub(super) fn gguf(&self) -> Result<Option<PathBuf>, CheckpointError> {
        if [SINGLE_FILE, INDEX_FILE].iter().any(|name| self.has(name)) {
            return Ok(None);
        }
        let is_later_part =
            |name: &str| shard(name, ".gguf").is_some_and(|(_, number, _)| number > 1);
        let files = self.names.iter().filter(|name| name.ends_with(".gguf"));
        // A projector of images is no model.
        let files = files.filter(|name| !is_later_part(name) && !name.contains("mmproj"));
        let files: Vec<String> = files.cloned().collect();
        match files.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(self.dir.join(one))),
            _ => Err(LayoutError::SeveralGguf {
                dir: self.dir.clone(),
                files,
            }
            .into()),
        }
    }

    /// The error of a directory without a config.json.
    pub(super) fn no_config(&self) -> CheckpointError {
        if let Some(error) = self.other(LAYOUTS, "no config.json") {
            return error.into();
        }
        let below = self.names.iter().flat_map(|name| {
            let at = self.dir.join(name);
            let direct = at.join(CONFIG_FILE).is_file().then(|| name.clone());
            // The hub's cache has a directory for each revision.
            let revisions = (name == "snapshots")
                .then(|| fs::read_dir(&at).ok())
                .flatten();
            let revisions = revisions.into_iter().flatten().flatten();
            let revisions = revisions.filter(|entry| entry.path().join(CONFIG_FILE).is_file());
            let revisions = revisions.map(|entry| entry.file_name().to_string_lossy().into_owned());
            direct
                .into_iter()
                .chain(revisions.map(|revision| format!("snapshots/{revision}")))
        });
        let below: Vec<String> = below.collect();
        if !below.is_empty() {
            return LayoutError::Below {
                dir: self.dir.clone(),
                below,
            }
            .into();
        }
        CheckpointError::MissingFile {
            file: self.dir.join(CONFIG_FILE),
            purpose: "it describes the model",
        }
    }

    /// The error of a directory without a tokenizer.json.
    pub(super) fn no_tokenizer(&self) -> CheckpointError {
        let other = self.other(TOKENIZERS, "no tokenizer.json");
        other.map_or_else(
            || CheckpointError::MissingFile {
                file: self.dir.join(TOKENIZER_FILE),
                purpose: "it turns text into tokens; download it from the model's repository",
            },
            CheckpointError::from,
        )
    }

    /// The weights of a directory without the standard names: a complete set of shards, or the only
    /// safetensors file.
    ///
    /// # Errors
    /// What is there instead, and what to do.
    pub(super) fn unlisted_weights(&self) -> Result<Vec<&str>, CheckpointError> {
        let others = |name: &&str| {
            let is_other = ["adapter_", "consolidated", "rank", "training_", "optimizer"];
            name.ends_with(".safetensors") && !is_other.iter().any(|other| name.starts_with(other))
        };
        let files: Vec<&str> = self
            .names
            .iter()
            .map(String::as_str)
            .filter(others)
            .collect();
        let Some(first) = files.first() else {
            return Err(self.no_weights());
        };
        let dir = self.dir.clone();
        let owned = || files.iter().map(|&name| name.to_owned()).collect();
        let Some((stem, _, all)) = shard(first, ".safetensors") else {
            return match files.len() {
                1 => Ok(files),
                _ => Err(LayoutError::Ambiguous {
                    dir,
                    files: owned(),
                }
                .into()),
            };
        };
        let digits = first.len() - ".safetensors".len() - first.rfind('-').unwrap_or(0) - 1;
        let expected = (1..=all)
            .map(|number| format!("{stem}-{number:0digits$}-of-{all:0digits$}.safetensors"));
        let missing: Vec<String> = expected.filter(|name| !self.has(name)).collect();
        let have = all - missing.len();
        match (missing.is_empty(), have == files.len()) {
            (true, true) => Ok(files),
            (true, false) => Err(LayoutError::Ambiguous {
                dir,
                files: owned(),
            }
            .into()),
            (false, _) => Err(LayoutError::Shards {
                dir,
                have,
                all,
                missing,
            }
            .into()),
        }
    }

    /// The error of a directory without weights that are read.
    pub(super) fn no_weights(&self) -> CheckpointError {
        let other = self.other(LAYOUTS, "no safetensors weights");
        other.map_or_else(
            || CheckpointError::MissingFile {
                file: self.dir.join(SINGLE_FILE),
                purpose: "weights are read from it, or from model.safetensors.index.json and its \
                    shards; download them from the model's repository",
            },
            CheckpointError::from,
        )
    }

    /// The first of some layouts that has files here.
    fn other(&self, layouts: &[Layout], missing: &'static str) -> Option<LayoutError> {
        let matches = |patterns: &[&str]| -> Vec<String> {
            let patterns = patterns
                .iter()
                .filter_map(|pattern| Pattern::new(pattern).ok());
            let patterns: Vec<Pattern> = patterns.collect();
            let names = self.names.iter();
            let names = names.filter(|name| patterns.iter().any(|one| one.matches(name)));
            names.cloned().collect()
        };
        let mut found = layouts.iter().map(|layout| (layout, matches(layout.files)));
        let (layout, files) = found.find(|(_, files)| !files.is_empty())?;
        let base = self
            .adapter_base()
            .map_or_else(String::new, |base| format!(" `{base}`"));
        let remedy = layout.remedy.replace("{dir}", &self.dir.to_string_lossy());
        let verb = if files.len() == 1 { "is" } else { "are" };
        Some(LayoutError::Other {
            dir: self.dir.clone(),
            found: format!("{} {verb}", shortened(&files)),
            missing,
            what: layout.what,
            remedy: remedy.replace("{base}", &base),
        })
    }

    /// The base model that an adapter names.
    fn adapter_base(&self) -> Option<String> {
        let json = read_if_present(&self.dir.join("adapter_config.json"), MAX_CONFIG_BYTES);
        let config: Value = serde_json::from_slice(&json.ok()??).ok()?;
        Some(config["base_model_name_or_path"].as_str()?.to_owned())
    }

    /// What a reader may not expect of this directory, for the table's head.
    pub(super) fn notes(&self) -> Vec<String> {
        let adapter = self
            .has("adapter_config.json")
            .then(|| "the adapter that adapter_config.json describes is not applied".to_owned());
        let has_names = [SINGLE_FILE, INDEX_FILE].iter().any(|name| self.has(name));
        let files = self.unlisted_weights().ok().filter(|_| !has_names);
        let weights = files.map(|files| format!("weights are read from {}", shortened(&files)));
        weights.into_iter().chain(adapter).collect()
    }
}

/// The error of a path that is a file and no GGUF file.
pub(super) fn no_directory(path: &Path) -> CheckpointError {
    let dir = path.parent().filter(|dir| dir.join(CONFIG_FILE).is_file());
    match dir {
        Some(dir) => LayoutError::FileOfModel {
            file: path.to_owned(),
            dir: dir.to_owned(),
        }
        .into(),
        None => CheckpointError::NotADirectory {
            path: path.to_owned(),
        },
    }
}

/// Stem, number and count in a name `STEM-NUMBER-of-COUNT` with an extension.
fn shard<'a>(name: &'a str, extension: &str) -> Option<(&'a str, usize, usize)> {
    const MOST: usize = 10_000;
    let (rest, count) = name.strip_suffix(extension)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (1..=count)
        .contains(&number)
        .then_some((stem, number, count))
        .filter(|_| count <= MOST)
}
