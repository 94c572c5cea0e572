//! Errors of quantised weights.

use mxlab_harness::record::float;
use serde::{Deserialize, Serialize};

use crate::config::Projection;
use crate::quantization_error::Sums;

/// Errors of all quantised weights of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightError {
    /// Over all elements.
    #[serde(flatten)]
    pub error: Error,
    /// Number of quantised elements.
    pub elements: u64,
    /// Bytes of codes.
    pub code_bytes: u64,
    /// Bytes of scales.
    pub scale_bytes: u64,
    /// For each matrix.
    pub tensors: Vec<TensorError>,
}

/// Error of quantisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Signal to quantisation noise in dB.
    #[serde(with = "float")]
    pub sqnr_db: f64,
    /// Cosine of the angle between the weights and their quantised values.
    #[serde(with = "float")]
    pub cosine: f64,
    /// Root mean square of the error, divided by that of the weights.
    #[serde(with = "float")]
    pub relative_error: f64,
}

/// Error of one matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorError {
    /// Its layer.
    pub layer: usize,
    /// Its projection.
    pub projection: Projection,
    /// Its error.
    #[serde(flatten)]
    pub error: Error,
}

impl Error {
    /// From the sums over elements.
    pub fn of(sums: &Sums) -> Self {
        Self {
            sqnr_db: sums.sqnr_db(),
            cosine: sums.cosine(),
            relative_error: sums.relative_error(),
        }
    }
}
