//! The matmul kernels: y = x W^T, with x in bf16 or packed, and W in fragment order.

mod bytes;
mod context;
mod draw;
mod expected;
mod operands;
mod output;
mod part;
mod problems;
mod regime;
mod shaped;
mod signature;
mod split;
mod weights;

pub use output::MatmulOutput;
pub use regime::{Regime, Shape};
pub use weights::Weights;

use super::Family;
use crate::family::block::BLOCK_SIZES;
use crate::format::{BlockFormat, ElementFormat, ScaleFormat};
use crate::fragment::{CHUNK, FragmentFormat, OperandType, WeightFormat};
use crate::kernel::Kernel;
use mxlab_harness::assemble::Target;
use std::fmt;

pub(super) const FAMILY: Family = Family {
    name: "matmul",
    members: &["matmul"],
    templates: &[
        ("matmul/gemv.ptx.j2", include_str!("gemv.ptx.j2")),
        ("matmul/tile.ptx.j2", include_str!("tile.ptx.j2")),
    ],
    kernels: || Box::new(MatmulVariant::all().map(|variant| Box::new(variant) as _)),
};

/// One matmul kernel.
///
/// y [tokens, rows] = x [tokens, cols] W^T. SwiGLU gives y [tokens, rows / 2]; the rows of its W
/// alternate, 16 of gate and 16 of up. W is in the order of [`crate::fragment`]. `alphas` has a
/// factor of results for each tile of 16 rows.
///
/// Rows of x must be readable, and finite, up to a whole chunk of 64 columns. Where the regime has
/// stages, x must have readable rows up to whole groups of tokens; their contents do not matter.
/// 8-bit operands also have `src_scales`, f32 [block of k, token], finite for the blocks of whole
/// chunks, and `src_factor`, the factor of x: see [`OperandType::activation_exponent`].
///
/// `bias` has the order of the rows of W. `residual` has the layout of y and is added to the
/// rounded result. Where [`Regime::splits`], thread blocks share the chunks of a product in
/// `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatmulVariant {
    weights: WeightFormat,
    regime: Regime,
    output: MatmulOutput,
}

impl MatmulVariant {
    /// The kernel for weights of a format.
    pub const fn new(weights: WeightFormat, regime: Regime, output: MatmulOutput) -> Self {
        Self {
            weights,
            regime,
            output,
        }
    }

    /// The kernel for `tokens` tokens, on a device whose thread blocks have at most `max_shared`
    /// bytes of shared memory.
    pub fn for_tokens(
        weights: WeightFormat,
        tokens: usize,
        output: MatmulOutput,
        max_shared: u32,
    ) -> Self {
        let regime = match tokens {
            0..=8 => Regime::Gemv8,
            9..=16 => Regime::Gemv16,
            17..=64 => Regime::Tile64,
            _ if weights.operand() != OperandType::Bf16 => Regime::Tile192,
            _ => Regime::Tile128,
        };
        let large = Self::new(weights, Regime::Tile256, output);
        match tokens > 128 && large.exists() && large.shared_bytes() <= max_shared {
            true => large,
            false => Self::new(weights, regime, output),
        }
    }

    /// Whether the kernel exists. With the sums of 64 rows by 64 tokens a warp, threads have no
    /// registers left for sums before scaling; 8-bit operands have a tile of their own for prefill.
    fn exists(&self) -> bool {
        let has_bytes = self.weights.operand() != OperandType::Bf16;
        match (&self.weights, self.regime) {
            (_, Regime::Tile192) => has_bytes,
            (_, Regime::Tile128 | Regime::Tile256) if has_bytes => false,
            (WeightFormat::Packed(format), Regime::Tile256) => format.factor().is_some(),
            _ => true,
        }
    }

    /// How the weights are stored.
    pub const fn weights(&self) -> &WeightFormat {
        &self.weights
    }

    /// The number of tokens that it is for.
    pub const fn regime(&self) -> Regime {
        self.regime
    }

