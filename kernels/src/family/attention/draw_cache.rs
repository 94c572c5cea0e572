//! Draws rows of keys and values, as a cache holds them.

use super::problems::{Side, Sizes};
use crate::format::{ElementFormat, FloatType, ScaleFormat};
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::CacheFormat;
use crate::registry::{Problem, Tensor};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

impl Side {
    /// Rows of the cache: those that exist within a few binades, the others NaN where the format
    /// has one.
    pub(super) fn draw(
        &self,
        rng: &mut ChaCha8Rng,
        sizes: &Sizes,
        exists: impl Fn(usize) -> bool,
        problem: &mut Problem,
    ) {
        let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
        // Nothing cancels in means of them: roundings of weights show.
        let is_positive = rng.random_ratio(1, 3);
        let CacheFormat::Packed {
            element,
            scale,
            block_size,
        } = self.format
        else {
            let unit = 2f32.powi(rng.random_range(-20..20));
            let least = if is_positive { 0 } else { -15i32 };
            let mut row = |row| match exists(row) {
                true => unit * rng.random_range(least..=15) as f32,
                false => f32::NAN,
            };
            let values = (0..sizes.rows() * sizes.head_dim).map(|i| row(i / sizes.head_dim));
            let values: Vec<f32> = values.collect();
            insert(self.codes, Tensor::of_values(&values, FloatType::Bf16));
            return;
        };
        // Within eight binades: sums are exact.
        let known = element.codes().filter(|&code| is_known(element, code));
        let known: Vec<u8> = known.collect();
        let largest = known
            .choose(rng)
            .map_or(0.0, |&code| element.decode(code).abs());
        let is_near = |value: f32| value <= largest && value >= largest / 256.0;
        let is_drawn = |code: &u8| {
            let value = element.decode(*code);
            value == 0.0 || is_near(value.abs()) && !(is_positive && value < 0.0)
        };
        let known: Vec<u8> = known.into_iter().filter(is_drawn).collect();
        let codes = (0..sizes.rows() * sizes.head_dim).map(|_| *known.choose(rng).unwrap_or(&0));
        let codes: Vec<u8> = codes.collect();
        insert(self.codes, Tensor::of_bytes(&codes));
        let center = rng.random_range(0.0..1.0);
        let blocks = sizes.head_dim.div_ceil(block_size);
        let mut code = |row| match exists(row) {
            true => scale_code(rng, scale, center),
            false => ((1u64 << scale.bits()) - 1) as u32,
        };
        let bits = (0..sizes.rows() * blocks)
            .map(|i| code(i / blocks))
            .collect();
        let element = scale.into();
        insert(self.scales, Tensor { element, bits });
    }

    /// Rows of first positions, where there are such: values of the others, so that sums stay exact;
    /// NaN where no key exists.
    pub(super) fn draw_exact(
        &self,
        rng: &mut ChaCha8Rng,
        sizes: &Sizes,
        exists: impl Fn(usize) -> bool,
        problem: &mut Problem,
    ) {
        let (Some(exact), Ok(first)) = (self.exact, problem.size("exact")) else {
            return;
        };
        let packed = Self {
            exact: None,
            ..*self
        };
        let operands = packed.operands(problem, sizes.head_dim, 0..sizes.rows());
        let operands = operands.unwrap_or_default();
        let known: Vec<f64> = (operands.chunks(sizes.head_dim).enumerate())
            .filter(|(row, _)| exists(*row))
            .flat_map(|(_, row)| row.to_vec())
            .collect();
        let mut values = Vec::new();
        for row in 0..sizes.slots * sizes.kv_heads * first {
            let (head, position) = (row / first, row % first);
            let is_there = position < sizes.capacity && exists(head * sizes.capacity + position);
            values.extend((0..sizes.head_dim).map(|_| match known.choose(rng) {
                Some(&value) if is_there => value as f32,
                _ => f32::NAN,
            }));
        }
        let values = Tensor::of_values(&values, FloatType::Bf16);
        problem.tensors.insert(exact.to_owned(), values);
    }

    /// Makes a block of a row one that was NaN: codes of 0 under a scale that is NaN.
    pub(super) fn spoil(
        &self,
        rng: &mut ChaCha8Rng,
        row: usize,
        head_dim: usize,
        problem: &mut Problem,
    ) {
        let CacheFormat::Packed {
            scale, block_size, ..
        } = self.format
        else {
            return;
        };
        let blocks = head_dim.div_ceil(block_size);
        let block = rng.random_range(0..blocks);
        if let Some(scales) = problem.tensors.get_mut(self.scales) {
            scales.bits[row * blocks + block] = scale.nan_code();
        }
        if let Some(codes) = problem.tensors.get_mut(self.codes) {
            let cols = block * block_size..head_dim.min((block + 1) * block_size);
            codes.bits[row * head_dim..][cols].fill(0);
        }
    }

    /// Makes of most rows copies of a few: scores are the same wherever a key is, and so must
    /// weights be.
    pub(super) fn repeat(
        &self,
        rng: &mut ChaCha8Rng,
        sizes: &Sizes,
        exists: impl Fn(usize) -> bool,
        problem: &mut Problem,
    ) {
        let rows: Vec<usize> = (0..sizes.rows()).filter(|&row| exists(row)).collect();
        let few = sample(rng, rows.len(), rows.len().min(3)).into_vec();
        let copies = rows
            .iter()
            .map(|&row| (rows[*few.choose(rng).unwrap_or(&0)], row));
        let copies: Vec<(usize, usize)> = copies.collect();
        for name in [self.codes, self.scales] {
            if let Some(tensor) = problem.tensors.get_mut(name) {
                let len = tensor.bits.len() / sizes.rows();
                for &(from, to) in &copies {
                    let row = from * len..(from + 1) * len;
                    tensor.bits.copy_within(row, to * len);
                }
            }
        }
    }
}

/// Whether a cache may have the code: a finite value that quantisers make.
fn is_known(element: ElementFormat, code: u8) -> bool {
    StoredBits::of(element).place(element, code).is_some() && element.decode(code).is_finite()
}

/// A scale within a binade or two of that at `center`, 0..1, of what tensor cores see without loss.
fn scale_code(rng: &mut ChaCha8Rng, scale: ScaleFormat, center: f64) -> u32 {
    let (least, most, width) = match scale {
        ScaleFormat::E8M0 { .. } => {
            let limit = scale.exponent_limit().unwrap_or(0);
            (
                (limit - limit.min(40)) as u32,
                (limit + limit.min(40)) as u32,
                2,
            )
        }
        ScaleFormat::Unsigned { mantissa_bits, .. } => (1, scale.max_code(), 1 << mantissa_bits),
        _ => ((127 - 40) << 7, (127 + 40) << 7, 1 << 7),
    };
    let center = least + ((most - least) as f64 * center) as u32;
    (center + rng.random_range(0..=width)).min(most)
}
