//! Errors of quantised weights by themselves.

use anyhow::{Context, Result};
use mxlab_harness::record::float;
use mxlab_kernels::cpu;
use mxlab_kernels::format::FloatType;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::config::{Projection, QuantConfig};
use crate::quantization_error::{Sums, measure};

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
    fn of(sums: &Sums) -> Self {
        Self {
            sqnr_db: sums.sqnr_db(),
            cosine: sums.cosine(),
            relative_error: sums.relative_error(),
        }
    }
}

/// Quantises every weight that has a format, as a model that computes in `dtype` would; `None` if none has.
///
/// # Errors
/// If a tensor is missing or cannot be quantised.
pub fn errors(
    checkpoint: &Checkpoint,
    dtype: FloatType,
    config: &QuantConfig,
) -> Result<Option<WeightError>> {
    let mut sums = Sums::default();
    let mut all = WeightError {
        error: Error::of(&sums),
        elements: 0,
        code_bytes: 0,
        scale_bytes: 0,
        tensors: Vec::new(),
    };
    for (layer, projection, weight) in checkpoint.parameters().projections() {
        let (Some(format), Some([rows, cols])) =
            (config.for_projection(layer, projection).0, weight.matrix())
        else {
            continue;
        };
        let view = checkpoint.tensor(weight)?;
        let mut values = vec![0.0; rows * cols];
        view.read_f32(0..rows * cols, &mut values);
        for value in &mut values {
            *value = dtype.round(*value);
        }
        let packed = cpu::quantize(&values, rows, cols, &format, dtype);
        let packed = packed.with_context(|| format!("tensor `{}`", weight.name))?;
        let statistics = measure(&values, &packed, 0)?;
        sums.add(statistics.sums);
        all.elements += statistics.elements;
        all.code_bytes += packed.codes().len() as u64;
        all.scale_bytes += packed.scales().len() as u64;
        all.tensors.push(TensorError {
            layer,
            projection,
            error: Error::of(&statistics.sums),
        });
    }
    all.error = Error::of(&sums);
    Ok((!all.tensors.is_empty()).then_some(all))
}
