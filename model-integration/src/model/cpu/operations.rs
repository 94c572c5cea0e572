//! The operations of the forward pass, parallel over rows, sequences or panels.

use std::convert::Infallible;

use candle_core::{Device, Shape, Storage, Tensor};
use mxlab_kernels::cpu::{Bf16Rows, Matmul, Path};
use mxlab_kernels::format::FloatType;
use rayon::prelude::*;

use super::rounding::Rounding;
use super::{Cache, Cpu, Input, Matrix};
use crate::checkpoint::TensorView;
use crate::description::Routing;
use crate::description::kinds::{ActivationFunction, NormKind};
use crate::model::error::check_finite;
use crate::model::ops::attention::{Head, Scores};
use crate::model::ops::{self, Chosen, narrow};
use crate::model::{Attention, Backend, Batch, LlamaError, Map, Norm};

/// Weight elements widened at a time: few enough to stay in the cores' caches.
const PANEL: usize = 1 << 20;
/// Fewest tokens for which rows of bf16 are interleaved; with fewer, interleaving would be a large
/// part of the work.
const LEAST_TOKENS: usize = 16;
/// Rows per task of a row-wise operation.
const ROWS_PER_TASK: usize = 32;

impl Backend for Cpu {
    type Activation = Tensor;
    type Matrix = Matrix;
    type Stack = Infallible;
    type Input = Input;
    type Vector = Vec<f32>;
    type Cache = Cache;
    type Error = LlamaError;

    fn embed(&self, table: &Matrix, tokens: &[u32]) -> Result<Tensor, LlamaError> {
        let features = table.cols();
        let mut out = vec![0.0; tokens.len() * features];
        for (out, &token) in out.chunks_exact_mut(features).zip(tokens) {
            let row = token as usize;
            if row >= table.rows() {
                return Err(LlamaError::Token {
                    token,
                    vocabulary: table.rows(),
                });
            }
            table.widen(row..row + 1, out, self.dtype);
        }
        tensor(out, (tokens.len(), features))
    }

