//! Errors of quantised weights by themselves, as records keep them.

use mxlab_harness::record::float;
use serde::{Deserialize, Serialize};

use crate::config::Projection;
use crate::quantization_error::Sums;

/// Of all quantised weights of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightError {
    /// Of all of them together.
    #[serde(flatten)]
    pub error: Error,
    /// Elements that are quantised.
    pub elements: u64,
    /// Bytes of their codes.
    pub code_bytes: u64,
    /// Bytes of their scales.
    pub scale_bytes: u64,
    /// Of each.
    pub tensors: Vec<TensorError>,
}

/// What is lost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Signal to quantisation noise in dB.
    #[serde(with = "float")]
    pub sqnr_db: f64,
    /// Of the angle between weights and what they became.
    #[serde(with = "float")]
    pub cosine: f64,
    /// Root mean square of the error, relative to that of the weights.
    #[serde(with = "float")]
    pub relative_error: f64,
}

/// Of one matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Its layer.
    pub layer: usize,
    /// Which.
    pub projection: Projection,
    /// What is lost.
    #[serde(flatten)]
    pub error: Error,
}

impl Error {
    /// Of what was summed up.
    pub fn of(sums: &Sums) -> Self {
        Self {
            sqnr_db: sums.sqnr_db(),
            cosine: sums.cosine(),
            relative_error: sums.relative_error(),
        }
    }
}
