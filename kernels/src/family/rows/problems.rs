//! Problems of the row kernels, and their expected outputs.

use super::draw::{Spread, draw, matrix, scale_on_edge};
use super::{RowOperation, RowVariant, part};
use crate::family::macros::rotated::RotatedBlocks;
use crate::format::{BlockFormat, FloatType, Rounding};
use crate::fragment::CHUNK;
use crate::kernel::{Kernel, rows_alone};
use crate::reference::{self, Part, dequantize, quantize_part, tensor_scale};
use crate::registry::{
    ElementType, Entry, EntryError, Expected, Grid, Place, Problem, Sampled, Shape, Tensor,
    UNTOUCHED, exactly,
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

impl RowVariant {
    /// Adds the stride of the other matrix, if there is one.
    fn add_stride(&self, problem: &mut Problem, stride: usize) {
        if let Some([_, name]) = self.operation().parts().second {
            problem.sizes.insert(name.to_owned(), stride as u64);
        }
    }

    /// A row before it is quantised.
    fn row(&self, problem: &Problem, row: usize, cols: usize) -> Result<Vec<f32>, EntryError> {
        let matrix = |name: &str, stride: &str| -> Result<Vec<f32>, EntryError> {
            let first = row * problem.size(stride)?;
            Ok(problem.part(name, first..first + cols)?.values())
        };
        let vector = |name: &str| -> Result<Vec<f32>, EntryError> {
            Ok(problem.part(name, 0..cols)?.values())
        };
        let number =
            |name: &str| -> Result<f32, EntryError> { Ok(problem.tensor(name)?.values()[0]) };
        let x = matrix("src", "src_stride")?;
        let second = self.operation().parts().second;
        let second = second.map(|[name, stride]| matrix(name, stride));
        let second = second.transpose()?.unwrap_or_default();
        Ok(match self.operation() {
            RowOperation::Norm => reference::norm(&x, &vector("gain")?, number("eps")?),
            RowOperation::NormOnce => {
                let (gain, offset) = (vector("gain")?, number("offset")?);
                reference::norm_once(&x, &gain, offset, number("eps")?)
            }
            RowOperation::LayerNorm => {
                let (gain, bias) = (vector("gain")?, vector("bias")?);
                reference::layer_norm(&x, &gain, &bias, number("eps")?)
            }
            RowOperation::NormAdd => {
                let (gain, offset) = (vector("gain")?, number("offset")?);
                let normed = reference::norm_once(&x, &gain, offset, number("eps")?);
                reference::add(&second, &normed)
            }
            RowOperation::Swiglu => reference::swiglu(&x, &second),
            RowOperation::Geglu => reference::geglu(&x, &second),
            RowOperation::Gelu => reference::gelu_row(&x),
            RowOperation::Multiply => {
                reference::multiply(&x, number("factor")?, number("divisor")?)
            }
            RowOperation::MultiplyAdd => {
                reference::add(&second, &reference::multiply(&x, number("factor")?, 1.0))
            }
            RowOperation::SoftCap => reference::soft_cap(&x, number("cap")?),
            RowOperation::Copy => x,
        })
    }
}

impl Entry for RowVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let most = 2 * elements.max(1);
        let cols: usize = match rng.random_range(0..8) {
            // More than a thread block takes at once.
            0 => rng.random_range(2049..=5000),
            1 | 2 => 8 * rng.random_range(1..=80),
            _ => rng.random_range(1..=most.min(700)),
        };
        let cols = cols.next_multiple_of(self.rotation.map_or(1, RotatedBlocks::size));
        let rows = rng.random_range(1..=(most / cols).clamp(1, 20));
        let mut stride = |step| cols.next_multiple_of(step) + 8 * rng.random_range(0..3);
        let dst = stride(if self.is_packed() { CHUNK } else { 8 });
        let [src, second] = [stride(8), stride(8)];
        let dst_scales = rows + rng.random_range(0..3);
        let mut problem = Problem::new(
            [
                ("rows", rows),
                ("cols", cols),
                ("dst_stride", dst),
                ("dst_scales_stride", dst_scales),
                ("src_stride", src),
                ("seed", rng.random::<u32>() as usize),
                ("rotation_seed", rng.random::<u32>() as usize),
            ],
            [("src", draw(rng, rows, cols, src))],
        );
        self.add_stride(&mut problem, second);
        self.add_operands(rng, &mut problem, Spread::Wide);
        let position = |_| rng.random::<u32>() >> rng.random_range(12..32);
        let bits = (0..rows).map(position).collect();
        let element = ElementType::U32;
        let positions = Tensor { element, bits };
        problem.tensors.insert("positions".to_owned(), positions);
        if let (Some(rotation), RowOperation::Copy, true) =
            (self.rotation, self.operation(), rng.random())
        {
            rotation.on_edge(rng, &mut problem, cols);
        }
        if self.operation().is_norm() && rng.random() {
            let centers = self.operation() == RowOperation::LayerNorm;
            scale_on_edge(rng, &mut problem, cols, |x| match centers {
                true => reference::moments(x),
                false => (0.0, reference::sum_of_squares(x)),
            });
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
        let src = matrix(rng, Spread::Typical, [rows, cols], stride);
        let mut problem = Problem::new(
            [
                ("rows", rows),
                ("cols", cols),
                ("dst_stride", cols.next_multiple_of(CHUNK)),
                ("dst_scales_stride", rows),
                ("src_stride", stride),
                ("seed", seed),
                ("rotation_seed", rng.random::<u32>() as usize),
            ],
            [("src", src)],
        );
        self.add_stride(&mut problem, stride);
        self.add_operands(rng, &mut problem, Spread::Typical);
        let bits = (0..rows as u32).collect();
        let element = ElementType::U32;
        let positions = Tensor { element, bits };
        problem.tensors.insert("positions".to_owned(), positions);
        Ok(problem)
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let dst_stride = problem.size("dst_stride")?;
        let (element, dst_len) = self.dst(rows, cols, dst_stride);
        let mut dst = Tensor::from_bytes(element, &vec![UNTOUCHED; dst_len])?;
        let scales_stride = problem.size("dst_scales_stride")?;
        let untouched = vec![UNTOUCHED; self.scale_bytes(rows, cols, scales_stride)];
        let mut scales = Tensor::from_bytes(ElementType::F32, &untouched)?;
        let format = self.seeded_format(problem.size("seed")? as u32);
        let rotation = match self.rotation {
            Some(rotation) => {
                let seed = problem.size("rotation_seed")? as u32;
                Some(rotation.of_rows(seed, cols)?)
            }
            None => None,
        };
        for index in 0..rows {
            let mut y = self.row(problem, index, cols)?;
            if let Some(rotation) = &rotation {
                reference::hadamard(&mut y, rotation, FloatType::Bf16);
            }
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
