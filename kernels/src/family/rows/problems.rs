//! Problems of the row kernels, and their expected outputs.

use super::{RowOperation, RowVariant, part};
use crate::format::{BlockFormat, FloatType, Rounding};
use crate::fragment::CHUNK;
use crate::kernel::{Kernel, rows_alone};
use crate::reference::{
    Part, dequantize, norm, quantize_part, sum_of_squares, swiglu, tensor_scale,
};
use crate::registry::{
    ElementType, Entry, EntryError, Expected, Grid, Place, Problem, Sampled, Shape, Tensor,
    Typical, UNTOUCHED, exactly,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

impl RowVariant {
    /// The format under the problem's seed.
    fn seeded_format(&self, seed: u32) -> Option<BlockFormat> {
        let format = *self.format()?;
        let seeded = format.to_builder().rounding(Rounding::Stochastic { seed });
        match format.rounding() {
            Rounding::Stochastic { .. } => seeded.build().ok(),
            _ => Some(format),
        }
    }
}

/// Elements of a matrix whose rows are padded to whole chunks.
pub(super) fn len(rows: usize, cols: usize, stride: usize) -> usize {
    (rows - 1) * stride + cols.next_multiple_of(8)
}

/// A matrix of bf16 with zeros behind each row.
fn draw(rng: &mut ChaCha8Rng, rows: usize, cols: usize, stride: usize) -> Tensor {
    let mut values = vec![0.0; len(rows, cols, stride)];
    for row in values.chunks_mut(stride) {
        let spread = rng.random_range(0..6);
        for x in &mut row[..cols] {
            let exponent = match rng.random_range(0..40) {
                0 => rng.random_range(-140..127),
                _ => rng.random_range(-spread..=0),
            };
            *x = 2f32.powi(exponent) * rng.random_range(-2.0..2.0);
        }
        if rng.random_ratio(1, 16) {
            row[rng.random_range(0..cols)] =
                [f32::NAN, f32::INFINITY, -0.0][rng.random_range(0..3)];
        }
        if rng.random_ratio(1, 16) {
            row[..cols].fill(0.0);
        }
    }
    Tensor::of_values(&values, FloatType::Bf16)
}

/// Makes the first row one whose elements are 1 and less, and chooses epsilon so that 1 times the
/// scale is just on the middle between two bf16, or a unit in the last place beside: any other sum
/// of squares rounds to the other side.
fn scale_on_edge(rng: &mut ChaCha8Rng, problem: &mut Problem, cols: usize) {
    let Some(src) = problem.tensors.get_mut("src") else {
        return;
    };
    let mut x = vec![0.0; cols];
    for x in &mut x {
        let size = match rng.random_range(0..8) {
            0 => 0.0,
            1..4 => 1.0,
            // Small enough that sums are rounded.
            _ => 2f32.powi(rng.random_range(-14..0)) * rng.random_range(1.0..2.0),
        };
        *x = FloatType::Bf16.round(size) * if rng.random() { 1.0 } else { -1.0 };
    }
    for (bits, &x) in src.bits.iter_mut().zip(&x) {
        *bits = FloatType::Bf16.to_bits(x);
    }
    // 1 + 2^-8 (2 i + 1) is such a middle. Epsilons about 1 / middle^2 - mean are tried.
    let middle = 1.0 + f32::from(2 * rng.random_range(0..8u8) + 1) / 256.0;
    let sum = sum_of_squares(&x);
    let mean = sum / cols as f32;
    let scale = |eps: f32| 1.0 / (mean + eps).sqrt();
    let target = (1.0 / (f64::from(middle) * f64::from(middle))) as f32;
    if mean >= target {
        return;
    }
    let near = (target - mean).to_bits();
    let found = (near.saturating_sub(64)..near + 64)
        .map(f32::from_bits)
        .find(|&eps| {
            scale(eps).to_bits().abs_diff(middle.to_bits()) <= 1 && rng.random_ratio(1, 3)
        });
    if let Some(eps) = found {
        let eps = Tensor::of_values(&[eps], FloatType::F32);
        problem.tensors.insert("eps".to_owned(), eps);
    }
}

impl Entry for RowVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let most = 2 * elements.max(1);
        let cols = match rng.random_range(0..8) {
            // More than a thread block takes at once.
            0 => rng.random_range(2049..=5000),
            1 | 2 => 8 * rng.random_range(1..=80),
            _ => rng.random_range(1..=most.min(700)),
        };
        let rows = rng.random_range(1..=(most / cols).clamp(1, 20));
        let mut stride = |step| cols.next_multiple_of(step) + 8 * rng.random_range(0..3);
        let dst = stride(if self.is_packed() { CHUNK } else { 8 });
        let [src, up] = [stride(8), stride(8)];
        let dst_scales = rows + rng.random_range(0..3);
        let mut problem = Problem::new(
            [
                ("rows", rows),
                ("cols", cols),
                ("dst_stride", dst),
                ("dst_scales_stride", dst_scales),
                ("src_stride", src),
                ("up_stride", up),
                ("seed", rng.random::<u32>() as usize),
            ],
            [("src", draw(rng, rows, cols, src))],
        );
        let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
        match self.operation() {
            RowOperation::Norm => {
                insert("gain", draw(rng, 1, cols, cols.next_multiple_of(8)));
                let eps = 10f32.powi(rng.random_range(-12..2));
                insert("eps", Tensor::of_values(&[eps], FloatType::F32));
            }
            RowOperation::Swiglu => {
                insert("up", draw(rng, rows, cols, up));
            }
            RowOperation::Copy => {}
        }
        let position = |_| rng.random::<u32>() >> rng.random_range(12..32);
        let bits = (0..rows).map(position).collect();
        let element = ElementType::U32;
        insert("positions", Tensor { element, bits });
        if self.operation() == RowOperation::Norm && rng.random() {
            scale_on_edge(rng, &mut problem, cols);
        }
        problem
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        let (stride, seed) = (cols.next_multiple_of(8), rng.random::<u32>() as usize);
        let mut draw = |rows| Typical::draw(rng, rows, cols).dense(FloatType::Bf16, stride);
        let mut problem = Problem::new(
            [
                ("rows", rows),
                ("cols", cols),
                ("dst_stride", cols.next_multiple_of(CHUNK)),
                ("dst_scales_stride", rows),
                ("src_stride", stride),
                ("up_stride", stride),
                ("seed", seed),
            ],
            [("src", draw(rows))],
        );
        let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
        match self.operation() {
            RowOperation::Norm => {
                insert("gain", draw(1));
                insert("eps", Tensor::of_values(&[1e-5], FloatType::F32));
            }
            RowOperation::Swiglu => {
                insert("up", draw(rows));
            }
            RowOperation::Copy => {}
        }
        let bits = (0..rows as u32).collect();
        let element = ElementType::U32;
        insert("positions", Tensor { element, bits });
        Ok(problem)
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let src = problem.tensor("src")?.values();
        let row =
            |values: &[f32], row: usize, stride: usize| values[row * stride..][..cols].to_vec();
        let dst_stride = problem.size("dst_stride")?;
        let (element, dst_len) = self.dst(rows, cols, dst_stride);
        let mut dst = Tensor::from_bytes(element, &vec![UNTOUCHED; dst_len])?;
        let scales_stride = problem.size("dst_scales_stride")?;
        let untouched = vec![UNTOUCHED; self.scale_bytes(rows, cols, scales_stride)];
        let mut scales = Tensor::from_bytes(ElementType::F32, &untouched)?;
        let format = self.seeded_format(problem.size("seed")? as u32);
        for index in 0..rows {
            let x = row(&src, index, problem.size("src_stride")?);
            let mut y = match self.operation() {
                RowOperation::Norm => {
                    let eps = problem.tensor("eps")?.values()[0];
                    norm(&x, &problem.tensor("gain")?.values()[..cols], eps)
                }
                RowOperation::Swiglu => {
                    let up = problem.tensor("up")?.values();
                    swiglu(&x, &row(&up, index, problem.size("up_stride")?))
                }
                RowOperation::Copy => x.clone(),
            };
            if let Some(format) = &format {
                let part = Part {
                    rows: 1,
                    cols,
                    first_row: problem.tensor("positions")?.bits[index] as usize,
                    tensor_scale: tensor_scale(&y, format),
                    source: FloatType::Bf16,
                };
                if self.is_packed() {
                    let row = self.pack(y, part, format)?;
                    dst.bits[index * dst_stride..][..row.operands.len()]
                        .copy_from_slice(&row.operands);
                    let blocks = scales.bits.iter_mut().skip(index).step_by(scales_stride);
                    blocks
                        .zip(row.scales)
                        .for_each(|(bits, scale)| *bits = scale);
                    continue;
                }
                y = dequantize(&quantize_part(&y, part, format)?);
            }
            y.resize(cols.next_multiple_of(8), 0.0);
            for (bits, y) in dst.bits[index * dst_stride..].iter_mut().zip(y) {
                *bits = FloatType::Bf16.to_bits(y);
            }
        }
        Ok(exactly(self.outputs(dst, scales)))
    }

    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        // A thread block has a row.
        Ok(Some(Grid::of_rows(rows, cols, 1)))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        part::reference_at(self, problem, places)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        rows_alone(&self.signature(), problem)
    }
}
