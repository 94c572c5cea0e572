//! Super-blocks of 256 elements: parts with small integers as scales, and for some as minima, under
//! f16 factors of the super-block.
//!
//! Scales of the parts are searched first. They are rounded to multiples of the factor, and the
//! codes are chosen again for the rounded ones; a part whose scale becomes 0 keeps those of the
//! search. [`super::decode`] describes the layouts.

use half::f16;

use super::integers::write_half;
use super::search::{Affine, EPSILON, nearest, symmetric, symmetric_by_descent};

/// Elements of a super-block.
const BLOCK: usize = 256;

fn rounded(factor: f32) -> f32 {
    f16::from_f32(factor).to_f32()
}

/// Codes, and the integers of each part.
struct Parts {
    codes: [u8; BLOCK],
    scales: [u8; 16],
    minima: [u8; 16],
}

/// A format with minima.
struct WithMinima {
    /// Elements of a part.
    part: usize,
    /// The largest integer of scales and minima.
    most: u8,
    /// Weights of a part's elements in its error.
    weights: fn(&[f32], &mut [f32]),
    search: Affine,
}

impl WithMinima {
    /// Writes the two factors at `at`.
    fn encode(&self, values: &[f32], out: &mut [u8], at: usize) -> Parts {
        let mut codes = [0; BLOCK];
        let (mut scales, mut minima) = ([0.0; 16], [0.0; 16]);
        let mut weights = [0.0; 32];
        for (part, values) in values.chunks_exact(self.part).enumerate() {
            let weights = &mut weights[..self.part];
            (self.weights)(values, weights);
            let codes = &mut codes[part * self.part..][..self.part];
            (scales[part], minima[part]) = self.search.search(values, weights, codes);
        }
        let most = f32::from(self.most);
        let integers = |values: &[f32; 16]| {
            let largest = values.iter().fold(0.0, |a, &b| if b > a { b } else { a });
            let inverse = if largest > 0.0 { most / largest } else { 0.0 };
            let integer = |value| (nearest(inverse * value) as u8).min(self.most);
            (largest / most, values.map(integer))
        };
        let ((factor, scales), (of_minima, minima)) = (integers(&scales), integers(&minima));
        write_half(out, at, factor);
        write_half(out, at + 2, of_minima);
        let parts = values
            .chunks_exact(self.part)
            .zip(codes.chunks_exact_mut(self.part));
        for (part, (values, codes)) in parts.enumerate() {
            let scale = rounded(factor) * f32::from(scales[part]);
            if scale == 0.0 {
                continue;
            }
            let minimum = rounded(of_minima) * f32::from(minima[part]);
            for (code, x) in codes.iter_mut().zip(values) {
                let l = nearest((x + minimum) / scale);
                *code = l.clamp(0, i32::from(self.search.most)) as u8;
            }
        }
        Parts {
            codes,
            scales,
            minima,
        }
    }
}

fn magnitudes(values: &[f32], weights: &mut [f32]) {
    for (weight, x) in weights.iter_mut().zip(values) {
        *weight = x.abs();
    }
}

/// Magnitudes, and the root of the mean square of the part.
fn magnitudes_and_mean(values: &[f32], weights: &mut [f32]) {
    let squares = values.iter().fold(0.0, |sum, x| sum + x * x);
    let mean = (squares / values.len() as f32).sqrt();
    for (weight, x) in weights.iter_mut().zip(values) {
        *weight = mean + x.abs();
    }
}

/// Four planes of 32 codes of 2 bits in each half.
fn write_twos(codes: impl Iterator<Item = u8>, out: &mut [u8]) {
    for (i, code) in codes.enumerate() {
        out[i / 128 * 32 + i % 32] |= (code & 3) << (2 * (i / 32 % 4));
    }
}

/// Two planes of 32 codes of 4 bits in each quarter.
fn write_fours(codes: &[u8; BLOCK], out: &mut [u8]) {
    for (i, code) in codes.iter().enumerate() {
        out[i / 64 * 32 + i % 32] |= (code & 15) << (4 * (i / 32 % 2));
    }
}

/// Eight planes of 32 bits.
fn write_bits(bits: impl Iterator<Item = u8>, out: &mut [u8]) {
    for (i, bit) in bits.enumerate() {
        out[i % 32] |= bit << (i / 32);
    }
}

pub(super) fn q2_k(values: &[f32], out: &mut [u8]) {
    const FORMAT: WithMinima = WithMinima {
        part: 16,
        most: 15,
        weights: magnitudes,
        search: Affine {
            most: 3,
            first: -0.5,
            steps: 15,
            error: f32::abs,
        },
    };
    let parts = FORMAT.encode(values, out, 80);
    for ((out, scale), minimum) in out.iter_mut().zip(parts.scales).zip(parts.minima) {
        *out = scale | minimum << 4;
    }
    write_twos(parts.codes.into_iter(), &mut out[16..80]);
}

