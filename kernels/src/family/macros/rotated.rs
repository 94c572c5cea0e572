//! Blocks of columns that kernels rotate, for the macro `mix` of `rows.j2`.

use crate::format::{
    FloatType, FormatError, Hadamard, Rotation, RotationSpan, random_at, rotation_factor,
};
use crate::registry::Problem;
use rand::Rng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The blocks of columns that a kernel rotates; the seed of their signs is a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RotatedBlocks {
    /// Columns: a power of two that a warp holds.
    size: usize,
    has_signs: bool,
}

/// `v.rotation` in templates.
#[derive(Serialize)]
pub(crate) struct RotationContext {
    size: usize,
    has_signs: bool,
    /// Exchanges between lanes.
    exchanges: u32,
    /// 1 / sqrt(size).
    factor: u32,
}

impl RotatedBlocks {
    /// Blocks of a chunk to those of a warp.
    pub const SIZES: [usize; 6] = [8, 16, 32, 64, 128, 256];

    /// Blocks of so many columns; `None` if no kernel rotates these.
    pub fn new(size: usize, has_signs: bool) -> Option<Self> {
        let blocks = Self { size, has_signs };
        Self::SIZES.contains(&size).then_some(blocks)
    }

    /// Blocks of a size that kernels rotate, without signs and with.
    pub fn of_size(size: usize) -> impl Iterator<Item = Self> + Clone {
        [false, true]
            .into_iter()
            .filter_map(move |has_signs| Self::new(size, has_signs))
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

    /// Makes the first row of `src` one that shows how sums, or the product with the factor, are
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

    /// Four values whose sum in some column is rounded up to one that, times the factor, is on the
    /// middle between two bf16 but for the rounding of the product.
    fn with_middle(self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let factor = rotation_factor(self.size);
        let middle = 1.0 + f32::from(2 * rng.random_range(0..128u8) + 1) / 256.0;
        let near = (middle / factor).to_bits();
        let mut sums = (near - 2..=near + 2).map(f32::from_bits);
        let least = sums.find(|sum| sum * factor == middle);
        let sum = least.unwrap_or(middle / factor);
        // Eight bits of the 24 at a time, and a quarter of the last less.
        let upper = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
        let high = upper(sum);
        let mid = upper(sum - high);
        let below = (f32::from_bits(sum.to_bits() - 1) - sum) / 4.0;
        let parts = [high, mid, sum - high - mid, below];
        let mut x = vec![0.0; self.size];
        let col = rng.random_range(0..self.size);
        for (at, part) in sample(rng, self.size, parts.len()).into_iter().zip(parts) {
            x[at] = if (at & col).count_ones() % 2 == 0 {
                part
            } else {
                -part
            };
        }
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
