//! Rotation of rows, with the bits of [`mxlab_kernels::reference::hadamard`].

use multiversion::multiversion;
use mxlab_kernels::format::{FloatType, Hadamard};

use super::narrow;

/// Values that butterflies take in registers.
const LANES: usize = 8;

/// Rotates rows of one length in place.
///
/// # Panics
/// If a row is no whole number of blocks.
pub fn hadamard(rows: &mut [f32], cols: usize, rotation: &Hadamard, dtype: FloatType) {
    if let Some(signs) = rotation.signs() {
        for row in rows.chunks_exact_mut(cols) {
            row.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
        }
    }
    let base = rotation.base();
    if base.len() == 1 {
        mix_by_powers(rows, rotation.size());
    } else {
        mix_by_powers(rows, rotation.size() / base.len());
        let mut mixed = vec![0.0; rotation.size()];
        for block in rows.chunks_exact_mut(rotation.size()) {
            mix_by_base(block, base, &mut mixed);
            block.copy_from_slice(&mixed);
        }
    }
    scale(rows, rotation.factor());
    narrow(rows, dtype);
}

/// Sums and differences of the values of each `size` that are 1, 2, 4 and so on apart.
#[multiversion(targets = "simd")]
fn mix_by_powers(values: &mut [f32], size: usize) {
    if size >= LANES {
        let (groups, _) = values.as_chunks_mut::<LANES>();
        for group in groups {
            let near = butterfly(*group, 1);
            let near = butterfly(near, 2);
            *group = butterfly(near, 4);
        }
        let mut apart = LANES;
        while apart < size {
            for pair in values.chunks_exact_mut(2 * apart) {
                let (low, high) = pair.split_at_mut(apart);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            apart *= 2;
        }
    } else {
        for block in values.chunks_exact_mut(size) {
            let mut apart = 1;
            while apart < size {
                for first in (0..size).filter(|i| i & apart == 0) {
                    let (a, b) = (block[first], block[first + apart]);
                    (block[first], block[first + apart]) = (a + b, a - b);
                }
                apart *= 2;
            }
        }
    }
}

/// The step of values `apart` from each other within one group.
#[inline(always)]
fn butterfly(x: [f32; LANES], apart: usize) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        let other = x[i ^ apart];
        // a - b for the higher one, whose own value is b.
        out[i] = if i & apart == 0 {
            x[i] + other
        } else {
            other - x[i]
        };
    }
    out
}

/// `out[to, b] = sum over rows of base[row, to] block[row, b]`, in the order of rows.
#[multiversion(targets = "simd")]
fn mix_by_base(block: &[f32], base: &[Vec<f32>], out: &mut [f32]) {
    let inner = block.len() / base.len();
    for (to, out) in out.chunks_exact_mut(inner).enumerate() {
        for (row, x) in block.chunks_exact(inner).enumerate() {
            let sign = base[row][to];
            for (out, x) in out.iter_mut().zip(x) {
                *out = if row == 0 { sign * x } else { *out + sign * x };
            }
        }
    }
}

#[multiversion(targets = "simd")]
fn scale(values: &mut [f32], factor: f32) {
    values.iter_mut().for_each(|x| *x *= factor);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mxlab_kernels::format::{Rotation, random_at};
    use mxlab_kernels::reference;

    #[test]
    fn rows_are_those_of_the_definition() {
        let cases = [
            ("2", 6),
            ("4", 12),
            ("8", 40),
            ("32", 96),
            ("64:3", 192),
            ("512", 512),
        ];
        let of_rows = [("row", 36), ("row:1", 576), ("row", 1536), ("row", 64)];
        for (rotation, cols) in cases.into_iter().chain(of_rows) {
            let random = |i: usize| random_at(4, i as u64) as i32 as f32 / 2f32.powi(20);
            let mut values: Vec<f32> = (0..3 * cols).map(random).collect();
            // Zeros of both signs, and what is not finite.
            (values[0], values[1]) = (-0.0, -0.0);
            (values[cols], values[cols + 1]) = (f32::MAX, f32::MAX);
            values[2 * cols] = f32::INFINITY;
            let plan = rotation.parse::<Rotation>().unwrap().of_rows(cols).unwrap();
            for dtype in [FloatType::F32, FloatType::Bf16, FloatType::F16] {
                let mut law = values.clone();
                for row in law.chunks_mut(cols) {
                    reference::hadamard(row, &plan, dtype);
                }
                let mut fast = values.clone();
                hadamard(&mut fast, cols, &plan, dtype);
                let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
                let differs = law.iter().zip(&fast).position(|(&a, &b)| !same(a, b));
                assert_eq!(differs, None, "{rotation} {cols} {dtype}");
            }
        }
    }
}
