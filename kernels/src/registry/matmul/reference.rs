//! What a matmul may give: the exact sum of its products, give or take what adding them in f32 in any order
//! can lose, through the roundings that follow.
//!
//! What comes after a sum grows with it, so the ends of the range go through the same roundings.

use super::{Sizes, bytes};
use crate::format::{FloatType, PackedTensor, pow2};
use crate::fragment::{CHUNK, FragmentFormat, OperandType, WeightFormat};
use crate::ptx::MatmulVariant;
use crate::registry::sums::sum;
use crate::registry::{
    ElementType, EntryError, Expectation, Expected, Problem, Range, Tensor, UNTOUCHED,
};

/// What y may be.
pub(super) fn expected(variant: &MatmulVariant, problem: &Problem) -> Result<Expected, EntryError> {
    let sizes = Sizes::of(problem)?;
    let fragments = variant.fragments(&sizes, problem)?;
    let packed = variant.packed(&sizes, problem)?;
    let weights: Vec<f64> = match (&packed, variant.weights()) {
        (Some(packed), WeightFormat::Packed(format)) => {
            operands(packed, format, pow2(fragments.excess))
        }
        _ => problem
            .tensor("weights")?
            .values()
            .into_iter()
            .map(f64::from)
            .collect(),
    };
    let operand = variant.weights().operand();
    // Blocks whose sums are scaled, and what y is multiplied by.
    let (block_size, alpha) = match (operand, variant.weights()) {
        (OperandType::Bf16, _) | (_, WeightFormat::Dense) => (None, fragments.alpha),
        (_, WeightFormat::Packed(format)) => {
            let factor = problem.tensor("src_factor")?.values()[0];
            (Some(format.block_size()), fragments.alpha * factor)
        }
    };
    let x: Vec<f64> = match block_size {
        None => {
            let values = problem.tensor("src")?.values();
            values.into_iter().map(f64::from).collect()
        }
        Some(k) => bytes::source(operand, problem, k, sizes.src_stride)?,
    };
    let vector = |name| problem.tensors.get(name).map(|tensor| tensor.values());
    let (bias, residual) = (vector("bias"), vector("residual"));
    let output = variant.output();
    let untouched = match (problem.tensors.get("residual"), sizes.is_in_place) {
        (Some(residual), true) => residual.bits.clone(),
        _ => {
            let bits = u32::from_le_bytes([UNTOUCHED; 4]) >> (32 - 8 * output.bytes());
            vec![bits; sizes.dst_len()]
        }
    };
    let mut ranges: Vec<Range> = untouched.into_iter().map(Range::Bits).collect();
    for token in 0..sizes.tokens {
        let x = &x[token * sizes.src_stride..][..sizes.cols];
        for row in 0..sizes.rows {
            let place = token * sizes.dst_stride + row;
            let w = &weights[row * sizes.cols..][..sizes.cols];
            let products: Vec<f64> = w.iter().zip(x).map(|(w, x)| w * x).collect();
            // One for each product and each step of 16, one a warp or part, and scales applied to sums.
            let additions = products.len() + products.len() / 8 + 32;
            let (exact, error) = match block_size {
                None => sum(&products, additions),
                Some(k) => {
                    let (sums, cut) = bytes::block_sums(operand, &products, k.min(CHUNK));
                    let (exact, error) = sum(&sums, additions);
                    // What is cut goes through the same additions.
                    (exact, error + cut * (1.0 + additions as f64 * pow2(-23)))
                }
            };
            let (low, high) = (exact - error, exact + error);
            let finish = |sum: f64| {
                let y = sum as f32 * alpha + bias.as_ref().map_or(-0.0, |b| b[row]);
                match (output, &residual) {
                    (FloatType::F32, _) => y,
                    (_, None) => output.round(y),
                    (_, Some(residual)) => output.round(residual[place] + output.round(y)),
                }
            };
            ranges[place] = Range::Between(finish(low), finish(high));
        }
    }
    let element = output.into();
    let mut expected = Expected::from([("dst", Expectation::Within { element, ranges })]);
    if sizes.parts > 1 {
        let arrivals = Tensor {
            element: ElementType::U32,
            bits: vec![0; variant.blocks(sizes.rows, sizes.tokens)],
        };
        expected.insert("arrivals", Expectation::Exactly(arrivals));
    }
    Ok(expected)
}

/// The operands of the tensor core times the scales that are applied to sums: elements times scales, over
/// `unit`, the power of two that alpha makes up for.
fn operands(packed: &PackedTensor, format: &FragmentFormat, unit: f64) -> Vec<f64> {
    let element = packed.element();
    // The values of a table as the tensor core takes them; the others are bf16.
    let value = |code| FloatType::Bf16.round(element.decode(code));
    let exponent = format.stored().exponent();
    // Scales that are fields of an exponent.
    let is_field = format.scale().exponent_limit().is_some() || format.factor().is_some();
    let mut operands = Vec::with_capacity(packed.rows() * packed.cols());
    for row in 0..packed.rows() {
        for col in 0..packed.cols() {
            let scale = packed.scale_code(row, col / format.block_size());
            let scale = f64::from(packed.scale().decode(scale));
            let product = f64::from(value(packed.code(row, col))) * scale / unit;
            operands.push(match format.factor() {
                // Exact but for what is far below the largest scale of the tensor.
                _ if is_field && scale / unit < pow2(-126 - exponent) => 0.0,
                None => product,
                Some(_) => f64::from(FloatType::Bf16.round(product as f32)),
            });
        }
    }
    operands
}