const fn of_eight_parts(most: u8, first: f32, steps: i32) -> WithMinima {
    WithMinima {
        part: 32,
        most: 63,
        weights: magnitudes_and_mean,
        search: Affine {
            most,
            first,
            steps,
            error: |difference| difference * difference,
        },
    }
}

/// Scales and minima of eight parts, 6 bits each: those of the first four have bytes of their own,
/// whose upper bits are those of the last four.
fn write_sixes(Parts { scales, minima, .. }: &Parts, out: &mut [u8]) {
    for part in 0..4 {
        let last = part + 4;
        out[part] = scales[part] | scales[last] >> 4 << 6;
        out[last] = minima[part] | minima[last] >> 4 << 6;
        out[part + 8] = scales[last] & 15 | minima[last] << 4;
    }
}

pub(super) fn q4_k(values: &[f32], out: &mut [u8]) {
    const FORMAT: WithMinima = of_eight_parts(15, -1.0, 20);
    let parts = FORMAT.encode(values, out, 0);
    write_sixes(&parts, &mut out[4..16]);
    write_fours(&parts.codes, &mut out[16..]);
}

pub(super) fn q5_k(values: &[f32], out: &mut [u8]) {
    const FORMAT: WithMinima = of_eight_parts(31, -0.5, 15);
    let parts = FORMAT.encode(values, out, 0);
    write_sixes(&parts, &mut out[4..16]);
    write_bits(parts.codes.iter().map(|code| code >> 4), &mut out[16..48]);
    write_fours(&parts.codes, &mut out[48..]);
}

/// A part of a format without minima.
const PART: usize = 16;

/// The scale of each part, its largest magnitude with its sign, and the codes.
fn searched(
    values: &[f32],
    half: i32,
    search: fn(&[f32], i32, &mut [u8]) -> f32,
) -> ([f32; 16], f32, [u8; BLOCK]) {
    let (mut codes, mut scales) = ([0; BLOCK], [0.0; 16]);
    let parts = values.chunks_exact(PART).zip(codes.chunks_exact_mut(PART));
    for (scale, (values, codes)) in scales.iter_mut().zip(parts) {
        *scale = search(values, half, codes);
    }
    (scales, super::integers::extreme(&scales), codes)
}

/// Codes for rounded scales, with an offset of `half`.
fn choose(values: &[f32], half: i32, scale: impl Fn(usize) -> f32, codes: &mut [u8; BLOCK]) {
    let parts = values.chunks_exact(PART).zip(codes.chunks_exact_mut(PART));
    for (part, (values, codes)) in parts.enumerate() {
        let scale = scale(part);
        if scale == 0.0 {
            continue;
        }
        for (code, x) in codes.iter_mut().zip(values) {
            *code = (nearest(x / scale).clamp(-half, half - 1) + half) as u8;
        }
    }
}

pub(super) fn q3_k(values: &[f32], out: &mut [u8]) {
    let (scales, extreme, mut codes) = searched(values, 4, symmetric_by_descent);
    // Without a scale all bits of the integers are 0.
    let mut integers = [-32i8; 16];
    let mut factor = 0.0;
    if extreme != 0.0 {
        let inverse = -32.0 / extreme;
        integers = scales.map(|scale| (nearest(inverse * scale) as i8).clamp(-32, 31));
        factor = 1.0 / inverse;
    }
    write_half(out, 108, factor);
    let scale = |part: usize| rounded(factor) * f32::from(integers[part]);
    choose(values, 4, scale, &mut codes);
    for (part, integer) in integers.into_iter().enumerate() {
        let bits = (integer + 32) as u8;
        out[96 + part % 8] |= (bits & 15) << (4 * (part / 8));
        out[104 + part % 4] |= bits >> 4 << (2 * (part / 4));
    }
    write_bits(codes.iter().map(|code| code >> 2), &mut out[..32]);
    write_twos(codes.into_iter(), &mut out[32..96]);
}

pub(super) fn q6_k(values: &[f32], out: &mut [u8]) {
    let (scales, extreme, mut codes) = searched(values, 32, symmetric);
    if extreme.abs() < EPSILON {
        return;
    }
    let inverse = -128.0 / extreme;
    let factor = 1.0 / inverse;
    let integers = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
    write_half(out, 208, factor);
    let scale = |part: usize| rounded(factor) * f32::from(integers[part]);
    choose(values, 32, scale, &mut codes);
    for (i, code) in codes.iter().enumerate() {
        out[i / 128 * 64 + i % 64] |= (code & 15) << (4 * (i / 64 % 2));
    }
    write_twos(codes.iter().map(|code| code >> 4), &mut out[128..192]);
    for (out, integer) in out[192..208].iter_mut().zip(integers) {
        *out = integer as u8;
    }
}
