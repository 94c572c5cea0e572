//! Operands, launch geometry, text and cost of the products.

use super::{MatmulOutput, MatmulVariant, context};
use crate::family::macros::render_kernel;
use crate::fragment::{CHUNK, OperandType, TILE, WeightFormat};
use crate::kernel::{ElementType, Kernel, KernelId, Shape, Signature, rows, size};

/// Bytes of shared memory that a thread block can have, by compute capability: CUDA C++ Programming
/// Guide, Technical Specifications per Compute Capability.
const fn max_shared(sm: u32) -> u32 {
    match sm {
        80 | 87 => 163 << 10,
        90..=110 => 227 << 10,
        _ => 99 << 10,
    }
}

impl Kernel for MatmulVariant {
    /// `matmul_<regime>_<element>_<scale>_k<k>[_<operand>]_<output>__sm<cc>`; operands are bf16
    /// where there are none.
    fn id(&self) -> KernelId {
        let weights = match &self.weights {
            WeightFormat::Dense => "bf16".to_owned(),
            WeightFormat::Packed(format) => {
                let (element, scale) = (format.element(), format.scale());
                let tensor = match format.has_tensor_scale() {
                    true => "_tensor",
                    false => "",
                };
                let k = format.block_size();
                match format.operand() {
                    OperandType::Bf16 => format!("{element}_{scale}{tensor}_k{k}"),
                    operand => format!("{element}_{scale}{tensor}_k{k}_{operand}"),
                }
            }
        };
        let words = ["matmul", self.regime.name(), &weights, self.output.name()];
        KernelId::new(words, self.target())
    }

    fn family(&self) -> &'static str {
        "matmul"
    }

    fn signature(&self) -> Signature {
        let (regime, output) = (self.regime, self.output);
        let tiles = size("rows").div_ceil(TILE);
        let chunks = size("cols").div_ceil(CHUNK);
        let padded_cols = size("cols").next_multiple_of(CHUNK);
        let features = match output.rows_of_feature() {
            1 => size("rows"),
            n => size("rows").div_ceil(n),
        };
        let y = rows(size("tokens"), size("dst_stride"), features.clone());
        let blocks = size("rows").div_ceil(self.block_rows() as usize);
        let group = regime.tokens() as usize;
        let groups = size("tokens").div_ceil(group);
        let whole_groups = size("tokens").next_multiple_of(group);
        // Tokens that do not exist are read too where they come through shared memory.
        let (read_tokens, parts) = match regime.splits() {
            true => (whole_groups.clone(), size("parts")),
            false => (size("tokens"), 1.into()),
        };
        let (source, step) = match self.weights.operand() {
            OperandType::Bf16 => (ElementType::Bf16, 8),
            OperandType::E4m3 | OperandType::S8 => (ElementType::U8, 16),
        };
        let scaled = match &self.weights {
            WeightFormat::Packed(format) if source == ElementType::U8 => Some(format),
            _ => None,
        };

        let grid = [blocks.clone(), groups.clone(), parts];
        let codes = tiles.clone() * chunks.clone() * self.weights.chunk_bytes();
        let mut signature = Signature::new(self.id(), self.block_threads(), grid)
            .dynamic_shared(self.shared_bytes())
            .output("dst", output.float_type().into(), y.clone())
            .input("codes", ElementType::U8, codes)
            .aligned(16);
        signature = match &self.weights {
            WeightFormat::Dense => signature.null("scales"),
            WeightFormat::Packed(format) => {
                let slots = tiles.clone() * size("cols").div_ceil(format.slot());
                signature
                    .input("scales", ElementType::U8, slots * format.slot_bytes())
                    .aligned(16)
            }
        };
        let src = rows(read_tokens, size("src_stride"), padded_cols.clone());
        signature = signature.input("src", source, src).aligned(16);
        if let Some(format) = scaled {
            // Lanes have those of two tokens, there or not.
            let blocks = padded_cols.clone().div_ceil(format.block_size());
            let scales = rows(blocks, size("src_scales_stride"), whole_groups.clone());
            signature = signature
                .input("src_scales", ElementType::F32, scales)
                .aligned(16);
        }
        signature = signature
            .input("alphas", ElementType::F32, tiles)
            .input("bias", ElementType::Bf16, size("rows"))
            .optional();
        if output.takes_residual() {
            signature = signature
                .input("residual", ElementType::Bf16, y)
                .optional()
                .may_be("dst");
        }
        if regime.splits() {
            let sums = blocks.clone() * groups.clone() * size("parts") * (self.sums_bytes() / 4);
            signature = signature
                .scratch("workspace", ElementType::F32, sums)
                .aligned(16)
                .shared_by("parts")
                .in_out("arrivals", ElementType::U32, blocks * groups)
                .shared_by("parts");
        }
        if scaled.is_some() {
            signature = signature.number("src_factor", f32::MIN_POSITIVE..=f32::MAX);
        }
        signature = signature
            .size("rows")
            .derived("chunks", chunks.clone())
            .size("tokens")
            .stride("src_stride", padded_cols, step);
        if scaled.is_some() {
            signature = signature.stride("src_scales_stride", whole_groups, 4);
        }
        signature = signature.stride("dst_stride", features, 1);
        if output == MatmulOutput::Swiglu {
            // Whole tiles of gate and of up.
            signature = signature.bounded("rows", 0.into(), None, 2 * TILE);
        }
        match regime.splits() {
            true => signature
                .derived("split_chunks", chunks.div_ceil(size("parts")))
                .bounded("parts", 1.into(), None, 1),
            false => signature.bounded("parts", 1.into(), Some(1), 1),
        }
    }

    fn ptx(&self) -> String {
        let context = context::Context::new(self);
        render_kernel(self.regime.template(), &self.signature(), &context)
    }

    fn runs_on(&self, sm: u32) -> bool {
        let multiplies = match self.weights().operand() {
            OperandType::Bf16 => true,
            // Elsewhere ptxas makes f16 of E4M3 operands, and threads have no registers for both.
            OperandType::E4m3 => sm == 89 || sm >= 120,
            // From 10.0 on integers are slow, and threads short of a few registers.
            OperandType::S8 => sm <= 90,
        };
        multiplies && self.target().takes(sm) && Self::shared_bytes(self) <= max_shared(sm)
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
}
