//! Row kernels that rotate their rows before they quantise them.

use super::operation::Formats;
use super::{RowOperation, RowVariant, formats_of_packed};
use crate::family::block::{BlockOperation, formats, is_headline, is_usual};
use crate::format::{
    FloatType, FormatError, Hadamard, Rotation, RotationSpan, Rounding, random_at, rotation_factor,
};
use crate::fragment::OperandType;
use crate::kernel::VariantError;
use crate::registry::Problem;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The blocks of columns that a kernel rotates; the seed of their signs is a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RotatedBlocks {
    /// Columns: a power of two that a warp holds.
    size: usize,
    has_signs: bool,
}

/// `v.rotation` in templates.
#[derive(Serialize)]
pub(super) struct RotationContext {
    size: usize,
    has_signs: bool,
    /// Exchanges between lanes.
    exchanges: u32,
    /// 1 / sqrt(size).
    factor: u32,
}

impl RotatedBlocks {
    /// Blocks of a chunk to those of a warp.
    const SIZES: [usize; 6] = [8, 16, 32, 64, 128, 256];

    fn new(rotation: &Rotation) -> Result<Self, VariantError> {
        match rotation.span() {
            RotationSpan::Block(size) if Self::SIZES.contains(&size) => Ok(Self {
                size,
                has_signs: rotation.seed().is_some(),
            }),
            RotationSpan::Block(_) | RotationSpan::Row => Err(VariantError::Rotation {
                rotation: *rotation,
            }),
        }
    }

    /// Columns of a block.
    pub const fn size(self) -> usize {
        self.size
    }

    /// Whether `rotation_seed` is a parameter.
    pub const fn has_signs(self) -> bool {
        self.has_signs
    }

    /// The word of an id.
    pub fn word(self) -> String {
        format!("rot{}{}", self.size, if self.has_signs { "s" } else { "" })
    }

    /// The rotation of rows of `cols` columns, under a seed.
    pub fn of_rows(self, seed: u32, cols: usize) -> Result<Hadamard, FormatError> {
        let seed = self.has_signs.then_some(seed);
        Rotation::new(RotationSpan::Block(self.size), seed)?.of_rows(cols)
    }

    /// Makes the first row of a copy one that shows how sums, or the product with the factor, are
    /// rounded.
    pub fn on_edge(self, rng: &mut ChaCha8Rng, problem: &mut Problem, cols: usize) {
        let seed = problem
            .sizes
            .get("rotation_seed")
            .map_or(0, |&seed| seed as u32);
        let Some(src) = problem.tensors.get_mut("src") else {
            return;
        };
        for (block, bits) in src.bits[..cols].chunks_mut(self.size).enumerate() {
            let mut x = match rng.random() {
                true => self.cancelling(rng),
                false => self.with_middle(rng),
            };
            for (i, x) in x.iter_mut().enumerate() {
                let col = (block * self.size + i) as u64;
                if self.has_signs && random_at(seed, col) >> 31 == 1 {
                    *x = -*x;
                }
            }
            for (bits, x) in bits.iter_mut().zip(x) {
                *bits = FloatType::Bf16.to_bits(x);
            }
        }
    }

    /// Ones, which cancel, and values so small beside them that their sums are rounded.
    fn cancelling(self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let value = |_| {
            let size = match rng.random() {
                true => 1.0,
                false => 2f32.powi(rng.random_range(-25..-16)) * rng.random_range(1.0..2.0),
            };
            if rng.random() { size } else { -size }
        };
        (0..self.size).map(value).collect()
    }

    /// Three values whose sum, times the factor, is on the middle between two bf16 but for the
    /// rounding of the product.
    fn with_middle(self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let factor = rotation_factor(self.size);
        let middle = 1.0 + f32::from(2 * rng.random_range(0..128u8) + 1) / 256.0;
        let near = (middle / factor).to_bits();
        let sums = (near - 2..=near + 2).map(f32::from_bits);
        let sum = sums.fold(middle / factor, |chosen, sum| {
            match sum * factor == middle {
                true if rng.random() => sum,
                _ => chosen,
            }
        });
        // Eight bits of the 24 at a time.
        let upper = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
        let high = upper(sum);
        let mid = upper(sum - high);
        let mut x = vec![0.0; self.size];
        x[..3].copy_from_slice(&[high, mid, sum - high - mid]);
        x
    }

    pub fn context(self) -> RotationContext {
        RotationContext {
            size: self.size,
            has_signs: self.has_signs,
            exchanges: (self.size / 8).ilog2(),
            factor: rotation_factor(self.size).to_bits(),
        }
    }
}

impl RowVariant {
    /// The kernel that rotates its rows, rounded to bf16, and rounds them to bf16 again before they
    /// are quantised.
    ///
    /// # Errors
    /// [`VariantError::Rotation`] unless it is one of blocks of 8 to 256 columns.
    pub fn rotated(self, rotation: &Rotation) -> Result<Self, VariantError> {
        Ok(Self {
            rotation: Some(RotatedBlocks::new(rotation)?),
            ..self
        })
    }

    /// Whether `rotation_seed` is a parameter.
    pub fn has_signs(&self) -> bool {
        self.rotation.is_some_and(RotatedBlocks::has_signs)
    }

    /// The rotated kernels of the registry.
    pub(super) fn all_rotated() -> impl Iterator<Item = Self> {
        RowOperation::ALL.into_iter().flat_map(|operation| {
            let listed = operation.parts().formats;
            let is_copy = operation == RowOperation::Copy;
            let formats = formats(BlockOperation::FakeQuantize).filter(move |format| {
                let even = format.to_builder().rounding(Rounding::Even).build();
                listed.has(format)
                    && is_usual(format)
                    && even.is_ok_and(|even| is_headline(&even))
                    && (is_copy || is_headline(format))
            });
            let dense = std::iter::once(None).chain(formats.map(Some));
            let dense = dense.filter_map(move |format| Self::new(operation, format).ok());
            let packed = [OperandType::E4m3, OperandType::S8].into_iter();
            let packed = packed.flat_map(move |operand| {
                let formats = formats_of_packed().filter(is_headline);
                let formats = formats.filter(move |format| listed.has(format));
                formats.filter_map(move |format| Self::packed(operation, format, operand).ok())
            });
            let sizes = RotatedBlocks::SIZES.into_iter().filter(move |&size| {
                let is_input = listed != Formats::Bf16;
                is_copy || is_input && size == 32
            });
            let rotations = sizes.flat_map(|size| {
                let of = |has_signs| RotatedBlocks { size, has_signs };
                [false, true].map(of)
            });
            dense.chain(packed).flat_map(move |variant| {
                rotations.clone().map(move |rotation| Self {
                    rotation: Some(rotation),
                    ..variant
                })
            })
        })
    }
}
