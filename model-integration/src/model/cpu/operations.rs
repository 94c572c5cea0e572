//! The operations of the forward pass, parallel over rows, sequences or panels.

use std::convert::Infallible;

use mxlab_kernels::cpu::{Bf16Rows, IntegerMatmul, Matmul, Path};
use mxlab_kernels::format::{FloatType, IntegerPair};
use rayon::prelude::*;

use super::attention::Kept;
use super::rounding::{Coding, Rounding};
use super::{Activation, Cache, Cpu, Input, Matrix};
use crate::checkpoint::TensorView;
use crate::description::Routing;
use crate::description::kinds::{ActivationFunction, NormKind};
use crate::model::buffer::Buffer;
use crate::model::error::check_finite;
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
    type Activation = Activation;
    type Matrix = Matrix;
    type Stack = Infallible;
    type Input = Input;
    type Vector = Vec<f32>;
    type Cache = Cache;
    type Error = LlamaError;

    /// Except when it watches, since errors name rows of the batch.
    fn selects_early(&self) -> bool {
        !self.watches
    }

    fn embed(&self, table: &Matrix, tokens: &[u32]) -> Result<Activation, LlamaError> {
        let features = table.cols();
        let mut out = Activation::of_any_values(tokens.len(), features);
        let rows = out.values_mut().chunks_exact_mut(features);
        for (out, &token) in rows.zip(tokens) {
            let row = token as usize;
            if row >= table.rows() {
                return Err(LlamaError::Token {
                    token,
                    vocabulary: table.rows(),
                });
            }
            table.widen(row..row + 1, out, self.dtype);
        }
        Ok(out)
    }

    fn norm(
        &self,
        x: &Activation,
        norm: &Norm<Vec<f32>>,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let features = x.features();
        let (gain, eps, dtype) = (norm.gain.as_slice(), norm.eps, self.dtype);
        let bias = norm.bias.as_deref().unwrap_or_default();
        let out = Activation::of_any_values(x.tokens(), features);
        let x = x.values();
        self.as_input_of(out, input, batch, |first, out| {
            let x = &x[first * features..][..out.len()];
            match norm.kind {
                NormKind::Rms => ops::rms_norm(out, x, gain, eps, dtype),
                NormKind::RmsOnce => ops::rms_norm_once(out, x, gain, 0.0, eps, dtype),
                NormKind::RmsPlusOne => ops::rms_norm_once(out, x, gain, 1.0, eps, dtype),
                NormKind::Layer => ops::layer_norm(out, x, gain, bias, eps, dtype),
            }
        })
    }

    fn as_input(
        &self,
        x: &Activation,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        self.input_of(x.clone(), batch, input)
    }

    fn linear(
        &self,
        x: &Activation,
        weight: &Matrix,
        bias: Option<&Vec<f32>>,
        residual: Option<&Activation>,
    ) -> Result<Activation, LlamaError> {
        let outputs = weight.rows();
        let mut out = self.product(x, weight)?;
        by_rows(&mut out, |first, out| {
            if let Some(bias) = bias {
                ops::add_bias(out, bias);
            }
            match residual {
                None => narrow(out, self.dtype),
                Some(residual) => {
                    let residual = &residual.values()[first * outputs..];
                    ops::add_residual(out, residual, self.dtype);
                }
            }
        });
        Ok(out)
    }

    fn linear_stack<const N: usize>(
        &self,
        _: &Activation,
        stack: &Infallible,
    ) -> Result<[Activation; N], LlamaError> {
        match *stack {}
    }

    fn linear_swiglu(
        &self,
        _: &Activation,
        stack: &Infallible,
        _: &Batch,
        _: &Input,
        _: impl Fn(usize) -> String,
    ) -> Result<Activation, LlamaError> {
        match *stack {}
    }

    fn attend(
        &self,
        [mut query, mut key, mut value]: [Activation; 3],
        attention: Attention<Vec<f32>>,
        cache: &mut Cache,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let Attention { head_dim, rope, .. } = attention;
        let positions: Vec<usize> = batch.positions().collect();
        let rotate = |first: usize, rows: &mut [f32], features: usize| {
            if let Some(rope) = rope {
                let tokens = rows.chunks_exact_mut(features);
                for (&position, token) in positions[first..].iter().zip(tokens) {
                    ops::rotate(token, rope.table, position, self.dtype);
                }
            }
            if let Some(rotation) = attention.key_rotation {
                ops::hadamard(rows, head_dim, rotation, self.dtype);
            }
        };
        let query_features = attention.heads * head_dim;
        let features = attention.kv_heads * head_dim;
        by_rows(&mut query, |first, rows| {
            rotate(first, rows, query_features)
        });
        by_rows(&mut key, |first, rows| rotate(first, rows, features));
        let mut exact = None;
        if cache.keeps_nothing() {
            exact = (attention.key_recent > 0).then(|| key.values().to_vec());
            cache.check(batch)?;
            for (x, format) in [(&mut key, attention.keys), (&mut value, attention.values)] {
                let input = Input::of(format);
                let rounding = Rounding::new(self, &input, [features, head_dim], batch)?;
                let rounding = rounding.from(attention.kv_first);
                by_rows(x, |first, rows| rounding.apply(first, rows));
            }
        } else {
            let new = [key.values(), value.values()];
            cache.append(attention.layer, batch, new)?;
        }
        let kept = match cache.keeps_nothing() {
            true => Kept::Own([key.values(), value.values()], exact.as_deref()),
            false => Kept::In(cache),
        };
        let mut out = Activation::of_any_values(query.tokens(), query_features);
        let rows = out.values_mut();
        self.attend_sequences(rows, query.values(), kept, &attention, batch);
        cache.forget_old(attention.layer, batch);
        self.input_of(out, batch, input)
    }

    fn gate(
        &self,
        [gate, up]: [Activation; 2],
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        let features = gate.features();
        self.as_input_of(gate, input, batch, |first, gate| {
            let up = &up.values()[first * features..][..gate.len()];
            ops::gate(gate, up, function, self.dtype);
        })
    }

    fn activate(
        &self,
        x: Activation,
        function: ActivationFunction,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        self.as_input_of(x, input, batch, |_, x| {
            ops::activate(x, function, self.dtype);
        })
    }

    fn map(&self, mut x: Activation, map: Map) -> Result<Activation, LlamaError> {
        by_rows(&mut x, |_, x| ops::map(x, map, self.dtype));
        Ok(x)
    }

    fn add(&self, mut x: Activation, residual: &Activation) -> Result<Activation, LlamaError> {
        let features = x.features();
        by_rows(&mut x, |first, x| {
            ops::add(x, &residual.values()[first * features..], self.dtype);
        });
        Ok(x)
    }

    fn add_bias(&self, mut x: Activation, bias: &Vec<f32>) -> Result<Activation, LlamaError> {
        by_rows(&mut x, |_, x| {
            ops::add_bias(x, bias);
            narrow(x, self.dtype);
        });
        Ok(x)
    }

    fn route(&self, scores: &Activation, routing: Routing) -> Result<Vec<Chosen>, LlamaError> {
        let experts = scores.features();
        Ok(ops::route(scores.values(), experts, routing, self.dtype))
    }

    fn mix(
        &self,
        tokens: usize,
        outputs: Vec<(Chosen, Activation)>,
    ) -> Result<Activation, LlamaError> {
        let (_, first) = outputs.first().ok_or(LlamaError::Layout)?;
        let features = first.features();
        let mut sum = Activation::of_any_values(tokens, features);
        sum.values_mut().fill(0.0);
        for (chosen, x) in &outputs {
            ops::add_chosen(sum.values_mut(), chosen, x.values(), features, self.dtype);
        }
        Ok(sum)
    }

    fn watch(&self, x: &Activation, what: impl FnOnce() -> String) -> Result<(), LlamaError> {
        match self.watches {
            true => check_finite(x.values(), x.features(), what),
            false => Ok(()),
        }
    }

    fn select(&self, x: &Activation, rows: &[u32]) -> Result<Activation, LlamaError> {
        Ok(x.select(rows))
    }
}

