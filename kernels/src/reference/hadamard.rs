//! Rotations of rows.

use crate::format::{FloatType, Hadamard};

/// Rotates a row: x D H / sqrt(n) for each n columns, in f32, the result rounded to `dtype`.
///
/// After the signs, values of a block that are h apart become their sum and difference, for h = 1,
/// 2, 4 and so on up to half of the power of two 2^j. Then, unless n is one, column b of every 2^j
/// is multiplied by the base P: a sum over the rows of P in their order. The factor comes last.
///
/// # Panics
/// If the row is no whole number of blocks, or has another length than the signs.
pub fn hadamard(x: &mut [f32], rotation: &Hadamard, dtype: FloatType) {
    assert_eq!(x.len() % rotation.size(), 0, "a row has whole blocks");
    if let Some(signs) = rotation.signs() {
        assert_eq!(x.len(), signs.len(), "a sign for every column");
        x.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
    }
    let base = rotation.base();
    let inner = rotation.size() / base.len();
    for block in x.chunks_exact_mut(rotation.size()) {
        let mut apart = 1;
        while apart < inner {
            for first in (0..block.len()).filter(|i| i & apart == 0) {
                let (a, b) = (block[first], block[first + apart]);
                (block[first], block[first + apart]) = (a + b, a - b);
            }
            apart *= 2;
        }
        if base.len() > 1 {
            let mixed: Vec<f32> = (0..block.len())
                .map(|at| {
                    let (to, b) = (at / inner, at % inner);
                    let of_row = |row: usize| base[row][to] * block[row * inner + b];
                    (1..base.len()).fold(of_row(0), |sum, row| sum + of_row(row))
                })
                .collect();
            block.copy_from_slice(&mixed);
        }
        for x in block {
            *x = dtype.round(*x * rotation.factor());
        }
    }
}
