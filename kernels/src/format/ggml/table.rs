//! IQ4_NL: indices into a table of signed bytes.

use super::decode::LEVELS;
use super::integers::{extreme, inverse, write_half, write_nibbles};
use super::search::{EPSILON, Sums};

/// Candidates on each side of the factor that maps the extreme element to the lowest level.
const CANDIDATES: i32 = 7;

/// The factor of least error, weighted by the squares of the elements, of those that map the
/// extreme element near the lowest level.
pub(super) fn iq4_nl(values: &[f32], out: &mut [u8]) {
    let factor = factor(values);
    write_half(out, 0, factor);
    let inverse = inverse(factor);
    let codes = std::array::from_fn(|i| nearest(inverse * values[i]) as u8);
    write_nibbles(&codes, &mut out[2..]);
}

fn factor(values: &[f32]) -> f32 {
    let extreme = extreme(values);
    if extreme.abs() < EPSILON {
        return 0.0;
    }
    let sums = |inverse: f32| {
        let pairs = values.iter().map(|&x| (x, LEVELS[nearest(inverse * x)]));
        Sums::of(pairs, |w, x, l| w * l * x)
    };
    let first = sums(1.0 / (-extreme / LEVELS[0]));
    let mut factor = first.factor();
    let mut best = factor * first.xl;
    for step in -CANDIDATES..=CANDIDATES {
        let sums = sums((step as f32 + LEVELS[0]) / extreme);
        if sums.is_better_than(best) {
            factor = sums.factor();
            best = factor * sums.xl;
        }
    }
    factor
}

/// The index of the level nearest to `x`; of two at the same distance the higher one.
fn nearest(x: f32) -> usize {
    let last = LEVELS.len() - 1;
    if x <= LEVELS[0] {
        return 0;
    }
    if x >= LEVELS[last] {
        return last;
    }
    let above = LEVELS[1..last].iter().position(|&level| x < level);
    let above = above.map_or(last, |index| index + 1);
    if x - LEVELS[above - 1] < LEVELS[above] - x {
        above - 1
    } else {
        above
    }
}
