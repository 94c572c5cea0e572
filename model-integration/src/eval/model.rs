//! What an evaluation asks of a model, and the engine that makes models ready for that and for
//! generation. Whoever runs one implements these traits; nothing else
//! of the evaluation knows what a model is made of.

use anyhow::Result;
use mxlab_harness::device::Loads;
use mxlab_harness::measure::EnergyMeter;
use serde::{Deserialize, Serialize};

use crate::config::QuantConfig;
use crate::generate::model::{Generator, Room};
use crate::task::Tokenize;

/// One sequence to score. The model's input is all tokens but the last; scored are the last
/// `targets` tokens, each given all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Context and target; at least two tokens.
    pub tokens: Vec<u32>,
    /// How many of the last tokens are the target; at least one, fewer than `tokens.len()`. None of a prompt that is
    /// to be continued, which is not scored.
    pub targets: usize,
}

/// How likely a target is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Log-likelihood of the whole target in nats; NaN if the logits were.
    pub loglikelihood: f64,
    /// Whether every target token has the greatest logit of its position.
    pub is_greedy: bool,
    /// By how much the logit of a target token falls short of the greatest of its position, at most.
    pub shortfall: f64,
}

/// A model under one configuration, ready to score.
pub trait CausalModel {
    /// Scores a batch; one score for each request, in order. The sequences are of similar length
    /// and the longest comes first.
    ///
    /// # Errors
    /// If the model cannot be run. Logits that are not finite are no error: they are scores that
    /// are not finite.
    fn score(&mut self, batch: &[Request]) -> Result<Vec<Score>>;

    /// Runs one sequence again, alone and slowly.
    ///
    /// # Errors
    /// At the first value that is not finite, naming the part of the model, the position and the
    /// feature; if the model cannot be run.
    fn trace(&mut self, request: &Request) -> Result<()>;
}

/// A checkpoint that can be loaded under any number of configurations.
pub trait Engine {
    /// The checkpoint, for the head of the table and the records.
    fn info(&self) -> &ModelInfo;

    /// Its tokenizer.
    fn tokenizer(&self) -> &dyn Tokenize;

    /// Checks that `config` fits the model, without loading it: layers that exist, formats that
    /// the engine has.
    ///
    /// # Errors
    /// Naming the configuration, the layer and the field.
    fn check(&self, config: &QuantConfig) -> Result<()>;

    /// Quantises the weights and makes the model ready to score.
    ///
    /// # Errors
    /// If it cannot be loaded under this configuration.
    fn load(&self, config: &QuantConfig) -> Result<Box<dyn CausalModel + '_>>;

    /// How many tokens the model knows.
    fn vocabulary(&self) -> usize;

    /// The tokens that end a text.
    fn eos_tokens(&self) -> &[u32];

    /// Quantises the weights and makes the model ready to continue prompts.
    ///
    /// # Errors
    /// As [`Engine::load`], and if there is no such room.
    fn generator(&self, config: &QuantConfig, room: Room) -> Result<Box<dyn Generator + '_>>;

    /// What measures the energy of whatever runs the model; `None` where nothing does.
    fn energy_meter(&self) -> Option<EnergyMeter> {
        None
    }

    /// How many kernels the device has loaded so far, by where their machine code came from; `None`
    /// where no kernels are loaded.
    fn kernel_loads(&self) -> Option<Loads> {
        None
    }

    /// What the model takes in memory under a configuration, from packed sizes.
    ///
    /// # Errors
    /// As [`Engine::check`].
    fn footprint(&self, config: &QuantConfig) -> Result<Footprint>;
}

/// What records say about a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// What runs it: `cpu`, or the name of the device.
    pub device: String,
    /// Directory, hub name, or `embedded`.
    pub name: String,
    /// What identifies its weights, configuration and tokenizer: a hash in hexadecimal.
    pub fingerprint: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Formats in which the checkpoint holds weights that are quantised already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_weights: Option<String>,
    /// Type of the unquantised arithmetic: `float32`, `bfloat16` or `float16`.
    pub dtype: String,
    /// Type in which log-softmax is taken.
    pub softmax_dtype: String,
    /// Tokens that it takes.
    pub max_length: usize,
}

/// Bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// All weights: packed where they are quantised, as stored where not.
    pub weight_bytes: u64,
    /// Keys and values of one token over all layers.
    pub kv_bytes_per_token: u64,
    /// Where operands of 8 bits were asked for: what projections multiply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operands: Option<OperandCounts>,
}

/// Projections by the type of their operands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperandCounts {
    /// Integers of 8 bits.
    pub s8: usize,
    /// E4M3.
    pub e4m3: usize,
    /// bf16.
    pub bf16: usize,
}
