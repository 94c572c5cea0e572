//! x of 8-bit operands with its scales, and what tensor cores make of them.

use super::draw::src_len;
use crate::format::{ElementFormat, FloatType, Rounding, pow2};
use crate::fragment::{CHUNK, OperandType};
use crate::ptx::MatmulVariant;
use crate::registry::sums::lowest_bit;
use crate::registry::{EntryError, Problem, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Columns of a product.
const STEP: usize = 32;
/// The operand of tokens that do not exist: NaN of E4M3, 127 of integers.
pub(super) const NAN: u32 = 0x7F;
/// Bits that a tensor core keeps at least when it brings products to the exponent of the largest.
const KEPT_BITS: i32 = 13;

/// The operand of a normal-like number, as a quantiser whose scale is 2^-4 of E4M3, 2^-5 of integers has it.
pub(super) fn operand(operand: OperandType, x: f32) -> u8 {
    match operand {
        OperandType::S8 => ((32.0 * x).round().clamp(-127.0, 127.0) as i8).cast_unsigned(),
        OperandType::Bf16 | OperandType::E4m3 => {
            ElementFormat::FP8_E4M3.encode(f64::from(16.0 * x), Rounding::Even, 0)
        }
    }
}

/// Draws x and its scales, [tokens, cols, elements from row to row]; what comes back is how far apart blocks of those are.
pub(super) fn draw(
    variant: &MatmulVariant,
    operand: OperandType,
    rng: &mut ChaCha8Rng,
    [tokens, cols, stride]: [usize; 3],
    insert: &mut impl FnMut(&str, Tensor) -> Option<Tensor>,
) -> usize {
    let all: Vec<u8> = (0..=u8::MAX)
        .filter(|&code| operand.value(code.into()).is_finite())
        .collect();
    let is_small = |code: &u8| {
        let value = operand.value((*code).into());
        value.abs() <= 3.0 && value % 1.0 == 0.0
    };
    let small: Vec<u8> = all.iter().copied().filter(is_small).collect();
    let zero = 0;
    let mut src = vec![NAN as u8; src_len(variant, tokens, stride, cols)];
    // Small integers, few operands of any size, or any: sums of the first two are exact.
    let style = rng.random_range(0..3);
    for row in src.chunks_mut(stride).take(tokens) {
        for code in row.iter_mut() {
            *code = match style {
                0 => small[rng.random_range(0..small.len())],
                1 => zero,
                _ => all[rng.random_range(0..all.len())],
            };
        }
        if style == 1 {
            for block in row[..cols].chunks_mut(STEP) {
                block[rng.random_range(0..block.len())] = all[rng.random_range(0..all.len())];
            }
        }
    }
    insert("src", Tensor::of_bytes(&src));

    let read = tokens.next_multiple_of(variant.regime().tokens() as usize);
    let scales_stride = read + 4 * rng.random_range(0..3);
    let blocks = variant.source_blocks(cols.div_ceil(CHUNK));
    let mut scales = vec![f32::NAN; blocks * scales_stride];
    let is_power = rng.random_ratio(2, 3);
    for block in scales.chunks_mut(scales_stride) {
        for scale in &mut block[..tokens] {
            *scale = match is_power {
                true => 2f32.powi(rng.random_range(-2..=2)),
                false => 2f32.powi(rng.random_range(-20..20)) * rng.random_range(1.0..2.0),
            };
        }
    }
    insert("src_scales", Tensor::of_values(&scales, FloatType::F32));
    let factor = 2f32.powi(rng.random_range(-6..=9));
    insert("src_factor", Tensor::of_values(&[factor], FloatType::F32));
    scales_stride
}

/// x as the tensor core takes it, times its scales.
pub(super) fn source(
    operand: OperandType,
    problem: &Problem,
    block_size: usize,
    src_stride: usize,
) -> Result<Vec<f64>, EntryError> {
    let src = &problem.tensor("src")?.bits;
    let scales = problem.tensor("src_scales")?.values();
    let scales_stride = problem.size("src_scales_stride")?;
    let scaled = |(i, &code): (usize, &u32)| {
        let (token, col) = (i / src_stride, i % src_stride);
        let scale = scales.get(col / block_size * scales_stride + token);
        operand.value(code) * f64::from(scale.copied().unwrap_or(f32::NAN))
    };
    Ok(src.iter().enumerate().map(scaled).collect())
}

/// The sums of every so many products, and how far from them the tensor core may end, in all.
///
/// Integers are exact. Of E4M3 a step adds 32 products and the sum before, brought to the exponent of the largest with
/// [`KEPT_BITS`] bits behind it: each is cut by less than 2^-13 of the largest, and by nothing where all are multiples of
/// a q and none exceeds 2^13 q.
pub(super) fn block_sums(operand: OperandType, products: &[f64], count: usize) -> (Vec<f64>, f64) {
    let mut error = 0.0;
    let sums = products.chunks(count).map(|block| {
        let mut sum = 0.0;
        let mut cut: f64 = 0.0;
        for step in block.chunks(STEP) {
            let terms = || step.iter().copied().chain([sum]).filter(|p| *p != 0.0);
            let unit = terms().map(lowest_bit).fold(f64::INFINITY, f64::min);
            let largest = terms().map(f64::abs).fold(0.0, f64::max) + cut;
            if operand == OperandType::E4m3 && (cut > 0.0 || largest > unit * pow2(KEPT_BITS)) {
                cut += (STEP + 1) as f64 * pow2(-KEPT_BITS) * largest;
            }
            sum += step.iter().sum::<f64>();
        }
        error += cut;
        sum
    });
    (sums.collect(), error)
}
