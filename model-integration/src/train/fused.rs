//! Fused differentiable operations, with one pass forward and one backward. candle's own operations
//! would build a chain of element-wise tensors instead.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use multiversion::multiversion;
use mxlab_kernels::format::FloatType;

use crate::description::kinds::ActivationFunction;
use crate::model::RopeTable;
use crate::model::ops;
use crate::model::ops::attention::{Head, Scores};

/// The contiguous `f32` values behind a tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("a fused operation takes contiguous tensors"),
    }
}

fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

fn like(data: Vec<f32>, tensor: &Tensor) -> Result<Option<Tensor>> {
    Tensor::from_vec(data, tensor.shape(), tensor.device()).map(Some)
}

/// RMS norm with gain: `y = x r g`, `r = 1 / sqrt(mean(x^2) + eps)`.
pub struct RmsNorm {
    pub eps: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values(x, x_layout)?;
        let mut y = vec![0.0; x.len()];
        let gain = values(gain, gain_layout)?;
        ops::rms_norm(&mut y, x, gain, self.eps, FloatType::F32);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    /// `dx = r (g dy) - x r^3 mean(x g dy)`, `dg = sum(x r dy)`.
    fn bwd(
        &self,
        x: &Tensor,
        gain: &Tensor,
        _: &Tensor,
        d_y: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (xs, gains, d_ys) = (to_vec(x)?, to_vec(gain)?, to_vec(d_y)?);
        let features = gains.len();
        let mut d_x = vec![0.0; xs.len()];
        let mut d_gain = vec![0.0; features];
        let rows = d_x
            .chunks_exact_mut(features)
            .zip(xs.chunks_exact(features).zip(d_ys.chunks_exact(features)));
        for (d_x, (x, d_y)) in rows {
            let r = ops::rms(x, self.eps);
            let mut dot = 0.0;
            for i in 0..features {
                dot += x[i] * gains[i] * d_y[i];
                d_gain[i] += x[i] * r * d_y[i];
            }
            let shrink = r * r * r * dot / features as f32;
            for i in 0..features {
                d_x[i] = r * gains[i] * d_y[i] - x[i] * shrink;
            }
        }
        Ok((like(d_x, x)?, like(d_gain, gain)?))
    }
}

/// Rotary position embedding; its gradient is the inverse rotation.
pub struct Rope {
    pub table: RopeTable,
    pub length: usize,
}

impl CustomOp1 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, features) = layout.shape().dims2()?;
        let mut y = values(x, layout)?.to_vec();
        for (token, y) in y.chunks_exact_mut(features).enumerate() {
            ops::rotate(y, &self.table, token % self.length, FloatType::F32);
        }
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, d_y: &Tensor) -> Result<Option<Tensor>> {
        let back = Rope {
            table: self.table.inverse(),
            length: self.length,
        };
        d_y.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}

/// Causal grouped-query attention of sequences of one length. The backward pass recomputes the
/// weights.
pub struct Attention {
    pub sequences: usize,
    /// Positions per sequence.
    pub length: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Features per head.
    pub head_dim: usize,
    /// Multiplies products of queries and keys.
    pub scale: f32,
}

impl Attention {
    fn head(&self) -> Head {
        Head {
            length: self.length,
            head_dim: self.head_dim,
            query_stride: self.heads * self.head_dim,
            key_stride: self.kv_heads * self.head_dim,
            scores: Scores {
                scale: self.scale,
                ..Scores::plain(self.head_dim)
            },
        }
    }

