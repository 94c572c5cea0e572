//! What a matmul may give: the exact sum of its products, give or take what adding them in f32 in any order
//! can lose, through the roundings that follow.
//!
//! What comes after a sum grows with it, so the ends of the range go through the same roundings.

use super::Sizes;
use crate::format::{FloatType, PackedTensor, pow2};
use crate::fragment::bits::StoredBits;
use crate::fragment::{FragmentFormat, WeightFormat};
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
    let x = problem.tensor("src")?.values();
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
            let products: Vec<f64> = w.iter().zip(x).map(|(w, &x)| w * f64::from(x)).collect();
            // One for each product and each step of 16, one a warp or part, and scales applied to sums.
            let additions = products.len() + products.len() / 8 + 32;
            let (exact, error) = sum(&products, additions);
            let (low, high) = (exact - error, exact + error);
            let finish = |sum: f64| {
                let y = sum as f32 * fragments.alpha + bias.as_ref().map_or(-0.0, |b| b[row]);
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
    let exponent = StoredBits::of(element).exponent();
    let mut operands = Vec::with_capacity(packed.rows() * packed.cols());
    for row in 0..packed.rows() {
        for col in 0..packed.cols() {
            let scale = packed.scale_code(row, col / format.block_size());
            let scale = f64::from(packed.scale().decode(scale));
            let product = f64::from(value(packed.code(row, col))) * scale / unit;
            operands.push(match format.factor() {
                None => product,
                // Exact but for what is far below the largest scale of the tensor.
                Some(_) if scale / unit < pow2(-126 - exponent) => 0.0,
                Some(_) => f64::from(FloatType::Bf16.round(product as f32)),
            });
        }
    }
    operands
}
