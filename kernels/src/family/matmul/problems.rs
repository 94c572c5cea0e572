//! The matmul kernels as entries.
//!
//! Sizes of a problem: rows and cols of W, tokens, src_stride and dst_stride in elements, parts
//! that the chunks are split into, in_place = 1 where the residual is y itself. Tensors: codes,
//! scales and tensor_scale of W as they lie in a packed tensor, or weights in bf16; src; bias and
//! residual, if there are any. For SwiGLU these are of gate, and up_codes, up_scales and so on are
//! of up. For operands of 8 bits also src_scales_stride, and src_scales and src_factor, which
//! belong to src.

use super::{MatmulOutput, MatmulVariant, draw, expected, operands, shaped};
use crate::format::{BlockFormat, PackedTensor};
use crate::fragment::{FragmentTensor, TILE, WeightFormat};
use crate::registry::{
    Entry, EntryError, Expected, Grid, Place, Problem, ProblemError, Sampled, Shape,
};
use rand_chacha::ChaCha8Rng;

/// A matrix of W, by what its tensors begin with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix(&'static str);

impl Matrix {
    /// The name of one of its tensors.
    pub(super) fn name(self, tensor: &str) -> String {
        format!("{}{tensor}", self.0)
    }
}

/// Sizes of a problem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) tokens: usize,
    pub(super) src_stride: usize,
    pub(super) dst_stride: usize,
    pub(super) is_in_place: bool,
    pub(super) parts: usize,
}

impl Sizes {
    pub(super) fn of(problem: &Problem) -> Result<Self, ProblemError> {
        Ok(Self {
            rows: problem.size("rows")?,
            cols: problem.size("cols")?,
            tokens: problem.size("tokens")?,
            src_stride: problem.size("src_stride")?,
            dst_stride: problem.size("dst_stride")?,
            is_in_place: problem.size("in_place")? != 0,
            parts: problem.size("parts")?,
        })
    }

    /// Elements of y's buffer.
    pub(super) const fn dst_len(&self) -> usize {
        (self.tokens - 1) * self.dst_stride + self.rows
    }
}

impl MatmulVariant {
    /// The format of the weights; `None` if they are bf16.
    pub(super) fn format(&self) -> Option<BlockFormat> {
        match self.weights() {
            WeightFormat::Dense => None,
            WeightFormat::Packed(fragments) => {
                let format = BlockFormat::new(fragments.element())
                    .scale(fragments.scale())
                    .tensor_scale(fragments.has_tensor_scale())
                    .block_size(fragments.block_size())
                    .build();
                Some(format.expect("a fragment format is that of a block format"))
            }
        }
    }

    /// Tokens of a shape: its own, or as many as a thread block has.
    pub(super) fn tokens_of(&self, shape: Shape) -> usize {
        shape.tokens.unwrap_or(self.regime().tokens() as usize)
    }

    /// The matrices that W is of.
    pub(super) const fn matrices(&self) -> &'static [Matrix] {
        match self.output() {
            MatmulOutput::Bf16 | MatmulOutput::F32 => &[Matrix("")],
            MatmulOutput::Swiglu => &[Matrix(""), Matrix("up_")],
        }
    }

    /// Checks that matrices which share W have whole tiles.
    pub(super) fn check_rows(&self, rows: usize) -> Result<(), ProblemError> {
        match self.matrices().len() {
            1 => Ok(()),
            _ if rows.is_multiple_of(TILE) => Ok(()),
            _ => Err(ProblemError::Unfit {
                name: "rows".to_owned(),
                reason: format!("it is {rows}; expected a multiple of {TILE}"),
            }),
        }
    }

    /// A matrix as a packed tensor; `None` if it is bf16.
    pub(super) fn packed(
        &self,
        matrix: Matrix,
        sizes: &Sizes,
        problem: &Problem,
    ) -> Result<Option<PackedTensor>, EntryError> {
        let Some(format) = self.format() else {
            return Ok(None);
        };
        let tensor_scale = match format.has_tensor_scale() {
            true => problem.tensor(&matrix.name("tensor_scale"))?.values()[0],
            false => 1.0,
        };
        Ok(Some(PackedTensor::new(
            format,
            sizes.rows,
            sizes.cols,
            problem.tensor(&matrix.name("codes"))?.to_bytes(),
            problem.tensor(&matrix.name("scales"))?.to_bytes(),
            tensor_scale,
        )?))
    }

    /// A matrix in fragment order.
    pub(super) fn fragments(
        &self,
        matrix: Matrix,
        sizes: &Sizes,
        problem: &Problem,
    ) -> Result<FragmentTensor, EntryError> {
        match self.packed(matrix, sizes, problem)? {
            Some(packed) => Ok(FragmentTensor::of_operand(
                &packed,
                self.weights().operand(),
            )?),
            None => {
                let bits = problem.tensor(&matrix.name("weights"))?.bits.iter();
                let bits: Vec<u16> = bits.map(|&bits| bits as u16).collect();
                Ok(FragmentTensor::dense(&bits, sizes.rows, sizes.cols))
            }
        }
    }
}

impl Entry for MatmulVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        draw::problem(self, rng, elements)
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        shaped::problem_of(self, rng, shape, thread_blocks)
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        let matrices = self.matrices().len() as u64;
        (matrices * size("rows")).saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        expected::expected(self, problem)
    }

    /// Tokens and rows of W.
    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        let sizes = Sizes::of(problem)?;
        let rows = Self::block_rows(self) as usize / self.matrices().len();
        Ok(Some(Grid {
            size: [sizes.tokens, sizes.rows],
            block: [self.regime().tokens() as usize, rows],
            outputs: 1,
        }))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        expected::expected_at(self, problem, places)
    }

    fn lower(&self, problem: &Problem) -> Result<Problem, EntryError> {
        operands::of(self, problem)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        draw::smaller(self, problem)
    }
}
