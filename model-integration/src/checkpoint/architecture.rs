//! The architectures whose forward pass is that of a Llama, and what sets their checkpoints apart.

use serde_json::Value;

use super::CheckpointError;
use super::fields::Fields;

/// Whose checkpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// A Llama: a tensor for each projection.
    Llama,
    /// A Phi-3 or Phi-3.5: query, key and value projections are rows of one tensor, gate and up
    /// projections of another; no biases.
    Phi3,
}

impl Architecture {
    const ALL: [Self; 2] = [Self::Llama, Self::Phi3];

    /// `model_type` in a `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Phi3 => "phi3",
        }
    }

    /// Its class in transformers, as `architectures` names it.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Phi3 => "Phi3ForCausalLM",
        }
    }

    /// By `model_type`, or where that is absent by `architectures`, which must not contradict it.
    pub(super) fn parse(fields: Fields) -> Result<Self, CheckpointError> {
        let classes = fields.get("architectures");
        let has_class = |architecture: &Self| {
            classes.and_then(Value::as_array).is_some_and(|classes| {
                let mut classes = classes.iter();
                classes.any(|class| class == architecture.class())
            })
        };
        let mut all = Self::ALL.into_iter();
        let found = match fields.text("model_type")? {
            Some(name) => all.find(|architecture| architecture.model_type() == name),
            None => all.find(has_class),
        };
        let found = found.ok_or_else(|| {
            let expected = "\"llama\" (Llama 1 to 3.3 and models of the same architecture) or \"phi3\" (Phi-3, Phi-3.5)";
            fields.error("model_type", expected)
        })?;
        if classes.is_some() && !has_class(&found) {
            let expected = format!("a list with \"{}\"", found.class());
            return Err(fields.error("architectures", expected));
        }
        Ok(found)
    }

    // What transformers takes where a config does not say.

    pub(super) const fn max_position_embeddings(self) -> usize {
        match self {
            Self::Llama => 2048,
            Self::Phi3 => 4096,
        }
    }

    pub(super) const fn rms_norm_eps(self) -> f64 {
        match self {
            Self::Llama => 1e-6,
            Self::Phi3 => 1e-5,
        }
    }

    pub(super) const fn eos_token_id(self) -> u32 {
        match self {
            Self::Llama => 2,
            Self::Phi3 => 32_000,
        }
    }
}
