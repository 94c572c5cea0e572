//! What records say about a checkpoint, and what it takes in memory.

use serde::{Deserialize, Serialize};

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
