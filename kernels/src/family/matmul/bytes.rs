//! 8-bit operands of x with their scales, and the sums that tensor cores compute from them.

use super::MatmulVariant;
use super::draw::src_len;
use crate::format::{ElementFormat, FloatType, PackedTensor, Rounding, pow2};
use crate::fragment::{CHUNK, FragmentFormat, OperandType};
use crate::registry::{EntryError, Problem, ProblemError, Tensor};
use mxlab_harness::tensor_core::{Operand, Sums, Term, Terms};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Columns of a product.
const STEP: usize = 32;
/// The operand of tokens that do not exist: NaN of E4M3, 127 of integers.
pub(super) const NAN: u32 = 0x7F;

/// The operand of a normal-like number, as a quantiser whose scale is 2^-4 of E4M3, 2^-5 of
/// integers has it.
pub(super) fn operand(operand: OperandType, x: f32) -> u8 {
    match operand {
        OperandType::S8 => ((32.0 * x).round().clamp(-127.0, 127.0) as i8).cast_unsigned(),
        OperandType::Bf16 | OperandType::E4m3 => {
            ElementFormat::FP8_E4M3.encode(f64::from(16.0 * x), Rounding::Even, 0)
        }
    }
}

/// Draws x and its scales, [tokens, cols, elements from row to row]; what comes back is how far
/// apart blocks of those are.
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

/// 8-bit operands of the tensor core, and the scales that multiply its sums.
pub(super) struct Operands {
    /// [rows, from row to row].
    pub values: Vec<f64>,
    /// From row to row of the values.
    pub stride: usize,
    /// [rows, blocks].
    pub scales: Vec<f64>,
    /// Blocks of a row.
    pub blocks: usize,
    /// The least power of an operand; see [`Term::product`]. Integers have none.
    pub least: f64,
}

impl Operands {
    /// A row: its first `cols` values, and the scales of its blocks.
    pub fn row(&self, row: usize, cols: usize) -> Row<'_> {
        Row {
            values: &self.values[row * self.stride..][..cols],
            scales: &self.scales[row * self.blocks..][..self.blocks],
            least: self.least,
        }
    }
}

/// A row of W or x; see [`Operands`].
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub values: &'a [f64],
    pub scales: &'a [f64],
    pub least: f64,
}

/// x, with the scales of `blocks` blocks of each of `tokens` rows.
pub(super) fn source(
    operand: OperandType,
    problem: &Problem,
    [tokens, blocks]: [usize; 2],
    stride: usize,
) -> Result<Operands, EntryError> {
    let src = &problem.tensor("src")?.bits;
    let scales = problem.tensor("src_scales")?.values();
    let scales_stride = problem.size("src_scales_stride")?;
    let unfit = || ProblemError::Unfit {
        name: "src_scales".to_owned(),
        reason: format!(
            "{} of them, too few for {tokens} tokens of {blocks} blocks",
            scales.len()
        ),
    };
    let scale = |index: usize| {
        let (token, block) = (index / blocks, index % blocks);
        let scale = scales.get(block * scales_stride + token);
        scale.map(|&scale| f64::from(scale)).ok_or_else(unfit)
    };
    Ok(Operands {
        values: src.iter().map(|&code| operand.value(code)).collect(),
        stride,
        scales: (0..tokens * blocks).map(scale).collect::<Result<_, _>>()?,
        blocks,
        least: Operand::E4m3.least_power(),
    })
}

/// W, whose elements are operands times 2^P.
pub(super) fn weights(packed: &PackedTensor, format: &FragmentFormat, unit: f64) -> Operands {
    let (rows, cols) = (packed.rows(), packed.cols());
    let blocks = packed.format().blocks_per_row(cols);
    let element = packed.element();
    let value = |index| f64::from(element.decode(packed.code(index / cols, index % cols)));
    let exponent = format.stored().exponent();
    let is_field = format.scale().exponent_limit().is_some();
    let scale = |index| {
        let code = packed.scale_code(index / blocks, index % blocks);
        match f64::from(packed.scale().decode(code)) / unit {
            // The fields of an exponent end there.
            scale if is_field && scale < pow2(-126 - exponent) => 0.0,
            scale => scale,
        }
    };
    Operands {
        values: (0..rows * cols).map(value).collect(),
        stride: cols,
        scales: (0..rows * blocks).map(scale).collect(),
        blocks,
        least: Operand::E4m3.least_power() * pow2(exponent),
    }
}

