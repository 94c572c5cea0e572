//! The special tokens of `config.json` and `generation_config.json`.

use std::path::Path;

use serde_json::Value;

use super::{Fields, parse_object};
use crate::checkpoint::CheckpointError;
use crate::description::ModelConfig;

impl ModelConfig {
    /// Adds the end tokens of a `generation_config.json`; `file` is for messages.
    ///
    /// # Errors
    /// `Json` and `Field`.
    pub(in crate::checkpoint) fn add_end_tokens(
        &mut self,
        json: &[u8],
        file: &Path,
    ) -> Result<(), CheckpointError> {
        let object = parse_object(json, file)?;
        for id in eos(Fields::new(file, &object), None, self.vocab_size)? {
            if !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
        Ok(())
    }
}

/// A token id. Outside the vocabulary there is none: transformers writes -1, and models whose
/// vocabulary was cut keep ids that no text has.
fn token_id(value: &Value, vocab_size: usize) -> Option<Option<u32>> {
    let id = value.as_i64()?;
    let id = u32::try_from(id).ok();
    Some(id.filter(|&id| (id as usize) < vocab_size))
}

/// Null means none; an absent key has the `default`.
pub(super) fn bos(
    fields: Fields,
    default: Option<u32>,
    vocab_size: usize,
) -> Result<Option<u32>, CheckpointError> {
    match fields.get("bos_token_id") {
        Some(value) => token_id(value, vocab_size)
            .ok_or_else(|| fields.error("bos_token_id", "a token id, or null")),
        None if fields.has_key("bos_token_id") => Ok(None),
        None => Ok(default.filter(|&id| vocab_size > id as usize)),
    }
}

/// Null means none; an absent key has the `default`.
pub(super) fn eos(
    fields: Fields,
    default: Option<u32>,
    vocab_size: usize,
) -> Result<Vec<u32>, CheckpointError> {
    let name = "eos_token_id";
    let values = match fields.get(name) {
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
        None if fields.has_key(name) => &[],
        None => {
            let default = default.filter(|&id| vocab_size > id as usize);
            return Ok(default.into_iter().collect());
        }
    };
    let ids = values.iter().map(|value| token_id(value, vocab_size));
    let ids: Option<Vec<Option<u32>>> = ids.collect();
    let ids = ids.ok_or_else(|| fields.error(name, "a token id, a list of such, or null"))?;
    Ok(ids.into_iter().flatten().collect())
}
