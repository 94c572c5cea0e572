//! Operands and launch geometry of the block kernels.

use super::{Addressing, BlockOperation, BlockVariant, Context};
use crate::family::macros::render_kernel;
use crate::kernel::{ElementType, Kernel, KernelId, Shape, Signature, rows, size};

/// The most thread blocks of `tensor_scale`, which walks over its tensor: about as many as the
/// largest chips hold at once. The size `max_blocks` of a launch may be less.
pub const MAX_BLOCKS: usize = 1024;

/// Rows and columns at most: kernels subtract them as signed numbers.
const MAX_SIZE: usize = i32::MAX as usize;

impl Kernel for BlockVariant {
    /// `<operation>_<element>_<scale>_..._<type>_k<k>_<addressing>__sm<cc>`.
    fn id(&self) -> KernelId {
        let (operation, addressing) = (self.operation().name(), self.addressing().name());
        KernelId::new([operation, &self.words(), addressing], self.target())
    }

    fn family(&self) -> &'static str {
        Self::operation(self).name()
    }

    /// Its operands. Codes and scales lie as in [`crate::format::PackedTensor`]; `dst` may be
    /// `src`. `tensor_scale` is what [`crate::reference::tensor_scale`] defines. The two words of
    /// `workspace` must be zero before the first launch and are zero after each; launches that run
    /// at the same time need a workspace each. `first_row` is the position of the first row in the
    /// whole tensor; with `seed` it chooses the random numbers of stochastic rounding.
    fn signature(&self) -> Signature {
        let (format, threads) = (self.format(), self.block_threads());
        let k = format.block_size();
        let blocks = size("rows") * size("cols").div_ceil(k);
        let chunks = blocks.clone() * self.lanes_per_block() as usize;
        let is_stepping = self.operation() == BlockOperation::TensorScale;
        let grid = chunks.clone().div_ceil(threads as usize);
        let grid = match is_stepping {
            true => grid.min(size("max_blocks")),
            false => grid,
        };
        // With those of the last thread block that have no chunk.
        let signature = Signature::new(self.id(), threads, [grid, 1.into(), 1.into()])
            .numbers(chunks + threads as usize);
        let signature = match is_stepping {
            true => signature.bounded("max_blocks", 1.into(), Some(MAX_BLOCKS), 1),
            false => signature,
        };

        let dense = ElementType::from(self.dense());
        let is_aligned = self.addressing() == Addressing::Aligned;
        let matrix = |stride| match is_aligned {
            true => (size("rows") * size("cols"), 16),
            false => (
                rows(size("rows"), size(stride), size("cols")),
                dense.bytes(),
            ),
        };
        let src = |signature: Signature| {
            let (extent, alignment) = matrix("src_stride");
            signature.input("src", dense, extent).aligned(alignment)
        };
        let dst = |signature: Signature| {
            let (extent, alignment) = matrix("dst_stride");
            signature.output("dst", dense, extent).aligned(alignment)
        };
        let (byte, word) = (ElementType::U8, ElementType::U32);
        let (scale, float) = (self.scale_element(), ElementType::F32);
        let bits = format.element().bits() as usize;
        let codes = size("rows") * (size("cols") * bits).div_ceil(8);
        let code_alignment = if is_aligned { 8 } else { 1 };
        let signature = match self.operation() {
            BlockOperation::TensorScale => src(signature
                .output("tensor_scale", float, 1.into())
                .in_out("workspace", word, 2.into())),
            BlockOperation::Scale => src(signature.output("scales", scale, blocks)),
            BlockOperation::Round => {
                let codes = signature.output("codes", byte, codes);
                src(codes.aligned(code_alignment)).input("scales", scale, blocks)
            }
            BlockOperation::Quantize => {
                let codes = signature.output("codes", byte, codes);
                let codes = codes.aligned(code_alignment);
                src(codes.output("scales", scale, blocks))
            }
            BlockOperation::Dequantize => {
                let codes = dst(signature).input("codes", byte, codes);
                let codes = codes.aligned(code_alignment);
                codes.input("scales", scale, blocks)
            }
            BlockOperation::FakeQuantize => src(dst(signature)).may_be("dst"),
        };
        let signature = match self.reads_tensor_scale() {
            true => signature.input("tensor_scale", float, 1.into()),
            false => signature,
        };
        let step = if is_aligned { k } else { 1 };
        let signature = signature
            .size("rows")
            .bounded("rows", 0.into(), Some(MAX_SIZE), 1)
            .size("cols")
            .bounded("cols", 0.into(), Some(MAX_SIZE), step);
        let stride = |signature: Signature, name| match is_aligned {
            true => signature.size(name).exactly(name, size("cols")),
            false => signature.stride(name, size("cols"), 1),
        };
        let signature = match self.writes_dense() {
            true => stride(signature, "dst_stride"),
            false => signature,
        };
        let signature = match self.reads_dense() {
            true => stride(signature, "src_stride"),
            false => signature,
        };
        match self.is_random() {
            true => signature.size("first_row").size("seed"),
            false => signature,
        }
    }

    fn ptx(&self) -> String {
        let name = format!("block/{}.ptx.j2", self.operation().name());
        render_kernel(&name, &self.signature(), &Context::new(self))
    }

    fn elements_per_thread(&self) -> u32 {
        self.format().block_size() as u32 / self.lanes_per_block()
    }

    fn bytes(&self, shape: Shape) -> u64 {
        let Shape { rows, cols, .. } = shape;
        let (format, dense) = (self.format(), (rows * cols * self.dense().bytes()) as u64);
        let (codes, scales) = format.packed_bytes(rows, cols);
        let (codes, scales) = (codes as u64, scales as u64);
        match Self::operation(self) {
            BlockOperation::TensorScale => dense + 4,
            BlockOperation::Scale => dense + scales,
            BlockOperation::Round | BlockOperation::Quantize | BlockOperation::Dequantize => {
                dense + codes + scales
            }
            BlockOperation::FakeQuantize => 2 * dense,
        }
    }
}