    /// Offsets into queries and keys for every head of every sequence.
    fn offsets(&self) -> impl Iterator<Item = (usize, usize)> {
        let (head, group) = (self.head(), self.heads / self.kv_heads);
        (0..self.sequences).flat_map(move |sequence| {
            let token = sequence * head.length;
            (0..self.heads).map(move |h| {
                (
                    token * head.query_stride + h * head.head_dim,
                    token * head.key_stride + h / group * head.head_dim,
                )
            })
        })
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (
            values(q, q_layout)?,
            values(k, k_layout)?,
            values(v, v_layout)?,
        );
        let head = self.head();
        let mut out = vec![0.0; q.len()];
        let mut weights = vec![0.0; head.length * head.length];
        for (at_q, at_k) in self.offsets() {
            head.weights(&mut weights, &q[at_q..], &k[at_k..]);
            head.mix(&mut out[at_q..], &weights, &v[at_k..]);
        }
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        d_out: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (qs, ks, vs, d_outs) = (to_vec(q)?, to_vec(k)?, to_vec(v)?, to_vec(d_out)?);
        let (mut d_q, mut d_k, mut d_v) = (
            vec![0.0; qs.len()],
            vec![0.0; ks.len()],
            vec![0.0; vs.len()],
        );
        let head = self.head();
        let mut weights = vec![0.0; head.length * head.length];
        let mut scratch = weights.clone();
        for (at_q, at_k) in self.offsets() {
            head.weights(&mut weights, &qs[at_q..], &ks[at_k..]);
            head.backward(
                &qs[at_q..],
                &ks[at_k..],
                &vs[at_k..],
                &d_outs[at_q..],
                &mut d_q[at_q..],
                &mut d_k[at_k..],
                &mut d_v[at_k..],
                &weights,
                &mut scratch,
            );
        }
        Ok((like(d_q, q)?, like(d_k, k)?, like(d_v, v)?))
    }
}

/// `silu(gate) * up`.
pub struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = values(gate, gate_layout)?.to_vec();
        let up = values(up, up_layout)?;
        ops::gate(&mut y, up, ActivationFunction::Silu, FloatType::F32);
        Ok((CpuStorage::F32(y), gate_layout.shape().clone()))
    }

    /// With `s = sigmoid(g)`: `dg = dy u s (1 + g (1 - s))`, `du = dy g s`.
    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        d_y: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut gates, mut ups, d_ys) = (to_vec(gate)?, to_vec(up)?, to_vec(d_y)?);
        swiglu_backward(&mut gates, &mut ups, &d_ys);
        Ok((like(gates, gate)?, like(ups, up)?))
    }
}

/// Replaces gates and ups by their gradients.
#[multiversion(targets = "simd")]
fn swiglu_backward(gates: &mut [f32], ups: &mut [f32], d_ys: &[f32]) {
    for ((g, u), &d) in gates.iter_mut().zip(ups).zip(d_ys) {
        let s = 1.0 / (1.0 + ops::exp(-*g));
        let d_gate = d * *u * s * (1.0 + *g * (1.0 - s));
        *u = d * *g * s;
        *g = d_gate;
    }
}

/// Weighted negative log-likelihood of one target per row, summed over the rows.
pub struct CrossEntropy {
    pub targets: Vec<u32>,
    pub weights: Vec<f32>,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = values(logits, layout)?;
        let (_, vocab) = layout.shape().dims2()?;
        let rows = logits.chunks_exact(vocab).zip(&self.targets);
        let sum: f64 = rows
            .zip(&self.weights)
            .map(|((row, &target), &weight)| {
                let (max, sum) = max_and_sum(row);
                f64::from(weight * (max + sum.ln() - row[target as usize]))
            })
            .sum();
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    /// `weight * (softmax - one_hot)` per row.
    fn bwd(&self, logits: &Tensor, _: &Tensor, d_sum: &Tensor) -> Result<Option<Tensor>> {
        let mut values = to_vec(logits)?;
        let (_, vocab) = logits.dims2()?;
        let d_sum = d_sum.to_scalar::<f32>()?;
        let rows = values.chunks_exact_mut(vocab).zip(&self.targets);
        for ((row, &target), &weight) in rows.zip(&self.weights) {
            let scale = d_sum * weight;
            scaled_softmax(row, scale);
            row[target as usize] -= scale;
        }
        like(values, logits)
    }
}

