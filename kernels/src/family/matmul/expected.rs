//! The expected outputs of a matmul: a range around the exact sum of products, as wide as f32
//! addition in any order can be off, taken through the roundings that follow.
//!
//! Everything after the sum is monotonic, so the ends of the range go through the same roundings.

use super::part::Pick;
use super::problems::{Matrix, Sizes};
use super::{MatmulOutput, MatmulVariant, bytes};
use crate::format::{FloatType, PackedTensor, pow2};
use crate::fragment::{CHUNK, FragmentFormat, OperandType, WeightFormat};
use crate::reference;
use crate::registry::sums::{BF16, multiplied, products, sum};
use crate::registry::{
    ElementType, Elements, EntryError, Expectation, Expected, Place, Problem, ProblemError, Range,
    Sampled, Tensor, UNTOUCHED,
};

/// The ranges of y.
pub(super) fn expected(variant: &MatmulVariant, problem: &Problem) -> Result<Expected, EntryError> {
    let sizes = Sizes::of(problem)?;
    let every = |token| (token, (0..sizes.rows).collect());
    let every: Vec<(usize, Vec<usize>)> = (0..sizes.tokens).map(every).collect();
    let rounding = Rounding::of(variant, problem, &sizes)?;
    let sums = all_sums(variant, problem, &sizes, &every)?;
    let untouched = match (problem.tensors.get("residual"), sizes.is_in_place) {
        (Some(residual), true) => residual.bits.clone(),
        _ => {
            let output = variant.output().float_type();
            let bits = u32::from_le_bytes([UNTOUCHED; 4]) >> (32 - 8 * output.bytes());
            vec![bits; sizes.dst_len()]
        }
    };
    let mut ranges: Vec<Range> = untouched.into_iter().map(Range::Bits).collect();
    for index in 0..sizes.tokens * sizes.rows {
        let place = index / sizes.rows * sizes.dst_stride + index % sizes.rows;
        ranges[place] = rounding.range(place, &sums, index);
    }
    let element = variant.output().float_type();
    let mut expected = Expected::from([("dst", Expectation::Within { element, ranges })]);
    if let Some(arrivals) = arrivals(variant, &sizes) {
        expected.insert("arrivals", Expectation::Exactly(arrivals));
    }
    Ok(expected)
}

/// The ranges of some elements of y, from their tokens and rows only.
pub(super) fn expected_at(
    variant: &MatmulVariant,
    problem: &Problem,
    places: &[Place],
) -> Result<Sampled, EntryError> {
    let sizes = Sizes::of(problem)?;
    let pick = Pick::new(variant, problem, places)?;
    let rounding = Rounding::of(variant, problem, &sizes)?;
    let sums = all_sums(variant, &pick.problem, &pick.sizes, &pick.pairs)?;
    let element = variant.output().float_type();
    let mut dst = Elements::within(sizes.dst_len(), element);
    for (index, &[token, row]) in pick.places.iter().enumerate() {
        let place = token * sizes.dst_stride + row;
        dst.add_ranges(place, &[rounding.range(place, &sums, index)]);
    }
    let mut sampled = Sampled::default();
    sampled.insert("dst", dst);
    if let Some(arrivals) = arrivals(variant, &sizes) {
        let mut elements = Elements::exactly(arrivals.bits.len(), arrivals.element);
        elements.add_bits(0, 1, &arrivals.bits);
        sampled.insert("arrivals", elements);
    }
    Ok(sampled)
}

/// The roundings that follow the sums.
struct Rounding {
    output: MatmulOutput,
    residual: Option<Vec<f32>>,
}

impl Rounding {
    fn of(variant: &MatmulVariant, problem: &Problem, sizes: &Sizes) -> Result<Self, ProblemError> {
        let residual = problem.tensors.get("residual").map(Tensor::values);
        if let Some(residual) = &residual
            && residual.len() < sizes.dst_len()
        {
            return Err(ProblemError::Unfit {
                name: "residual".to_owned(),
                reason: format!("{} elements; expected {}", residual.len(), sizes.dst_len()),
            });
        }
        Ok(Self {
            output: variant.output(),
            residual,
        })
    }

    /// The range of y at a place of its buffer, from the sums `index` of each matrix.
    fn range(&self, place: usize, sums: &[Vec<Ends>], index: usize) -> Range {
        let output = self.output.float_type();
        let rounded = sums[0][index].map(|y| output.round(y));
        let [low, high] = match (self.output, &self.residual) {
            (MatmulOutput::Bf16, Some(residual)) => {
                rounded.map(|y| output.round(residual[place] + y))
            }
            (MatmulOutput::Bf16 | MatmulOutput::F32, _) => rounded,
            (MatmulOutput::Swiglu, _) => swiglu(rounded, sums[1][index].map(|y| output.round(y))),
        };
        Range::Between(low, high)
    }
}

/// The counters of arrived parts, which are zero after each launch; `None` without parts.
fn arrivals(variant: &MatmulVariant, sizes: &Sizes) -> Option<Tensor> {
    let rows = sizes.rows * variant.matrices().len();
    (sizes.parts > 1).then(|| Tensor {
        element: ElementType::U32,
        bits: vec![0; variant.blocks(rows, sizes.tokens)],
    })
}