    fn norm(
        &self,
        x: &Tensor,
        norm: &Norm<Vec<f32>>,
        batch: &Batch,
        input: &Input,
    ) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        let input = self.rounding(input, features, batch)?;
        let (gain, eps, dtype) = (norm.gain.as_slice(), norm.eps, self.dtype);
        let bias = norm.bias.as_deref().unwrap_or_default();
        self.by_rows(x, features, |first, out, x| {
            match norm.kind {
                NormKind::Rms => ops::rms_norm(out, x, gain, eps, dtype),
                NormKind::RmsOnce => ops::rms_norm_once(out, x, gain, 0.0, eps, dtype),
                NormKind::RmsPlusOne => ops::rms_norm_once(out, x, gain, 1.0, eps, dtype),
                NormKind::Layer => ops::layer_norm(out, x, gain, bias, eps, dtype),
            }
            input.apply(first, out);
        })
    }

    fn as_input(&self, x: &Tensor, batch: &Batch, input: &Input) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        if *input == Input::AsItIs {
            return Ok(x.clone());
        }
        let input = self.rounding(input, features, batch)?;
        self.by_rows(x, features, |first, out, x| {
            out.copy_from_slice(x);
            input.apply(first, out);
        })
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Matrix,
        bias: Option<&Vec<f32>>,
        residual: Option<&Tensor>,
    ) -> Result<Tensor, LlamaError> {
        let (tokens, _) = x.dims2()?;
        let outputs = weight.rows();
        let mut out = with_values(x, |x| self.product(x, tokens, weight))??;
        let round = |out: &mut [f32]| {
            if let Some(bias) = bias {
                ops::add_bias(out, bias);
            }
            narrow(out, self.dtype);
        };
        let task = ROWS_PER_TASK * outputs;
        match residual {
            None => out.par_chunks_mut(task).for_each(round),
            Some(residual) => with_values(residual, |residual| {
                let rows = out.par_chunks_mut(task).zip(residual.par_chunks(task));
                rows.for_each(|(out, residual)| {
                    round(out);
                    ops::add(out, residual, self.dtype);
                });
            })?,
        }
        tensor(out, (tokens, outputs))
    }

    fn linear_stack<const N: usize>(
        &self,
        _: &Tensor,
        stack: &Infallible,
    ) -> Result<[Tensor; N], LlamaError> {
        match *stack {}
    }

    fn linear_swiglu(
        &self,
        _: &Tensor,
        stack: &Infallible,
        _: &Batch,
        _: &Input,
        _: impl Fn(usize) -> String,
    ) -> Result<Tensor, LlamaError> {
        match *stack {}
    }

    fn attend(
        &self,
        [query, key, value]: [Tensor; 3],
        attention: Attention<Vec<f32>>,
        cache: &mut Cache,
        batch: &Batch,
        input: &Input,
    ) -> Result<Tensor, LlamaError> {
        let Attention { head_dim, rope, .. } = attention;
        let positions: Vec<usize> = batch.positions().collect();
        let rotate = |first: usize, out: &mut [f32], x: &[f32], features: usize| {
            let tokens = out.chunks_exact_mut(features).zip(x.chunks_exact(features));
            for (&position, (out, x)) in positions[first..].iter().zip(tokens) {
                match rope {
                    Some(rope) => ops::rotate(out, x, rope.table, position, self.dtype),
                    None => out.copy_from_slice(x),
                }
            }
        };
        let query_features = attention.heads * head_dim;
        let features = attention.kv_heads * head_dim;
        let query = self.by_rows(&query, query_features, |first, out, x| {
            rotate(first, out, x, query_features);
        })?;
        let keys = Rounding::new(self, attention.keys.into(), [features, head_dim], batch)?;
        let key = self.by_rows(&key, features, |first, out, x| {
            rotate(first, out, x, features);
            keys.apply(first, out);
        })?;
        let values = Rounding::new(self, attention.values.into(), [features, head_dim], batch)?;
        let value = self.by_rows(&value, features, |first, out, x| {
            out.copy_from_slice(x);
            values.apply(first, out);
        })?;
        let input = self.rounding(input, query_features, batch)?;
        let out = with_values(&query, |query| {
            with_values(&key, |key| {
                with_values(&value, |value| {
                    let kept = cache.append(attention.layer, &batch.sequences, [key, value])?;
                    let mut out = vec![0.0; query.len()];
                    self.attend_sequences(&mut out, query, &kept, &attention, batch, &input);
                    Ok::<_, LlamaError>(out)
                })
            })
        })????;
        tensor(out, query.shape())
    }

    fn gate(
        &self,
        [gate, up]: [Tensor; 2],
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Tensor, LlamaError> {
        let (_, features) = gate.dims2()?;
        let input = self.rounding(input, features, batch)?;
        with_values(&up, |up| {
            self.by_rows(&gate, features, |first, out, gate| {
                let up = &up[first * features..][..gate.len()];
                ops::gate(out, gate, up, function, self.dtype);
                input.apply(first, out);
            })
        })?
    }

    fn activate(
        &self,
        x: Tensor,
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        let input = self.rounding(input, features, batch)?;
        self.by_rows(&x, features, |first, out, x| {
            out.copy_from_slice(x);
            ops::activate(out, function, self.dtype);
            input.apply(first, out);
        })
    }

    fn map(&self, x: Tensor, map: Map) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        self.by_rows(&x, features, |_, out, x| {
            out.copy_from_slice(x);
            ops::map(out, map, self.dtype);
        })
    }

    fn add(&self, x: Tensor, residual: &Tensor) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        with_values(residual, |residual| {
            self.by_rows(&x, features, |first, out, x| {
                out.copy_from_slice(x);
                ops::add(out, &residual[first * features..], self.dtype);
            })
        })?
    }

    fn add_bias(&self, x: Tensor, bias: &Vec<f32>) -> Result<Tensor, LlamaError> {
        self.by_rows(&x, bias.len(), |_, out, x| {
            out.copy_from_slice(x);
            ops::add_bias(out, bias);
            narrow(out, self.dtype);
        })
    }

    fn route(&self, scores: &Tensor, routing: Routing) -> Result<Vec<Chosen>, LlamaError> {
        let (_, experts) = scores.dims2()?;
        with_values(scores, |scores| {
            ops::route(scores, experts, routing, self.dtype)
        })
    }

    fn mix(&self, tokens: usize, outputs: Vec<(Chosen, Tensor)>) -> Result<Tensor, LlamaError> {
        let (_, first) = outputs.first().ok_or(LlamaError::Layout)?;
        let (_, features) = first.dims2()?;
        let mut sum = vec![0.0; tokens * features];
        for (chosen, x) in &outputs {
            with_values(x, |x| {
                ops::add_chosen(&mut sum, chosen, x, features, self.dtype)
            })?;
        }
        tensor(sum, (tokens, features))
    }

    fn watch(&self, x: &Tensor, what: impl FnOnce() -> String) -> Result<(), LlamaError> {
        if !self.watches {
            return Ok(());
        }
        let (_, features) = x.dims2()?;
        with_values(x, |values| check_finite(values, features, what))?
    }

    fn select(&self, x: &Tensor, rows: &[u32]) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        let out = with_values(x, |x| {
            let mut out = Vec::with_capacity(rows.len() * features);
            for &row in rows {
                out.extend_from_slice(&x[row as usize * features..][..features]);
            }
            out
        })?;
        tensor(out, (rows.len(), features))
    }
}

impl Cpu {
    /// Calls `operation(first row, out, x)` for runs of rows, in parallel.
    fn by_rows(
        &self,
        x: &Tensor,
        features: usize,
        operation: impl Fn(usize, &mut [f32], &[f32]) + Sync,
    ) -> Result<Tensor, LlamaError> {
        let out = with_values(x, |x| {
            let mut out = vec![0.0; x.len()];
            let task = ROWS_PER_TASK * features;
            out.par_chunks_mut(task)
                .zip(x.par_chunks(task))
                .enumerate()
                .for_each(|(index, (out, x))| operation(index * ROWS_PER_TASK, out, x));
            out
        })?;
        tensor(out, x.shape())
    }