/// The largest value of a row, and the sum of `exp(x - max)`.
#[multiversion(targets = "simd")]
fn max_and_sum(row: &[f32]) -> (f32, f32) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max, row.iter().map(|x| ops::exp(x - max)).sum())
}

/// `scale * softmax(row)` in place.
#[multiversion(targets = "simd")]
fn scaled_softmax(row: &mut [f32], scale: f32) {
    let (max, sum) = max_and_sum(row);
    for x in row {
        *x = scale * (ops::exp(*x - max) / sum);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::description::RopeParameters;
    use crate::model::Reach;

    fn random(rng: &mut ChaCha8Rng, shape: (usize, usize)) -> Var {
        let values: Vec<f32> = (0..shape.0 * shape.1)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        Var::from_vec(values, shape, &Device::Cpu).expect("a tensor")
    }

    /// Compares the gradient of `sum(op(inputs) * weights)` with central differences.
    fn check(inputs: &[Var], op: impl Fn(&[Var]) -> Result<Tensor>) {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let shape = op(inputs).expect("forward").shape().clone();
        let weights: Vec<f32> = (0..shape.elem_count())
            .map(|_| rng.random_range(-1.0..1.0))
            .collect();
        let weights = Tensor::from_vec(weights, shape, &Device::Cpu).expect("a tensor");
        let loss = || -> Result<Tensor> { (op(inputs)? * &weights)?.sum_all() };
        let value = || f64::from(loss().expect("forward").to_scalar::<f32>().expect("scalar"));
        let gradients = loss().expect("forward").backward().expect("backward");
        for input in inputs {
            let analytic = to_vec(gradients.get(input).expect("a gradient")).expect("values");
            let start = to_vec(input).expect("values");
            for index in 0..start.len() {
                let at = |step: f32| {
                    let mut moved = start.clone();
                    moved[index] += step;
                    let moved = Tensor::from_vec(moved, input.shape(), &Device::Cpu);
                    input.set(&moved.expect("a tensor")).expect("same shape");
                    value()
                };
                let step = 1e-2;
                let numeric = (at(step) - at(-step)) / (2.0 * f64::from(step));
                at(0.0);
                let difference = (numeric - f64::from(analytic[index])).abs();
                assert!(
                    difference < 2e-3 * (1.0 + numeric.abs()),
                    "element {index}: {numeric} by differences, {} by the backward pass",
                    analytic[index]
                );
            }
        }
    }

    #[test]
    fn gradients_equal_finite_differences() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let x = random(&mut rng, (6, 8));
        let gain = Var::from_vec(
            vec![0.5f32, 1.0, 1.5, -1.0, 2.0, 0.3, 0.7, 1.1],
            8,
            &Device::Cpu,
        )
        .expect("a tensor");
        check(&[x.clone(), gain], |v| {
            v[0].apply_op2(&v[1], RmsNorm { eps: 1e-5 })
        });

        let parameters = RopeParameters {
            theta: 10_000.0,
            features: 4,
            scaling: None,
        };
        let table = RopeTable::new(3, 4, &parameters, 3, Reach::Trained);
        check(std::slice::from_ref(&x), |v| {
            v[0].apply_op1(Rope {
                table: table.clone(),
                length: 3,
            })
        });

        let (k, v) = (random(&mut rng, (6, 4)), random(&mut rng, (6, 4)));
        check(&[x.clone(), k, v], |v| {
            let attention = Attention {
                sequences: 2,
                length: 3,
                heads: 4,
                kv_heads: 2,
                head_dim: 2,
                scale: 0.6,
            };
            v[0].apply_op3(&v[1], &v[2], attention)
        });

        let up = random(&mut rng, (6, 8));
        check(&[x.clone(), up], |v| v[0].apply_op2(&v[1], SwiGlu));

        check(&[x], |v| {
            v[0].apply_op1(CrossEntropy {
                targets: vec![0, 7, 3, 3, 1, 2],
                weights: vec![1.0, 2.0, 1.0, 0.5, 1.0, 1.0],
            })
        });
    }
}