/// The sums of every `count` products, a whole number of instructions, times both scales; and the
/// total error bound of the tensor core. `k` is the block size.
///
/// Sums of integers are exact; of E4M3 they have the bound of [`mxlab_harness::tensor_core`].
pub(super) fn block_sums(
    operand: OperandType,
    [w, x]: [Row<'_>; 2],
    k: usize,
    count: usize,
) -> (Vec<f64>, f64) {
    let mut error = 0.0;
    let blocks = w.values.chunks(count).zip(x.values.chunks(count));
    let sums = blocks.enumerate().map(|(index, (ws, xs))| {
        let block = index * count / k;
        let scale = w.scales[block] * x.scales[block];
        let operands = || ws.iter().zip(xs).map(|(&w, &x)| [w, x]);
        if operand == OperandType::S8 {
            return operands().map(|[w, x]| w * x).sum::<f64>() * scale;
        }
        let product = |operands| Term::product(operands, [w.least, x.least]);
        let terms: Terms = operands().map(product).collect();
        // Columns are in another order in memory: those of a part may lie in all instructions.
        let bound = terms.bound(Sums::Fp8, count, 0);
        // A scale that is no number makes the sum none, whatever is cut.
        if bound.error > 0.0 {
            error += bound.error * scale.abs();
        }
        bound.exact * scale
    });
    (sums.collect(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixteen products of 64 x 64 and 1 x 1, in one instruction. The sum is 65537; an Ada chip has
    /// 65536 after its first step, and nothing but multiples of 8 beside it.
    #[test]
    fn what_an_ada_chip_gives_is_within_the_bound() {
        let sums = |large: usize, scale: f64| {
            let mut values = [0.0; STEP];
            values[..17].fill(1.0);
            values[..large].fill(64.0);
            let row = |scales| Row {
                values: &values,
                scales,
                least: Operand::E4m3.least_power(),
            };
            let (sums, error) =
                block_sums(OperandType::E4m3, [row(&[1.0]), row(&[scale])], STEP, STEP);
            (sums[0], error)
        };
        let (sum, error) = sums(16, 1.0);
        assert_eq!(sum, 65537.0);
        assert!((sum - 65536.0).abs() <= error, "{error}");
        // It says something still: one product of 64 x 64 that is missing is seen.
        assert!(error < 4096.0, "{error}");
        assert_eq!(sums(16, 0.375), (0.375 * sum, 0.375 * error));
        // Beyond 2^14 the last bit may be lost, below no chip loses one, whatever the scale.
        let (sum, error) = sums(4, 1.1);
        assert!(sum == 16397.0 * 1.1 && error > 0.0, "{sum} {error}");
        assert_eq!(sums(3, 1.1), (12302.0 * 1.1, 0.0));
    }

    /// An INT4 weight is a subnormal operand, held to the exponent -6: 2^-2 of it is cut like 2^1.
    #[test]
    fn subnormal_operands_are_held_to_the_least_exponent() {
        let format = crate::format::BlockFormat::new(ElementFormat::INT4).block_size(32);
        let format = format.build().unwrap();
        let packed = PackedTensor::zeroed(format, 1, 32).unwrap();
        let fragments = FragmentFormat::of_operand(&format, OperandType::E4m3).unwrap();
        assert_eq!(weights(&packed, &fragments, 1.0).least, 2.0);
        let format = crate::format::BlockFormat::new(ElementFormat::FP4_E2M1).block_size(32);
        let format = format.build().unwrap();
        let packed = PackedTensor::zeroed(format, 1, 32).unwrap();
        let fragments = FragmentFormat::of_operand(&format, OperandType::E4m3).unwrap();
        assert_eq!(weights(&packed, &fragments, 1.0).least, 1.0);
    }
}
