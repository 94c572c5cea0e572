//! The identity of a checkpoint in records, and its size in memory.

use std::fmt;

use mxlab_kernels::format::GgmlFormat;
use serde::{Deserialize, Serialize};

use crate::config::QuantConfig;

/// The identity of a checkpoint in records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The engine: `cpu`, or the name of the device.
    pub device: String,
    /// Directory, hub name, or `embedded`.
    pub name: String,
    /// Hash of weights, configuration and tokenizer, in hexadecimal.
    pub fingerprint: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Whether the weights look drawn and never trained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub random_weights: bool,
    /// Formats of the weights that the checkpoint stores quantised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_weights: Option<String>,
    /// Formats to which the checkpoint quantises inputs of projections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_inputs: Option<String>,
    /// Type of the unquantised arithmetic: `float32`, `bfloat16` or `float16`.
    pub dtype: String,
    /// Type of the log-softmax.
    pub softmax_dtype: String,
    /// Longest sequence, in tokens.
    pub max_length: usize,
    /// Tokens that end a generated text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_tokens: Vec<u32>,
    /// How the checkpoint's files were read, where that is not obvious: a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Bytes in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// All weights: packed if they are quantised, else as stored.
    pub weight_bytes: u64,
    /// Keys and values of one token over all layers.
    pub kv_bytes_per_token: u64,
    /// What else is known of them; `None` in records from before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvFootprint>,
    /// The weights that have a format; `None` if none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<PackedWeights>,
    /// Formats of ggml that matrices have in place of the configuration's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stand_ins: Vec<StandIn>,
    /// Matrices whose products are those of integers,
    /// [`mxlab_kernels::reference::integer_matmul`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub integer_products: usize,
    /// Operand types of the projections, if 8-bit operands were requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operands: Option<OperandCounts>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Keys and values in a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvFootprint {
    /// Keys and values of one token over all layers.
    pub values_per_token: u64,
    /// Positions at the beginning of a sequence that take other bytes.
    #[serde(default)]
    pub first: u64,
    /// The bytes of one of those.
    #[serde(default)]
    pub first_bytes_per_token: u64,
    /// Positions at the end of a sequence that take other bytes.
    #[serde(default)]
    pub recent: u64,
    /// The bytes of one of those.
    #[serde(default)]
    pub recent_bytes_per_token: u64,
}

impl Footprint {
    /// Bits of a cached key or value, over all of sequences of `lengths` tokens; `None` if there
    /// are none, or it is not known.
    pub fn kv_bits(&self, lengths: impl Iterator<Item = u64>) -> Option<f64> {
        let kv = self.kv?;
        let (mut tokens, mut bytes) = (0, 0);
        for length in lengths {
            let first = length.min(kv.first);
            let recent = (length - first).min(kv.recent);
            tokens += length;
            bytes += first * kv.first_bytes_per_token;
            bytes += recent * kv.recent_bytes_per_token;
            bytes += (length - first - recent) * self.kv_bytes_per_token;
        }
        let values = tokens * kv.values_per_token;
        (values > 0).then(|| 8.0 * bytes as f64 / values as f64)
    }
}

/// Weights in codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedWeights {
    /// Number of weights.
    pub elements: u64,
    /// Their bytes, with scales and minima.
    pub bytes: u64,
}

impl PackedWeights {
    /// Bits of a weight on average.
    pub fn bits(&self) -> f64 {
        8.0 * self.bytes as f64 / self.elements as f64
    }
}

/// Matrices with rows that a format does not have, and their format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// The format that they have.
    pub format: GgmlFormat,
    /// The configuration's format.
    pub of: GgmlFormat,
    /// Elements of a row.
    pub cols: usize,
    /// Number of matrices.
    pub matrices: usize,
}

impl fmt::Display for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            of,
            cols,
            matrices,
        } = self;
        let plural = if *matrices == 1 { "matrix" } else { "matrices" };
        write!(
            f,
            "{format} in place of {of} in {matrices} {plural} with rows of {cols}"
        )
    }
}

/// Number of projections by operand type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperandCounts {
    /// 8-bit integers.
    pub s8: usize,
    /// E4M3.
    pub e4m3: usize,
    /// bf16.
    pub bf16: usize,
}

impl ModelInfo {
    /// A configuration of this model in one line.
    pub fn describe(&self, config: &QuantConfig) -> String {
        match &self.stored_weights {
            Some(weights) if config.is_unquantised() => format!("as stored: {weights}"),
            _ => config.describe(),
        }
    }

    /// Lines above a table: the model, and what is stored quantised.
    pub fn head(&self) -> String {
        let Self {
            device,
            name,
            parameters,
            dtype,
            softmax_dtype,
            ..
        } = self;
        let mut head = format!(
            "{name}: {parameters} parameters, {dtype} on {device}, log-softmax in {softmax_dtype}\n"
        );
        if self.random_weights {
            head += "random weights: times and sizes count, answers and their differences do not\n";
        }
        if let Some(weights) = &self.stored_weights {
            head += &format!(
                "stored weights: {weights}. A configuration with another format of weights \
                 quantises them a second time, so formats near the stored ones look better on \
                 this model than they are.\n"
            );
        }
        if let Some(inputs) = &self.stored_inputs {
            head += &format!(
                "inputs as the checkpoint says: {inputs}. `stored-weights` is the configuration \
                 without.\n"
            );
        }
        head + &self.note_lines()
    }

    /// The notes, a line each.
    pub fn note_lines(&self) -> String {
        self.notes.iter().map(|note| format!("{note}\n")).collect()
    }
}