/// The sums of each matrix.
fn all_sums(
    variant: &MatmulVariant,
    problem: &Problem,
    sizes: &Sizes,
    pairs: &[(usize, Vec<usize>)],
) -> Result<Vec<Vec<Ends>>, EntryError> {
    let matrices = variant.matrices().iter();
    matrices
        .map(|&matrix| sums(variant, problem, sizes, matrix, pairs))
        .collect()
}

/// The least and the greatest value of a range.
type Ends = [f32; 2];

/// alpha times the sums of a matrix, and bias: of some tokens, each with some rows.
fn sums(
    variant: &MatmulVariant,
    problem: &Problem,
    sizes: &Sizes,
    matrix: Matrix,
    pairs: &[(usize, Vec<usize>)],
) -> Result<Vec<Ends>, EntryError> {
    let fragments = variant.fragments(matrix, sizes, problem)?;
    let packed = variant.packed(matrix, sizes, problem)?;
    let operand = variant.weights().operand();
    // One for all tiles.
    let alpha = fragments.alphas[0];
    let unit = pow2(fragments.excess);
    let (operands, alpha) = match (operand, &packed, variant.weights()) {
        (OperandType::E4m3 | OperandType::S8, Some(packed), WeightFormat::Packed(format)) => {
            let factor = problem.tensor("src_factor")?.values()[0];
            let w = bytes::weights(packed, format, unit);
            let x = bytes::source(operand, problem, [sizes.tokens, w.blocks], sizes.src_stride)?;
            let block_size = format.block_size();
            (Operands::Bytes { w, x, block_size }, alpha * factor)
        }
        (_, packed, weights) => {
            let values = |name: &str| -> Result<Vec<f64>, EntryError> {
                let values = problem.tensor(name)?.values();
                Ok(values.into_iter().map(f64::from).collect())
            };
            let w = match (packed, weights) {
                (Some(packed), WeightFormat::Packed(format)) => folded(packed, format, unit),
                _ => values(&matrix.name("weights"))?,
            };
            let x = values("src")?;
            (Operands::Bf16 { w, x }, alpha)
        }
    };
    let bias = problem.tensors.get(&matrix.name("bias"));
    let bias = bias.map(|tensor| tensor.values());
    let mut ends = Vec::with_capacity(pairs.iter().map(|(_, rows)| rows.len()).sum());
    for &(token, ref rows) in pairs {
        for &row in rows {
            // Two for each block whose sums are scaled, one a warp or part.
            let additions = sizes.cols / 8 + 32;
            let (exact, error) = match &operands {
                Operands::Bf16 { w, x } => {
                    let w = &w[row * sizes.cols..][..sizes.cols];
                    let x = &x[token * sizes.src_stride..][..sizes.cols];
                    let terms = products(w.iter().zip(x).map(|(&w, &x)| [w, x]), [BF16; 2]);
                    multiplied(&terms, sizes.cols, additions)
                }
                Operands::Bytes { w, x, block_size } => {
                    let rows = [w.row(row, sizes.cols), x.row(token, sizes.cols)];
                    let count = CHUNK.min(*block_size);
                    let (sums, cut) = bytes::block_sums(operand, rows, *block_size, count);
                    let (exact, error) = sum(&sums, additions);
                    // What is cut goes through the same additions.
                    (exact, error + cut * (1.0 + additions as f64 * pow2(-23)))
                }
            };
            let bias = bias.as_ref().map_or(-0.0, |bias| bias[row]);
            ends.push([exact - error, exact + error].map(|sum| sum as f32 * alpha + bias));
        }
    }
    Ok(ends)
}

/// The bf16 at which silu is least: silu falls up to there and rises from there on.
const SILU_LEAST: f32 = -1.28125;

/// The range of `silu(gate) * up`.
fn swiglu([gate_low, gate_high]: Ends, [up_low, up_high]: Ends) -> Ends {
    let least = SILU_LEAST.clamp(gate_low.min(gate_high), gate_high);
    let gates = [gate_low, least, gate_high];
    let corners = gates
        .iter()
        .flat_map(|&gate| reference::swiglu(&[gate, gate], &[up_low, up_high]));
    corners.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], y| {
        [low.min(y), high.max(y)]
    })
}

/// The operands of tensor cores.
enum Operands {
    /// [rows, cols] and [tokens, from row to row].
    Bf16 { w: Vec<f64>, x: Vec<f64> },
    /// 8-bit operands, with scales of sums of blocks.
    Bytes {
        w: bytes::Operands,
        x: bytes::Operands,
        block_size: usize,
    },
}

/// The operands of the tensor core times the scales that are applied to sums: elements times scales
/// over `unit`, a power of two that alpha restores.
fn folded(packed: &PackedTensor, format: &FragmentFormat, unit: f64) -> Vec<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silu_falls_and_then_rises() {
        let finite = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        let mut values: Vec<f32> = (0..=u16::MAX)
            .map(finite)
            .filter(|x| x.is_finite())
            .collect();
        values.sort_by(f32::total_cmp);
        let silu: Vec<f32> = reference::swiglu(&values, &vec![1.0; values.len()]);
        let least = values.iter().position(|&x| x == SILU_LEAST);
        let (falls, rises) = silu.split_at(least.expect("a bf16"));
        assert!(falls.is_sorted_by(|a, b| a >= b));
        assert!(rises.is_sorted());
        assert!(falls.last() >= rises.first());
    }
}