    /// What y is.
    pub const fn output(&self) -> MatmulOutput {
        self.output
    }

    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        32 * self.regime.shape().warps
    }

    /// Chunks that a warp loads at once in a regime without stages.
    pub const fn unroll(&self) -> usize {
        match (self.weights.row_words(), self.regime) {
            (0..=3, Regime::Gemv8) => 4,
            _ => 2,
        }
    }

    /// Bytes of dynamic shared memory.
    pub fn shared_bytes(&self) -> u32 {
        let shape = self.regime.shape();
        let tiles = shape.rows() as usize / 16;
        let slot_bytes = match &self.weights {
            WeightFormat::Dense => 0,
            WeightFormat::Packed(format) => format.slot_bytes(),
        };
        let x = shape.tokens() * CHUNK as u32 * self.weights.operand().bits() / 8;
        let stage =
            x + self.x_scale_bytes() + (tiles * (self.weights.chunk_bytes() + slot_bytes)) as u32;
        shape.stages * stage
    }

    /// Rows of W of a thread block: those of the regime, but at least a tile of gate and a tile of
    /// up.
    pub const fn block_rows(&self) -> u32 {
        match (self.regime.splits(), self.output) {
            (false, MatmulOutput::Swiglu) => 2 * self.regime.shape().rows(),
            _ => self.regime.shape().rows(),
        }
    }

    /// Thread blocks of one part, for `rows` rows of W.
    pub const fn blocks(&self, rows: usize, tokens: usize) -> usize {
        let tokens_of_block = self.regime.tokens() as usize;
        rows.div_ceil(self.block_rows() as usize) * tokens.div_ceil(tokens_of_block)
    }

    /// Blocks of x in `chunks` chunks; 0 if x is bf16.
    pub fn source_blocks(&self, chunks: usize) -> usize {
        match &self.weights {
            WeightFormat::Packed(format) if format.operand() != OperandType::Bf16 => {
                (chunks * CHUNK).div_ceil(format.block_size())
            }
            _ => 0,
        }
    }

    /// Bytes of the scales of x in a stage.
    fn x_scale_bytes(&self) -> u32 {
        4 * self.source_blocks(1) as u32 * self.regime.shape().tokens()
    }

    /// The target that it is written for.
    pub const fn target(&self) -> Target {
        match self.weights.operand() {
            OperandType::Bf16 | OperandType::S8 => Target::new(80),
            OperandType::E4m3 => Target::new(89),
        }
    }

    /// Bytes of the sums of a thread block, in the workspace of a split.
    pub const fn sums_bytes(&self) -> usize {
        let shape = self.regime.shape();
        4 * (shape.rows() * shape.tokens()) as usize
    }

    /// Every kernel of the registry: bf16 weights, and every element of four bits and more with
    /// E8M0, UE4M3 and a tensor scale, UE5M3, UE5M5, FP16, BF16 and FP32 scales, for all k, regimes
    /// and outputs; the largest regime for scales that are folded into operands. For operands of 8
    /// bits every element that has them, E4M3 with E8M0 and FP32 scales, s8 with E8M0 and FP16, for
    /// all k from 32 on.
    pub fn all() -> impl Iterator<Item = Self> {
        let ue5m5 = ScaleFormat::Unsigned {
            exponent_bits: 5,
            mantissa_bits: 5,
        };
        let scales = [
            (ScaleFormat::E8M0, false),
            (ScaleFormat::UE4M3, true),
            (ScaleFormat::UE5M3, false),
            (ue5m5, false),
            (ScaleFormat::Fp16, false),
            (ScaleFormat::Bf16, false),
            (ScaleFormat::Fp32, false),
        ];
        let elements = ElementFormat::ALL.iter();
        let packed = elements.flat_map(move |&element| {
            scales.into_iter().flat_map(move |(scale, tensor_scale)| {
                BLOCK_SIZES.into_iter().filter_map(move |k| {
                    let format = BlockFormat::new(element).scale(scale);
                    let format = format.tensor_scale(tensor_scale).block_size(k).build();
                    let fragments = FragmentFormat::new(&format.ok()?).ok()?;
                    Some(WeightFormat::Packed(fragments))
                })
            })
        });
        let weights = std::iter::once(WeightFormat::Dense).chain(packed);
        let weights = weights.chain(Self::bytes());
        weights.flat_map(|weights| {
            Regime::ALL.into_iter().flat_map(move |regime| {
                let outputs = MatmulOutput::ALL.into_iter();
                let variants = outputs.map(move |output| Self::new(weights, regime, output));
                variants.filter(Self::exists)
            })
        })
    }

    /// Scales of weights that operands of 8 bits come with in [`MatmulVariant::all`]; none for
    /// bf16, which come with all.
    pub const fn scales_of_bytes(operand: OperandType) -> &'static [ScaleFormat] {
        match operand {
            OperandType::Bf16 => &[],
            OperandType::E4m3 => &[ScaleFormat::E8M0, ScaleFormat::Fp32],
            OperandType::S8 => &[ScaleFormat::E8M0, ScaleFormat::Fp16],
        }
    }

    /// Weights for operands of 8 bits of [`MatmulVariant::all`].
    fn bytes() -> impl Iterator<Item = WeightFormat> {
        let kinds = [OperandType::E4m3, OperandType::S8].into_iter();
        let kinds = kinds.flat_map(|operand| {
            let scales = Self::scales_of_bytes(operand).iter();
            scales.map(move |&scale| (operand, scale))
        });
        kinds.flat_map(|(operand, scale)| {
            ElementFormat::ALL.iter().flat_map(move |&element| {
                BLOCK_SIZES.into_iter().filter_map(move |k| {
                    let format = BlockFormat::new(element).scale(scale).block_size(k).build();
                    let fragments = FragmentFormat::of_operand(&format.ok()?, operand).ok()?;
                    Some(WeightFormat::Packed(fragments))
                })
            })
        })
    }
}

impl fmt::Display for MatmulVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
