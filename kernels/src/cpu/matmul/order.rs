//! Scalar definitions of the orders of sums.

use super::{CHAIN, Path};

/// Columns of a step of tiles.
const TILE_COLUMNS: usize = 32;

impl Path {
    /// The sums that this path may compute for a row of x and a row of W: in the order of the
    /// chains; for AMX in the order of tiles, or of the chains where the operands are not bf16.
    pub fn sums(self, x: &[f32], w: &[f32]) -> Vec<f32> {
        match self {
            Self::Amx => vec![tiled(x, w), chained(x, w)],
            Self::Avx512Bf16 | Self::F32(_) => vec![chained(x, w)],
        }
    }
}

/// Fused multiply-adds in the order of columns from zero, chain by chain, and the chains added up
/// in order.
pub(super) fn chained(x: &[f32], w: &[f32]) -> f32 {
    by_chains(x, w, |x, w| {
        let pairs = x.iter().zip(w);
        pairs.fold(0.0, |sum, (x, w)| w.mul_add(*x, sum))
    })
}

/// The order of AMX tiles: for each 32 columns, the even and the odd ones form two chains from
/// zero, whose sum is added to the accumulator. Subnormals count as zero.
pub(super) fn tiled(x: &[f32], w: &[f32]) -> f32 {
    let step = |x: &[f32], w: &[f32]| {
        let chain = |first: usize| {
            let pairs = x.iter().zip(w).skip(first).step_by(2);
            pairs.fold(0.0, |sum, (&x, &w)| {
                flushed(flushed(x).mul_add(flushed(w), sum))
            })
        };
        flushed(chain(0) + chain(1))
    };
    by_chains(x, w, |x, w| {
        let steps = x.chunks(TILE_COLUMNS).zip(w.chunks(TILE_COLUMNS));
        steps.fold(0.0, |sum, (x, w)| flushed(sum + step(x, w)))
    })
}

fn by_chains(x: &[f32], w: &[f32], chain: impl Fn(&[f32], &[f32]) -> f32) -> f32 {
    let chains = x.chunks(CHAIN).zip(w.chunks(CHAIN));
    let chains = chains.map(|(x, w)| chain(x, w));
    chains.reduce(|total, sum| total + sum).unwrap_or(0.0)
}

/// Zero for a subnormal.
pub(super) fn flushed(x: f32) -> f32 {
    if x.is_subnormal() {
        0.0_f32.copysign(x)
    } else {
        x
    }
}
