//! The block operations as entries: tensor_scale, scale, round, quantize, dequantize,
//! fake_quantize.
//!
//! Sizes of a problem: rows, cols, src_stride and dst_stride in elements, src_offset and dst_offset
//! in elements and codes_offset in bytes from the start of the buffer, first_row, seed, max_blocks
//! of tensor_scale or 0, and in_place = 1 where dst is src. Tensors: src or codes, scales where
//! they are read, tensor_scale.

use super::sizes::Sizes;
use super::{BlockOperation, BlockVariant, cut, draw, operands, part, shaped};
use crate::format::{BlockFormat, FloatType, FormatError, PackedTensor, Rounding};
use crate::kernel::Kernel;
use crate::reference::{Part, dequantize, quantize_part, round_part, tensor_scale};
use crate::registry::{
    ElementType, Entry, EntryError, Expected, Grid, Outputs, Place, Problem, ProblemError, Sampled,
    Shape, Tensor, UNTOUCHED, exactly,
};
use rand_chacha::ChaCha8Rng;

impl BlockVariant {
    /// The format under the problem's seed.
    pub(super) fn seeded_format(&self, seed: u32) -> Result<BlockFormat, FormatError> {
        match self.format().rounding() {
            Rounding::Stochastic { .. } => {
                let rounding = Rounding::Stochastic { seed };
                self.format().to_builder().rounding(rounding).build()
            }
            _ => Ok(*self.format()),
        }
    }

    pub(super) fn reads_dense(&self) -> bool {
        self.operation() != BlockOperation::Dequantize
    }

    pub(super) fn writes_dense(&self) -> bool {
        matches!(
            self.operation(),
            BlockOperation::Dequantize | BlockOperation::FakeQuantize
        )
    }

    pub(super) fn writes_codes(&self) -> bool {
        matches!(
            self.operation(),
            BlockOperation::Round | BlockOperation::Quantize
        )
    }

    /// The elements that are read.
    pub(super) fn source(
        &self,
        sizes: &Sizes,
        problem: &Problem,
    ) -> Result<Vec<f32>, ProblemError> {
        let buffer = problem.tensor("src")?.values();
        let at = |i| buffer.get(i).copied();
        let x: Option<Vec<f32>> = sizes.positions(sizes.src).map(at).collect();
        x.ok_or_else(|| ProblemError::Unfit {
            name: "src".to_owned(),
            reason: format!("{} elements are too few", buffer.len()),
        })
    }

    /// The problem's packed tensor, or its dense tensor quantised by the reference.
    pub(super) fn packed(
        &self,
        sizes: &Sizes,
        problem: &Problem,
    ) -> Result<PackedTensor, EntryError> {
        let format = self.seeded_format(sizes.seed)?;
        let tensor_scale = match problem.tensor("tensor_scale") {
            Ok(tensor) => tensor.values().first().copied().unwrap_or(1.0),
            Err(_) => 1.0,
        };
        let (rows, cols) = (sizes.rows, sizes.cols);
        if self.operation() == BlockOperation::Dequantize {
            let codes = problem.tensor("codes")?.to_bytes();
            let scales = problem.tensor("scales")?.to_bytes();
            return Ok(PackedTensor::new(
                format,
                rows,
                cols,
                codes,
                scales,
                tensor_scale,
            )?);
        }
        let x = self.source(sizes, problem)?;
        let part = Part {
            rows,
            cols,
            first_row: sizes.first_row,
            tensor_scale,
            source: self.dense(),
        };
        if self.operation() == BlockOperation::Round {
            let scales = problem.tensor("scales")?.to_bytes();
            let codes = round_part(&x, &scales, part, &format)?;
            return Ok(PackedTensor::new(
                format,
                rows,
                cols,
                codes,
                scales,
                tensor_scale,
            )?);
        }
        Ok(quantize_part(&x, part, &format)?)
    }
}

impl Entry for BlockVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        draw::problem(self, rng, elements)
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        shaped::problem_of(self, rng, shape)
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let sizes = Sizes::of(problem)?;
        let mut outputs = Outputs::new();
        if Self::operation(self) == BlockOperation::TensorScale {
            let scale = tensor_scale(&self.source(&sizes, problem)?, self.format());
            let scale = Tensor::of_values(&[scale], FloatType::F32);
            outputs.insert("tensor_scale", scale);
            outputs.insert("workspace", operands::workspace());
            return Ok(exactly(outputs));
        }
        let packed = self.packed(&sizes, problem)?;
        if self.writes_codes() {
            let mut bytes = vec![UNTOUCHED; sizes.codes_offset];
            bytes.extend_from_slice(packed.codes());
            outputs.insert("codes", Tensor::of_bytes(&bytes));
        }
        if self.operation().stores_scales() {
            let element = self.scale_element();
            outputs.insert("scales", Tensor::from_bytes(element, packed.scales())?);
        }
        if self.writes_dense() {
            let element = ElementType::from(self.dense());
            let mut dst = match sizes.is_in_place {
                true => problem.tensor("src")?.clone(),
                false => {
                    let bytes = vec![UNTOUCHED; sizes.len(sizes.dst) * element.bytes()];
                    Tensor::from_bytes(element, &bytes)?
                }
            };
            for (position, value) in sizes.positions(sizes.dst).zip(dequantize(&packed)) {
                let bits = dst.bits.get_mut(position);
                *bits.ok_or_else(|| ProblemError::Unfit {
                    name: "in_place".to_owned(),
                    reason: "src is too short for the rows of dst".to_owned(),
                })? = self.dense().to_bits(value);
            }
            outputs.insert("dst", dst);
        }
        Ok(exactly(outputs))
    }

    /// Rows; the scale of a tensor depends on all of it.
    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        let sizes = Sizes::of(problem)?;
        let elements = Self::block_threads(self) * self.elements_per_thread();
        let grid = Grid::of_rows(sizes.rows, sizes.cols, elements as usize);
        Ok((Self::operation(self) != BlockOperation::TensorScale).then_some(grid))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        match Self::operation(self) {
            BlockOperation::TensorScale => Ok(Sampled::whole(self.reference(problem)?)),
            _ => part::reference_at(self, problem, places),
        }
    }

    fn lower(&self, problem: &Problem) -> Result<Problem, EntryError> {
        operands::lower(self, problem)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        cut::smaller(self, problem)
    }
}

impl BlockVariant {
    pub(super) fn scale_element(&self) -> ElementType {
        self.format().scale().into()
    }
}
