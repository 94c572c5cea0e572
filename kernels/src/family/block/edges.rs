//! Changes a problem so that one result lies on the edge of a rounding.

use super::BlockVariant;
use super::sizes::Sizes;
use super::values::turn;
use crate::format::{FloatType, PackedTensor, seed_drawing};
use crate::registry::{ElementType, Problem};
use rand::Rng;

/// One element of a problem, and its result by the reference.
struct Site {
    packed: PackedTensor,
    row: usize,
    col: usize,
    /// The element as it is read.
    element: f32,
    /// Number of its block in the problem.
    block: usize,
    /// X.
    scale: f64,
    /// Code of X.
    scale_code: u32,
}

impl Site {
    /// Any element, one that is not zero if a few draws find one.
    fn any(variant: &BlockVariant, rng: &mut impl Rng, problem: &Problem) -> Option<Self> {
        let sizes = Sizes::of(problem).ok()?;
        let x = match variant.reads_dense() {
            true => variant.source(&sizes, problem).ok()?,
            false => Vec::new(),
        };
        let mut at = 0;
        for _ in 0..32 {
            at = rng.random_range(0..sizes.rows * sizes.cols);
            if x.get(at).is_none_or(|&x| x != 0.0) {
                break;
            }
        }
        let (row, col) = (at / sizes.cols, at % sizes.cols);
        let packed = variant.packed(&sizes, problem).ok()?;
        let (format, k) = (variant.format(), variant.format().block_size());
        let scale_code = packed.scale_code(row, col / k);
        Some(Self {
            row,
            col,
            element: x.get(at).copied().unwrap_or(0.0),
            block: row * format.blocks_per_row(sizes.cols) + col / k,
            scale: f64::from(format.scale().decode(scale_code)),
            scale_code,
            packed,
        })
    }
}

/// Changes the tensor scale, or a given 32-bit scale, so that one value lies on the edge of its
/// rounding: an element, a result in the dense type, or the shared scale.
pub(super) fn scale_on_edge(variant: &BlockVariant, rng: &mut impl Rng, problem: &mut Problem) {
    if let Some((tensor, i, bits)) = edge_scale(variant, rng, problem)
        && let Some(tensor) = problem.tensors.get_mut(tensor)
    {
        tensor.bits[i] = bits;
    }
}

/// Which bits of which tensor to change to what.
fn edge_scale(
    variant: &BlockVariant,
    rng: &mut impl Rng,
    problem: &Problem,
) -> Option<(&'static str, usize, u32)> {
    let has_tensor_scale = variant.reads_tensor_scale();
    let has_wide_scale =
        variant.operation().reads_scales() && variant.scale_element() == ElementType::U32;
    if !has_tensor_scale && !has_wide_scale {
        return None;
    }
    let format = variant.format();
    let site = Site::any(variant, rng, problem)?;
    let edge = if variant.reads_dense() && (variant.operation().reads_scales() || rng.random()) {
        let factor = match has_tensor_scale {
            true => site.scale,
            false => 1.0,
        };
        f64::from(site.element.abs()) / (turn(rng, format.element()).abs() * factor)
    } else if variant.writes_dense() {
        let code = site.packed.code(site.row, site.col);
        let value = f64::from(format.element().decode(code)).abs();
        let factor = match has_tensor_scale {
            true => value * site.scale,
            false => value,
        };
        let y = value * site.scale * f64::from(site.packed.tensor_scale());
        halfway(variant.dense(), y) / factor
    } else if variant.operation().stores_scales() {
        let x = variant.source(&Sizes::of(problem).ok()?, problem).ok()?;
        let k = format.block_size();
        let cols = x.len() / site.packed.rows();
        let block = x[site.row * cols..][..cols].chunks(k).nth(site.col / k)?;
        let amax = block.iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
        let next = (site.scale_code + 1).min(format.scale().max_code());
        let next = f64::from(format.scale().decode(next));
        f64::from(amax / format.element().max_normal()) / ((site.scale + next) / 2.0)
    } else {
        return None;
    };
    let bits = (edge as f32).to_bits().wrapping_add(rng.random_range(0..3));
    let bits = bits.wrapping_sub(1);
    let is_normal = (0x0080_0000..0x7F80_0000).contains(&bits);
    is_normal.then_some(match has_tensor_scale {
        true => ("tensor_scale", 0, bits),
        false => ("scales", site.block, bits),
    })
}

/// Halfway between two neighbours of a dense type, close to `y`.
fn halfway(dense: FloatType, y: f64) -> f64 {
    let bits = dense.to_bits(y as f32);
    let value = |bits| f64::from(dense.from_bits(bits));
    (value(bits) + value(bits + 1)) / 2.0
}

/// Changes the seed of a stochastic rounding so that one element goes up just so, or just not.
pub(super) fn seed_on_edge(variant: &BlockVariant, rng: &mut impl Rng, problem: &mut Problem) {
    if let Some(seed) = edge_seed(variant, rng, problem) {
        problem.sizes.insert("seed".to_owned(), u64::from(seed));
    }
}

fn edge_seed(variant: &BlockVariant, rng: &mut impl Rng, problem: &Problem) -> Option<u32> {
    let is_stochastic = variant.format().rounding().draws();
    if !is_stochastic || !variant.reads_dense() {
        return None;
    }
    let sizes = Sizes::of(problem).ok()?;
    let site = Site::any(variant, rng, problem)?;
    let mut divisor = site.scale * f64::from(site.packed.tensor_scale());
    if variant.format().rule().is_least_error() {
        // Under any of the scales that are tried.
        divisor *= [0.5, 1.0, 2.0][rng.random_range(0..3)];
    }
    let t = f64::from((f64::from(site.element) / divisor) as f32);
    let rounding = variant.format().rounding();
    let code = |r: u32| variant.format().element().encode(t, rounding, r << 8);
    // It goes up under the draws 0 .. ups.
    let (highest, mut ups, mut downs) = ((1 << 24) - 1, 0, (1 << 24) - 1);
    while ups < downs {
        let middle = (ups + downs) / 2;
        match code(middle) == code(highest) {
            true => downs = middle,
            false => ups = middle + 1,
        }
    }
    let draw = match (ups, rng.random()) {
        (0, true) => 0,
        (0, false) => highest,
        (_, true) => ups - 1,
        (_, false) => ups,
    };
    let index = (sizes.first_row + site.row) as u64 * sizes.cols as u64 + site.col as u64;
    Some(seed_drawing(index, draw << 8 | rng.random_range(0..256)))
}
