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
use crate::fragment::{CHUNK, FragmentTensor, OperandType, TILE, WeightFormat};
use crate::kernel::{Kernel, lowered_runner};
use crate::launch::LaunchError;
use crate::registry::{
    Entry, EntryError, Expected, Grid, Place, Problem, ProblemError, Runner, Sampled, Shape,
};
use mxlab_harness::device::Device;
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
                reason: format!("{rows} are not whole tiles of {TILE}"),
            }),
        }
    }

    /// A matrix as it lies packed; `None` if it is bf16.
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

/// Bytes of shared memory that a thread block can have, by compute capability: CUDA C++ Programming
/// Guide, Technical Specifications per Compute Capability.
const fn max_shared(sm: u32) -> u32 {
    match sm {
        80 | 87 => 163 << 10,
        90..=110 => 227 << 10,
        _ => 99 << 10,
    }
}

impl Entry for MatmulVariant {
    fn id(&self) -> String {
        Self::id(self)
    }

    fn family(&self) -> &'static str {
        "matmul"
    }

    fn min_sm(&self) -> u32 {
        Self::min_sm(self)
    }

    fn runs_on(&self, sm: u32) -> bool {
        let multiplies = match self.weights().operand() {
            OperandType::Bf16 => true,
            // Elsewhere ptxas makes f16 of E4M3 operands, and threads have no registers for both.
            OperandType::E4m3 => sm == 89 || sm >= 120,
            // From 10.0 on integers are slow, and threads short of a few registers.
            OperandType::S8 => sm <= 90,
        };
        multiplies && sm >= self.min_sm() && Self::shared_bytes(self) <= max_shared(sm)
    }

    fn ptx(&self) -> String {
        self.text()
    }

    fn block_threads(&self) -> u32 {
        Self::block_threads(self)
    }

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

    fn load(&self, device: &Device, ptx: &str) -> Result<Box<dyn Runner>, LaunchError> {
        let variant = *self;
        lowered_runner(device, self.signature(), ptx, move |problem| {
            operands::of(&variant, problem)
        })
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        draw::smaller(self, problem)
    }

    /// Weights, x and y once each.
    fn bytes(&self, shape: Shape) -> u64 {
        let Shape { rows, cols, .. } = shape;
        let matrices = self.matrices().len();
        let (codes, scales) = self.weights().bytes(matrices * rows, cols);
        let tokens = self.tokens_of(shape);
        let x = cols * self.weights().operand().bits() as usize / 8
            + 4 * self.source_blocks(cols.div_ceil(CHUNK));
        (codes + scales + tokens * (x + self.output().float_type().bytes() * rows)) as u64
    }

    fn operations(&self, shape: Shape) -> u64 {
        let matrices = self.matrices().len();
        2 * (matrices * shape.rows * shape.cols * self.tokens_of(shape)) as u64
    }

    fn elements_per_pass(&self, shape: Shape) -> Option<f64> {
        let block = self.regime().shape();
        let groups = shape
            .tokens
            .map_or(1, |n| n.div_ceil(block.tokens() as usize));
        // Of a tile and chunk a lane has 32 weights, which are counted once for all matrices.
        let passes = groups * self.matrices().len();
        Some(match block.stages {
            0 => 32.0 * self.unroll() as f64 / passes as f64,
            _ => {
                let token_warps = block.warps / block.row_warps;
                32.0 * f64::from(block.row_tiles) / f64::from(token_warps) / passes as f64
            }
        })
    }

    fn shared_bytes(&self) -> u32 {
        Self::shared_bytes(self)
    }
}
