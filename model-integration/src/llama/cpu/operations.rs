//! The operations of the forward pass, parallel over rows, heads or panels.

use candle_core::{Device, Shape, Storage, Tensor};
use mxlab_kernels::cpu::Quantizer;
use mxlab_kernels::format::BlockFormat;
use rayon::prelude::*;

use super::{Cpu, Matrix};
use crate::llama::ops::{self, attention::Head, narrow};
use crate::llama::{AttentionShape, Backend, LlamaError, RopeTable};

/// Weight elements widened at a time: few enough to stay near the cores.
const PANEL: usize = 1 << 20;
/// Rows that one task of a row-wise operation takes.
const ROWS_PER_TASK: usize = 32;

impl Backend for Cpu {
    type Activation = Tensor;
    type Matrix = Matrix;
    type Vector = Vec<f32>;
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

    fn rms_norm(&self, x: &Tensor, gain: &Vec<f32>, eps: f64) -> Result<Tensor, LlamaError> {
        self.by_rows(x, gain.len(), |_, out, x| {
            ops::rms_norm(out, x, gain, eps, self.dtype);
        })
    }

    fn quantize_features(
        &self,
        x: &Tensor,
        length: usize,
        format: &BlockFormat,
    ) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        self.quantize_rows(x, features, length, format)
    }

    fn quantize_heads(
        &self,
        x: &Tensor,
        head_dim: usize,
        length: usize,
        format: &BlockFormat,
    ) -> Result<Tensor, LlamaError> {
        self.quantize_rows(x, head_dim, length, format)
    }

    fn linear(
        &self,
        x: &Tensor,
        weight: &Matrix,
        bias: Option<&Vec<f32>>,
    ) -> Result<Tensor, LlamaError> {
        let (tokens, inputs) = x.dims2()?;
        let outputs = weight.rows();
        let out = with_values(x, |x| {
            // A single row would take the product's own path for vectors, which adds in another
            // order; as one of two rows it gives the same bits as within any batch.
            if tokens == 1 {
                let twice = [x, x].concat();
                let mut out = self.product(&twice, 2, inputs, weight, bias);
                out.truncate(outputs);
                out
            } else {
                self.product(x, tokens, inputs, weight, bias)
            }
        })?;
        tensor(out, (tokens, outputs))
    }

    fn rope(
        &self,
        x: &Tensor,
        table: &RopeTable,
        _heads: usize,
        length: usize,
    ) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        self.by_rows(x, features, |first, out, x| {
            let tokens = out.chunks_exact_mut(features).zip(x.chunks_exact(features));
            for (token, (out, x)) in (first..).zip(tokens) {
                ops::rotate(out, x, table, token % length, self.dtype);
            }
        })
    }

    fn attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        shape: AttentionShape,
    ) -> Result<Tensor, LlamaError> {
        let head = Head {
            length: shape.length,
            head_dim: shape.head_dim,
            query_stride: shape.heads * shape.head_dim,
            key_stride: shape.kv_heads * shape.head_dim,
        };
        let group = shape.heads / shape.kv_heads;
        let dtype = self.dtype;
        let out = with_values(query, |query| {
            with_values(key, |key| {
                with_values(value, |value| {
                    let mut out = vec![0.0; query.len()];
                    let sequences = out.par_chunks_mut(shape.length * head.query_stride);
                    sequences.enumerate().for_each(|(sequence, out)| {
                        let query = &query[sequence * shape.length * head.query_stride..];
                        let keys = sequence * shape.length * head.key_stride;
                        let mut scratch = Vec::new();
                        for h in 0..shape.heads {
                            let at_query = h * shape.head_dim;
                            let at_key = keys + h / group * shape.head_dim;
                            let operands = [&query[at_query..], &key[at_key..], &value[at_key..]];
                            head.attend(&mut out[at_query..], operands, dtype, &mut scratch);
                        }
                        narrow(out, dtype);
                    });
                    out
                })
            })
        })???;
        tensor(out, query.shape())
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor, LlamaError> {
        let (_, features) = gate.dims2()?;
        with_values(up, |up| {
            self.by_rows(gate, features, |first, out, gate| {
                ops::swiglu(out, gate, &up[first * features..], self.dtype);
            })
        })?
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor, LlamaError> {
        let (_, features) = a.dims2()?;
        with_values(b, |b| {
            self.by_rows(a, features, |first, out, a| {
                ops::add(out, a, &b[first * features..], self.dtype);
            })
        })?
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
    /// `operation(first row, out, x)` for runs of rows, in parallel.
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

    /// Quantises and dequantises rows of `row` values. A row is a tensor of its own: what it
    /// becomes depends on itself and its position in the sequence (which chooses the numbers
    /// that a stochastic rounding draws), never on the batch; a tensor scale is one per row.
    fn quantize_rows(
        &self,
        x: &Tensor,
        row: usize,
        length: usize,
        format: &BlockFormat,
    ) -> Result<Tensor, LlamaError> {
        let (_, features) = x.dims2()?;
        let pieces = features / row;
        let quantizer = Quantizer::new(*format, self.dtype)?;
        self.by_rows(x, features, |first, out, x| {
            out.copy_from_slice(x);
            for (token, out) in (first..).zip(out.chunks_exact_mut(features)) {
                let first = token % length * pieces;
                if format.has_tensor_scale() {
                    for (piece, out) in out.chunks_exact_mut(row).enumerate() {
                        let quantizer = quantizer.clone().with_scale_of(out);
                        quantize_whole_rows(&quantizer, out, row, first + piece);
                    }
                } else {
                    quantize_whole_rows(&quantizer, out, row, first);
                }
            }
            narrow(out, self.dtype);
        })
    }

    /// `x weight^T + bias`, panel by panel of the weight's rows.
    fn product(
        &self,
        x: &[f32],
        tokens: usize,
        inputs: usize,
        weight: &Matrix,
        bias: Option<&Vec<f32>>,
    ) -> Vec<f32> {
        let outputs = weight.rows();
        let mut out = vec![0.0; tokens * outputs];
        let panel_rows = (PANEL / inputs).clamp(1, outputs);
        let mut panel = vec![0.0; panel_rows * inputs];
        // At least two tokens a task, see `linear`.
        let task = tokens.div_ceil(rayon::current_num_threads()).max(2);
        let task = if tokens % task == 1 { task + 1 } else { task };
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
        out.par_chunks_mut(ROWS_PER_TASK * outputs).for_each(|out| {
            if let Some(bias) = bias {
                ops::add_bias(out, bias);
            }
            narrow(out, self.dtype);
        });
        out
    }
}

/// `first` is the row's number, which seeds a stochastic rounding.
fn quantize_whole_rows(quantizer: &Quantizer, values: &mut [f32], row: usize, first: usize) {
    quantizer
        .fake_quantize_rows(values, row, first)
        .expect("head_dim divides the features");
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
