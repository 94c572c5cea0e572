//! Blocks of integers with one factor: ggml's reference, rounding by rounding.
//!
//! The inverse of the factor is taken before the factor is rounded to f16. Integers of 4 and 5 bits
//! are rounded by adding half a step and cutting off, with an offset that keeps them positive.

use half::f16;

/// Elements of a block.
const BLOCK: usize = 32;

/// Rounds to f16.
pub(super) fn f16(values: &[f32], out: &mut [u8]) {
    write_half(out, 0, values[0]);
}

pub(super) fn write_half(out: &mut [u8], at: usize, value: f32) {
    out[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// `1 / x`, or 0 for 0.
pub(super) fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// The first value whose magnitude is the largest; 0 if all are 0.
pub(super) fn extreme(values: &[f32]) -> f32 {
    let larger = |most: f32, &x: &f32| if x.abs() > most.abs() { x } else { most };
    values.iter().fold(0.0, larger)
}

/// Cuts off the fraction, and keeps the low byte. Values beyond an i32 give 0, as a processor's
/// conversion does.
fn cut(x: f32) -> i8 {
    if x.abs() < 2_147_483_648.0 {
        x as i32 as i8
    } else {
        0
    }
}

/// Signed bytes with factor amax / 127; ties round away from zero.
pub(super) fn q8_0(values: &[f32], out: &mut [u8]) {
    let amax = values.iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
    let factor = amax / 127.0;
    let inverse = inverse(factor);
    write_half(out, 0, factor);
    for (code, x) in out[2..].iter_mut().zip(values) {
        *code = cut((x * inverse).round()) as u8;
    }
}

/// Integers of `bits` bits with an offset of half their range. The element of the largest magnitude
/// gets the lowest one.
fn with_offset(values: &[f32], bits: u32, out: &mut [u8]) -> [u8; BLOCK] {
    let offset = f32::from(1u8 << (bits - 1));
    let factor = extreme(values) / -offset;
    let inverse = inverse(factor);
    write_half(out, 0, factor);
    std::array::from_fn(|i| cut(values[i] * inverse + (offset + 0.5)).min((1 << bits) - 1) as u8)
}

/// Integers of `bits` bits from the least value to the largest.
fn with_minimum(values: &[f32], bits: u32, out: &mut [u8]) -> [u8; BLOCK] {
    let least = values
        .iter()
        .fold(f32::MAX, |least, &x| if x < least { x } else { least });
    let most = values
        .iter()
        .fold(f32::MIN, |most, &x| if x > most { x } else { most });
    let factor = (most - least) / f32::from((1u8 << bits) - 1);
    let inverse = inverse(factor);
    write_half(out, 0, factor);
    write_half(out, 2, least);
    let code = |i: usize| cut((values[i] - least) * inverse + 0.5);
    std::array::from_fn(|i| code(i).min((1 << bits) - 1) as u8)
}

/// Byte i gets the low bits of element i and, above them, those of element i + 16.
pub(super) fn write_nibbles(codes: &[u8; BLOCK], out: &mut [u8]) {
    let (low, high) = codes.split_at(BLOCK / 2);
    for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
        *out = low & 15 | high << 4;
    }
}

/// A word of fifth bits, then the others.
fn write_fives(codes: &[u8; BLOCK], out: &mut [u8]) {
    let high = codes.iter().enumerate();
    let high = high.fold(0, |word, (i, code)| word | u32::from(code >> 4 & 1) << i);
    out[..4].copy_from_slice(&high.to_le_bytes());
    write_nibbles(codes, &mut out[4..]);
}

pub(super) fn q4_0(values: &[f32], out: &mut [u8]) {
    let codes = with_offset(values, 4, out);
    write_nibbles(&codes, &mut out[2..]);
}

pub(super) fn q4_1(values: &[f32], out: &mut [u8]) {
    let codes = with_minimum(values, 4, out);
    write_nibbles(&codes, &mut out[4..]);
}

pub(super) fn q5_0(values: &[f32], out: &mut [u8]) {
    let codes = with_offset(values, 5, out);
    write_fives(&codes, &mut out[2..]);
}

pub(super) fn q5_1(values: &[f32], out: &mut [u8]) {
    let codes = with_minimum(values, 5, out);
    write_fives(&codes, &mut out[4..]);
}