/// Calls `operation(first row, rows)` for runs of rows, in parallel.
fn by_rows(x: &mut Activation, operation: impl Fn(usize, &mut [f32]) + Sync) {
    let task = ROWS_PER_TASK * x.features();
    x.values_mut()
        .par_chunks_mut(task)
        .enumerate()
        .for_each(|(index, rows)| operation(index * ROWS_PER_TASK, rows));
}

impl Cpu {
    fn input_of(
        &self,
        x: Activation,
        batch: &Batch,
        input: &Input,
    ) -> Result<Activation, LlamaError> {
        match input.is_as_it_is() {
            true => Ok(x),
            false => self.as_input_of(x, input, batch, |_, _| {}),
        }
    }

    /// `operation(first row, rows)` on runs of rows in parallel, and their results as the input of
    /// a projection.
    fn as_input_of(
        &self,
        mut x: Activation,
        input: &Input,
        batch: &Batch,
        operation: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Activation, LlamaError> {
        let features = x.features();
        if let Some(coding) = Coding::new(self, input, batch)? {
            return Ok(coding.of_rows(x.values_mut(), features, ROWS_PER_TASK, operation));
        }
        let rounding = Rounding::new(self, input, [features, features], batch)?;
        by_rows(&mut x, |first, rows| {
            operation(first, rows);
            rounding.apply(first, rows);
        });
        Ok(x)
    }

    /// `x weight^T`, not yet rounded: of integers where both are codes of integers. Other sums have
    /// the order of the path, for packed and dense weights.
    fn product(&self, x: &Activation, weight: &Matrix) -> Result<Activation, LlamaError> {
        if let Some(observer) = &self.observer {
            observer.product(x, weight);
        }
        let tokens = x.tokens();
        let mut product = Activation::of_any_values(tokens, weight.rows());
        let out = product.values_mut();
        if let Some(codes) = x.codes()
            && let Matrix::Packed(panels) | Matrix::PackedLookup(_, panels) = weight
            && let Ok(weights) = panels.block_format()
            && IntegerPair::new(codes.format(), weights).is_some()
        {
            let matmul = IntegerMatmul::new(panels).with_path(self.integer_path);
            matmul.multiply(codes, out)?;
            return Ok(product);
        }
        let x = x.values();
        match weight {
            Matrix::Dense(view) => match self.bf16_rows(view, tokens) {
                Some(rows) => {
                    let rows = Bf16Rows::new(rows, weight.cols())?;
                    Matmul::new(rows).with_path(self.path).multiply(x, out)?
                }
                None => self.panels(out, x, tokens, weight),
            },
            Matrix::Packed(panels) | Matrix::PackedLookup(_, panels) => {
                let matmul = Matmul::new(&**panels).rounded_to(self.dtype);
                matmul.with_path(self.path).multiply(x, out)?;
            }
        }
        Ok(product)
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
        let mut panel = Buffer::of_any_values(panel_rows * inputs);
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
