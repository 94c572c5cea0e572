//! What the new directory takes over from the source: the model's configuration without its
//! quantisation, the tokenizer, and the files beside them that stay valid.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::directory::NewDirectory;
use crate::checkpoint::Checkpoint;
use crate::cli::model::model_directory;

/// Files that do not depend on how weights are stored. A README describes another model.
const FILES: [&str; 15] = [
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "Notice.txt",
    "USE_POLICY.md",
];

/// The fields of config.json that describe how weights are stored.
const QUANTISATION: [&str; 2] = ["quantization_config", "compression_config"];

/// The model's config without its quantisation, and with the type of the model's arithmetic.
///
/// # Errors
/// A config that is no JSON.
pub fn settings(checkpoint: &Checkpoint) -> Result<Map<String, Value>> {
    let settings = serde_json::from_slice(checkpoint.config_json());
    let mut settings: Map<String, Value> =
        settings.with_context(|| format!("config.json of {}", checkpoint.label()))?;
    settings.retain(|name, _| !QUANTISATION.contains(&name.as_str()));
    let is_said = |name: &str| settings.get(name).is_some_and(|value| !value.is_null());
    if !is_said("dtype") && !is_said("torch_dtype") {
        let dtype = checkpoint.config().dtype.name();
        settings.insert("torch_dtype".to_owned(), json!(dtype));
    }
    Ok(settings)
}

/// Writes the tokenizer and copies the other files of the model `name`.
///
/// # Errors
/// A file that cannot be read, downloaded or written.
pub fn copy(name: &str, checkpoint: &Checkpoint, directory: &NewDirectory) -> Result<()> {
    directory.write("tokenizer.json", checkpoint.tokenizer_json())?;
    if let Some(json) = checkpoint.tokenizer_config_json() {
        directory.write("tokenizer_config.json", json)?;
    }
    let Some(source) = model_directory(name, &FILES)? else {
        return Ok(());
    };
    for file in FILES {
        let path = source.join(file);
        if path.is_file() {
            let content = fs::read(&path).with_context(|| format!("`{}`", path.display()))?;
            directory.write(file, &content)?;
        }
    }
    Ok(())
}
