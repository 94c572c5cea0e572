//! Quantises rows of activations in place, inside the operation that produces them.

use mxlab_kernels::cpu::Quantizer;
use mxlab_kernels::format::{BlockFormat, FloatType};

use super::Cpu;
use crate::model::ops::narrow;
use crate::model::{Batch, LlamaError};

/// The rounding of a batch's tokens before they are consumed: none, or quantisation and
/// dequantisation.
///
/// Each piece of a token is a tensor of its own, with its own tensor scale. Its result depends on
/// itself and on its position in the sequence, which seeds stochastic rounding, but never on the
/// batch.
pub(super) struct Rounding(Option<Quantized>);

struct Quantized {
    quantizer: Quantizer,
    has_tensor_scale: bool,
    dtype: FloatType,
    features: usize,
    /// Size of a piece; divides `features`.
    piece: usize,
    positions: Vec<usize>,
}

impl Rounding {
    /// Rounds to `format`, in pieces of `piece` of a token's `features`.
    pub(super) fn new(
        engine: &Cpu,
        format: Option<&BlockFormat>,
        [features, piece]: [usize; 2],
        batch: &Batch,
    ) -> Result<Self, LlamaError> {
        let Some(format) = format else {
            return Ok(Self(None));
        };
        Ok(Self(Some(Quantized {
            quantizer: Quantizer::new(*format, engine.dtype())?,
            has_tensor_scale: format.has_tensor_scale(),
            dtype: engine.dtype(),
            features,
            piece,
            positions: batch.positions().collect(),
        })))
    }

    /// Rounds whole tokens in place; `first` is the index of the first in the batch.
    pub(super) fn apply(&self, first: usize, tokens: &mut [f32]) {
        if let Self(Some(quantized)) = self {
            quantized.apply(first, tokens);
        }
    }
}

impl Quantized {
    fn apply(&self, first: usize, tokens: &mut [f32]) {
        let pieces = self.features / self.piece;
        let rows = tokens.chunks_exact_mut(self.features);
        for (&position, token) in self.positions[first..].iter().zip(rows) {
            let first = position * pieces;
            if self.has_tensor_scale {
                for (piece, values) in token.chunks_exact_mut(self.piece).enumerate() {
                    let quantizer = self.quantizer.clone().with_scale_of(values);
                    self.quantize(&quantizer, values, first + piece);
                }
            } else {
                self.quantize(&self.quantizer, token, first);
            }
        }
        narrow(tokens, self.dtype);
    }

    /// `first` is the index of the first piece, which seeds stochastic rounding.
    fn quantize(&self, quantizer: &Quantizer, values: &mut [f32], first: usize) {
        quantizer
            .fake_quantize_rows(values, self.piece, first)
            .expect("a piece divides the features");
    }
}
