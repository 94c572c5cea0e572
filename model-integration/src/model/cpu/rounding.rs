//! Rotates and quantises rows of activations in place, inside the operation that produces them.

use std::mem;
use std::sync::Arc;

use mxlab_kernels::cpu::{CodeQuantizer, CodeRows, Quantizer};
use mxlab_kernels::format::{BlockFormat, FloatType, Hadamard, IntegerPair};
use rayon::prelude::*;

use super::{Activation, Cpu};
use crate::checkpoint::encoding::{ScalarInput, StoredInput};
use crate::model::ops::{hadamard, narrow};
use crate::model::{Batch, LlamaError};

/// The rounding of a batch's tokens before they are consumed: none, or a rotation, or quantisation
/// and dequantisation, or both.
///
/// Each piece of a token is a tensor of its own, with its own tensor scale. Its result depends on
/// itself and on its position in the sequence, which seeds stochastic rounding, but never on the
/// batch.
pub(super) struct Rounding {
    rotation: Option<Arc<Hadamard>>,
    quantized: Option<Quantized>,
    dtype: FloatType,
    features: usize,
}

/// What happens to a projection's input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// First it is rotated.
    rotation: Option<Arc<Hadamard>>,
    quantisation: Quantisation,
}

/// The quantisation of a projection's input.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Quantisation {
    /// None.
    #[default]
    AsItIs,
    /// To a format; its tensor scale if it is given, otherwise that of each token.
    Block(BlockFormat, Option<f32>),
    /// The same, kept as codes: weights are codes as well, and products are those of integers.
    Codes(BlockFormat, Option<f32>),
    /// By a checkpoint's rule without a format of ours.
    Scalar(ScalarInput),
}

impl Input {
    /// Quantised to a format, if there is one.
    pub fn of(format: Option<&BlockFormat>) -> Self {
        let block = |format: &BlockFormat| Quantisation::Block(*format, None);
        Self {
            rotation: None,
            quantisation: format.map_or(Quantisation::AsItIs, block),
        }
    }

    /// Quantised as a checkpoint says.
    pub fn stored(stored: StoredInput) -> Self {
        let quantisation = match stored {
            StoredInput::Block(format, scale) => Quantisation::Block(format, scale),
            StoredInput::Scalar(scalar) => Quantisation::Scalar(scalar),
        };
        Self {
            rotation: None,
            quantisation,
        }
    }

    /// The same, rotated before.
    #[must_use]
    pub fn rotated(self, rotation: Hadamard) -> Self {
        Self {
            rotation: Some(Arc::new(rotation)),
            ..self
        }
    }

    /// The same as codes, if products with weights in `weights` are those of integers.
    #[must_use]
    pub fn beside(self, weights: Option<&BlockFormat>) -> Self {
        let quantisation = match (self.quantisation, weights) {
            (Quantisation::Block(format, scale), Some(weights))
                if IntegerPair::new(&format, weights).is_some() =>
            {
                Quantisation::Codes(format, scale)
            }
            (as_it_is, _) => as_it_is,
        };
        Self {
            quantisation,
            ..self
        }
    }

    /// Whether it is kept as codes.
    pub fn is_codes(&self) -> bool {
        matches!(self.quantisation, Quantisation::Codes(..))
    }

    /// Whether nothing happens to it.
    pub(super) fn is_as_it_is(&self) -> bool {
        *self == Self::default()
    }
}

enum Rule {
    Block {
        quantizer: Box<Quantizer>,
        scales_tokens: bool,
    },
    Scalar(ScalarInput),
}

struct Quantized {
    rule: Rule,
    dtype: FloatType,
    features: usize,
    /// Size of a piece; divides `features`.
    piece: usize,
    positions: Vec<usize>,
    /// The first position that is quantised.
    start: usize,
}

impl Input {
    /// Rotates, quantises and dequantises one token in place.
    ///
    /// # Errors
    /// If the format is not defined for this type.
    pub fn apply(&self, dtype: FloatType, token: &mut [f32]) -> Result<(), LlamaError> {
        let features = [token.len(); 2];
        Rounding::at(self, dtype, features, vec![0])?.apply(0, token);
        Ok(())
    }
}

impl Rule {
    fn new(quantisation: Quantisation, dtype: FloatType) -> Result<Option<Self>, LlamaError> {
        Ok(match quantisation {
            Quantisation::AsItIs => None,
            Quantisation::Block(format, scale) | Quantisation::Codes(format, scale) => {
                let quantizer = Quantizer::new(format, dtype)?;
                Some(Self::Block {
                    quantizer: Box::new(quantizer.with_tensor_scale(scale.unwrap_or(1.0))),
                    scales_tokens: scale.is_none() && format.has_tensor_scale(),
                })
            }
            Quantisation::Scalar(scalar) => Some(Self::Scalar(scalar)),
        })
    }
}

impl Rounding {
    /// Rounds as `input` says, in pieces of `piece` of a token's `features`.
    pub(super) fn new(
        engine: &Cpu,
        input: &Input,
        sizes: [usize; 2],
        batch: &Batch,
    ) -> Result<Self, LlamaError> {
        let positions = batch.positions().collect();
        Self::at(input, engine.dtype(), sizes, positions)
    }

    fn at(
        input: &Input,
        dtype: FloatType,
        [features, piece]: [usize; 2],
        positions: Vec<usize>,
    ) -> Result<Self, LlamaError> {
        let rule = Rule::new(input.quantisation, dtype)?;
        Ok(Self {
            rotation: input.rotation.clone(),
            quantized: rule.map(|rule| Quantized {
                rule,
                dtype,
                features,
                piece,
                positions,
                start: 0,
            }),
            dtype,
            features,
        })
    }

