//! Errors of quantised weights.

use anyhow::{Context, Result};
use mxlab_kernels::cpu;
use mxlab_kernels::format::{FloatType, MatrixFormat};

use crate::checkpoint::Checkpoint;
use crate::config::QuantConfig;
use crate::model::load::Rotating;
use crate::quantization_error::{Sums, measure};
use crate::record::weight_error::{Error, TensorError, WeightError};

/// Quantises every weight that has a format, as a model computing in `dtype` does; `None` if no
/// weight has one.
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
        let (Some(format), Some([rows, cols])) = (weight.weight_format(config)?, weight.matrix())
        else {
            continue;
        };
        let view = checkpoint.tensor(weight)?;
        let view = match Rotating::new(checkpoint, config, weight)? {
            Some(rotating) => rotating.apply(view, dtype)?,
            None => view,
        };
        let mut values = vec![0.0; rows * cols];
        view.read_f32(0..rows * cols, &mut values);
        for value in &mut values {
            *value = dtype.round(*value);
        }
        let (own, [codes, scales]) = match format {
            MatrixFormat::Block(format) => {
                let packed = cpu::quantize(&values, rows, cols, &format, dtype);
                let packed = packed.with_context(|| format!("tensor `{}`", weight.name))?;
                let sums = measure(&values, &packed, 0)?.sums;
                (sums, [packed.codes().len(), packed.scales().len()])
            }
            MatrixFormat::Ggml(format) => {
                let made = view.in_ggml(format, dtype)?;
                let mut restored = vec![0.0; rows * cols];
                made.read_f32(0..rows * cols, &mut restored);
                // Scales and minima are parts of its blocks.
                (Sums::of(&values, &restored), [made.byte_len(), 0])
            }
        };
        sums.add(own);
        all.elements += (rows * cols) as u64;
        all.code_bytes += codes as u64;
        all.scale_bytes += scales as u64;
        all.tensors.push(TensorError {
            layer,
            projection,
            error: Error::of(&own),
        });
    }
    all.error = Error::of(&sums);
    Ok((!all.tensors.is_empty()).then_some(all))
}