    /// The rounding of a projection's input.
    fn rounding(
        &self,
        input: &Input,
        features: usize,
        batch: &Batch,
    ) -> Result<Rounding, LlamaError> {
        Rounding::new(self, *input, [features, features], batch)
    }

    /// Attention of every sequence to its own keys and values `kept`, in parallel.
    fn attend_sequences(
        &self,
        out: &mut [f32],
        query: &[f32],
        kept: &[[&[f32]; 2]],
        attention: &Attention<Vec<f32>>,
        batch: &Batch,
        input: &Rounding,
    ) {
        let &Attention {
            heads,
            kv_heads,
            head_dim,
            ..
        } = attention;
        let query_stride = heads * head_dim;
        let mut tasks = Vec::with_capacity(kept.len());
        let (mut first, mut rest) = (0, out);
        for (sequence, &kept) in batch.sequences.iter().zip(kept) {
            let (own, others) = rest.split_at_mut(sequence.length * query_stride);
            tasks.push((first, sequence, kept, own));
            (first, rest) = (first + sequence.length, others);
        }
        tasks
            .into_par_iter()
            .for_each(|(first, sequence, [keys, values], out)| {
                let mut head = Head {
                    past: sequence.past,
                    length: sequence.length,
                    head_dim,
                    query_stride,
                    key_stride: kv_heads * head_dim,
                    scores: Scores {
                        scale: attention.scale,
                        cap: attention.cap,
                        window: attention.window,
                        sink: None,
                    },
                };
                let query = &query[first * query_stride..];
                let mut scratch = Vec::new();
                for h in 0..heads {
                    head.scores.sink = attention.sinks.map(|sinks| sinks[h]);
                    let at_query = h * head_dim;
                    let at_key = h / (heads / kv_heads) * head_dim;
                    let operands = [&query[at_query..], &keys[at_key..], &values[at_key..]];
                    head.attend(&mut out[at_query..], operands, self.dtype, &mut scratch);
                }
                narrow(out, self.dtype);
                input.apply(first, out);
            });
    }

    /// `x weight^T`, not yet rounded. Sums have the order of the path, for packed and dense
    /// weights.
    fn product(&self, x: &[f32], tokens: usize, weight: &Matrix) -> Result<Vec<f32>, LlamaError> {
        let mut out = vec![0.0; tokens * weight.rows()];
        match weight {
            Matrix::Dense(view) => match self.bf16_rows(view, tokens) {
                Some(rows) => {
                    let rows = Bf16Rows::new(rows, weight.cols())?;
                    Matmul::new(rows)
                        .with_path(self.path)
                        .multiply(x, &mut out)?
                }
                None => self.panels(&mut out, x, tokens, weight),
            },
            Matrix::Packed(panels) => {
                let matmul = Matmul::new(&**panels).rounded_to(self.dtype);
                matmul.with_path(self.path).multiply(x, &mut out)?;
            }
        }
        Ok(out)
    }

    /// The weight as stored, if products of bf16 pairs are the fastest way to multiply it.
    fn bf16_rows<'a>(&self, weight: &'a TensorView, tokens: usize) -> Option<&'a [u8]> {
        let is_bf16 = self.dtype == FloatType::Bf16 && weight.dtype() == Some(FloatType::Bf16);
        let is_worth_it = match self.path {
            // Sums over few tokens have the same order as sums over many.
            Path::Amx => true,
            Path::Avx512Bf16 => tokens >= LEAST_TOKENS,
            Path::F32(_) => false,
        };
        weight.bytes().filter(|_| is_bf16 && is_worth_it)
    }

    /// `out = x weight^T`, panel by panel of the weight's rows.
    fn panels(&self, out: &mut [f32], x: &[f32], tokens: usize, weight: &Matrix) {
        let (outputs, inputs) = (weight.rows(), weight.cols());
        let panel_rows = (PANEL / inputs).clamp(1, outputs);
        let mut panel = vec![0.0; panel_rows * inputs];
        let task = tokens.div_ceil(rayon::current_num_threads());
        for first in (0..outputs).step_by(panel_rows) {
            let rows = panel_rows.min(outputs - first);
            let panel = &mut panel[..rows * inputs];
            weight.widen_parallel(first, panel, self.dtype);
            out.par_chunks_mut(task * outputs)
                .zip(x.par_chunks(task * inputs))
                .for_each(|(out, x)| {
                    let tokens = x.len() / inputs;
                    ops::multiply(
                        &mut out[first..],
                        outputs,
                        ops::Matrix::new(x, tokens, inputs, inputs),
                        ops::Matrix::new(panel, rows, inputs, inputs).t(),
                        1.0,
                        false,
                    );
                });
        }
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor, LlamaError> {
    Ok(Tensor::from_vec(values, shape.into(), &Device::Cpu)?)
}

/// Calls `reader` with the contiguous values of a tensor.
pub(super) fn with_values<T>(
    x: &Tensor,
    reader: impl FnOnce(&[f32]) -> T,
) -> Result<T, LlamaError> {
    let (storage, layout) = x.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => {
            Ok(reader(&storage.as_slice::<f32>()?[start..end]))
        }
        _ => Err(LlamaError::Layout),
    }
}