    /// The same for tokens from a position on; earlier ones stay.
    pub(super) fn from(self, start: usize) -> Self {
        Self {
            quantized: self
                .quantized
                .map(|quantized| Quantized { start, ..quantized }),
            ..self
        }
    }

    /// Rounds whole tokens in place; `first` is the index of the first in the batch.
    pub(super) fn apply(&self, first: usize, tokens: &mut [f32]) {
        if let Some(rotation) = &self.rotation {
            hadamard(tokens, self.features, rotation, self.dtype);
        }
        if let Some(quantized) = &self.quantized {
            quantized.apply(first, tokens);
        }
    }
}

/// The quantisation of a batch's tokens to codes.
pub(super) struct Coding {
    rotation: Option<Arc<Hadamard>>,
    quantizer: CodeQuantizer,
    dtype: FloatType,
    positions: Vec<usize>,
}

impl Coding {
    /// `None` unless `input` is codes.
    pub(super) fn new(
        engine: &Cpu,
        input: &Input,
        batch: &Batch,
    ) -> Result<Option<Self>, LlamaError> {
        let Quantisation::Codes(format, scale) = input.quantisation else {
            return Ok(None);
        };
        let quantizer = Quantizer::new(format, engine.dtype())?;
        let quantizer = quantizer.with_tensor_scale(scale.unwrap_or(1.0));
        Ok(Some(Self {
            rotation: input.rotation.clone(),
            quantizer: quantizer.to_byte_codes(scale.is_none()),
            dtype: engine.dtype(),
            positions: batch.positions().collect(),
        }))
    }

    /// The codes of tokens of `features` values, after `operation(first token, tokens)` on parts of
    /// them.
    pub(super) fn of_rows(
        &self,
        values: &mut [f32],
        features: usize,
        rows_per_task: usize,
        operation: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Activation {
        let tokens = values.len().checked_div(features).unwrap_or(0);
        let mut rows = CodeRows::zeroed(*self.quantizer.format(), tokens, features);
        let to = rows.parts_mut();
        let scale_bytes = to.scales.len().checked_div(tokens).unwrap_or(0);
        let tasks = values.par_chunks_mut(rows_per_task * features);
        let tasks = tasks
            .zip(to.codes.par_chunks_mut(rows_per_task * features))
            .zip(to.scales.par_chunks_mut(rows_per_task * scale_bytes))
            .zip(to.tensor_scales.par_chunks_mut(rows_per_task));
        tasks
            .enumerate()
            .for_each(|(task, (((values, codes), scales), tensor_scales))| {
                let first = task * rows_per_task;
                operation(first, values);
                if let Some(rotation) = &self.rotation {
                    hadamard(values, features, rotation, self.dtype);
                }
                let tokens = values
                    .chunks_exact(features)
                    .zip(codes.chunks_exact_mut(features));
                let tokens = tokens
                    .zip(scales.chunks_exact_mut(scale_bytes))
                    .zip(tensor_scales);
                for (&position, (((x, codes), scales), tensor_scale)) in
                    self.positions[first..].iter().zip(tokens)
                {
                    // Whole tokens: the position seeds stochastic rounding.
                    let quantized = self.quantizer.quantize(x, position, codes, scales);
                    *tensor_scale = quantized.expect("buffers of one token");
                }
            });
        Activation::of_codes(rows, self.dtype)
    }
}

impl Quantized {
    /// Quantises tokens in place, except those before the first position to quantise.
    fn apply(&self, first: usize, tokens: &mut [f32]) {
        let rows = tokens.len() / self.features;
        let positions = &self.positions[first..][..rows];
        let is_exact = |position: &usize| *position < self.start;
        let mut rest = tokens;
        for run in positions.chunk_by(|before, after| is_exact(before) == is_exact(after)) {
            let tokens;
            (tokens, rest) = rest.split_at_mut(run.len() * self.features);
            if !is_exact(&run[0]) {
                self.apply_to_all(run, tokens);
            }
        }
    }

    /// Quantises tokens of these positions in place.
    fn apply_to_all(&self, positions: &[usize], tokens: &mut [f32]) {
        match &self.rule {
            Rule::Scalar(scalar) => {
                for token in tokens.chunks_exact_mut(self.features) {
                    scalar.apply(token);
                }
            }
            Rule::Block {
                quantizer,
                scales_tokens: true,
            } => self.scale_and_quantize((**quantizer).clone(), tokens, positions),
            Rule::Block { quantizer, .. } => {
                let mut rest = &mut *tokens;
                for run in positions.chunk_by(|before, after| before + 1 == *after) {
                    let tokens;
                    (tokens, rest) = mem::take(&mut rest).split_at_mut(run.len() * self.features);
                    self.quantize(quantizer, tokens, run[0] * self.pieces());
                }
            }
        }
        narrow(tokens, self.dtype);
    }

    /// Each piece with a tensor scale of its own.
    fn scale_and_quantize(&self, mut quantizer: Quantizer, x: &mut [f32], positions: &[usize]) {
        for (&position, token) in positions.iter().zip(x.chunks_exact_mut(self.features)) {
            for (piece, values) in token.chunks_exact_mut(self.piece).enumerate() {
                quantizer.set_scale_of(values);
                self.quantize(&quantizer, values, position * self.pieces() + piece);
            }
        }
    }

    /// Pieces of a token.
    fn pieces(&self) -> usize {
        self.features / self.piece
    }

    /// `first` is the index of the first piece, which seeds stochastic rounding.
    fn quantize(&self, quantizer: &Quantizer, values: &mut [f32], first: usize) {
        quantizer
            .fake_quantize_rows(values, self.piece, first)
            .expect("a piece divides the features");
    }
}
