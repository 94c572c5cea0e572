//! The values of ggml's blocks of integers.
//!
//! Each function writes what one block stands for, with the operations of ggml's reference in f32
//! and in its order: the scale of a sub-block first, then its product with the integer, then the
//! minimum. Integers of 4 bits and fewer lie in planes: byte i holds element i of each plane.

use half::f16;

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The two planes of 16 integers of 4 bits.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let low = bytes.iter().map(|byte| byte & 15);
    low.chain(bytes.iter().map(|byte| byte >> 4))
}

/// One f16.
pub(super) fn f16(block: &[u8], out: &mut [f32]) {
    out[0] = half(block, 0);
}

fn write(out: &mut [f32], values: impl Iterator<Item = f32>) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = value;
    }
}

/// f16 scale, then 32 integers of 4 bits with offset 8.
pub(super) fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    write(
        out,
        nibbles(&block[2..]).map(|q| scale * (f32::from(q) - 8.0)),
    );
}

/// f16 scale, f16 minimum, then 32 integers of 4 bits.
pub(super) fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half(block, 0), half(block, 2));
    write(
        out,
        nibbles(&block[4..]).map(|q| scale * f32::from(q) + min),
    );
}

/// The 32 integers of 5 bits whose fifth bits are a word before the others.
fn fives(block: &[u8]) -> impl Iterator<Item = f32> {
    let high = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    let low = nibbles(&block[4..]).enumerate();
    low.map(move |(i, q)| f32::from(q + (high >> i & 1) as u8 * 16))
}

/// f16 scale, then 32 integers of 5 bits with offset 16.
pub(super) fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    write(out, fives(&block[2..]).map(|q| scale * (q - 16.0)));
}

/// f16 scale, f16 minimum, then 32 integers of 5 bits.
pub(super) fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half(block, 0), half(block, 2));
    write(out, fives(&block[4..]).map(|q| scale * q + min));
}

/// f16 scale, then 32 signed bytes.
pub(super) fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    write(out, block[2..].iter().map(|&q| f32::from(q as i8) * scale));
}

/// The levels of IQ4_NL.
pub(super) const LEVELS: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// f16 scale, then 32 indices into a table of signed bytes.
pub(super) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    let scale = half(block, 0);
    write(
        out,
        nibbles(&block[2..]).map(|q| scale * LEVELS[usize::from(q)]),
    );
}

/// 16 bytes of a scale and a minimum of 4 bits each, for 16 elements; 64 bytes with four planes of
/// 32 elements in each half; f16 factors of scales and minima.
pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (scale, min) = (half(block, 80), half(block, 82));
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let of_part = scale * f32::from(scales[part] & 15);
        let min = min * f32::from(scales[part] >> 4);
        let codes = twos(codes, part);
        write(out, codes.map(|q| of_part * f32::from(q) - min));
    }
}

/// Integers of 2 bits number `16 * part` and on, of two halves with four planes of 32.
fn twos(bytes: &[u8], part: usize) -> impl Iterator<Item = u8> {
    let (half, plane, first) = (part / 8, part / 2 % 4, part % 2 * 16);
    let bytes = bytes[half * 32 + first..][..16].iter();
    bytes.map(move |byte| byte >> (2 * plane) & 3)
}

/// 32 bytes with eight planes of third bits, whose absence subtracts 4; 64 bytes as in Q2_K; 16
/// scales of 6 bits with offset 32; their f16 factor.
pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, codes, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let factor = half(block, 108);
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let low = scales[part % 8] >> (4 * (part / 8)) & 15;
        let top = scales[8 + part % 4] >> (2 * (part / 4)) & 3;
        let scale = factor * (f32::from(low | top << 4) - 32.0);
        let high = high[part % 2 * 16..][..16].iter();
        let values = twos(codes, part).zip(high);
        let value = |(q, high): (u8, &u8)| {
            let offset = 4 * (1 - (high >> (part / 2) & 1));
            scale * (f32::from(q) - f32::from(offset))
        };
        write(out, values.map(value));
    }
}

/// Scales and minima of 6 bits of the eight parts of a Q4_K or Q5_K.
fn scales_and_minima(bytes: &[u8]) -> [(f32, f32); 8] {
    std::array::from_fn(|part| {
        let (scale, min) = match part {
            0..4 => (bytes[part] & 63, bytes[part + 4] & 63),
            _ => (
                bytes[part + 4] & 15 | bytes[part - 4] >> 6 << 4,
                bytes[part + 4] >> 4 | bytes[part] >> 6 << 4,
            ),
        };
        (f32::from(scale), f32::from(min))
    })
}

/// f16 factors of scales and minima, 12 bytes of these, and 128 bytes with two planes of 32
/// elements in each quarter.
pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    k_fours(block, &block[16..], out, |_, _| 0);
}

/// As Q4_K, with 32 bytes of fifth bits before the others: a plane for each part.
pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let high = &block[16..48];
    k_fours(block, &block[48..], out, |part, i| {
        (high[i] >> part & 1) * 16
    });
}

fn k_fours(block: &[u8], codes: &[u8], out: &mut [f32], high: impl Fn(usize, usize) -> u8) {
    let (factor, of_min) = (half(block, 0), half(block, 2));
    let parts = scales_and_minima(&block[4..16]).into_iter().enumerate();
    for ((part, (scale, min)), out) in parts.zip(out.chunks_exact_mut(32)) {
        let (scale, min) = (factor * scale, of_min * min);
        let codes = codes[part / 2 * 32..][..32].iter().enumerate();
        let value = |(i, byte): (usize, &u8)| {
            let q = byte >> (4 * (part % 2)) & 15 | high(part, i);
            scale * f32::from(q) - min
        };
        write(out, codes.map(value));
    }
}

/// 128 bytes with two planes of 64 elements in each half, 64 bytes with four planes of upper bits
/// of 32 elements in each half, 16 signed scales, and their f16 factor. The offset is 32.
pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let factor = half(block, 208);
    for (part, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = factor * f32::from(scales[part] as i8);
        let (half, plane, first) = (part / 8, part / 4 % 2, part % 4 * 16);
        let low = low[half * 64 + first..][..16].iter();
        let values = low.zip(twos(high, part));
        let value = |(low, high): (&u8, u8)| {
            let q = low >> (4 * plane) & 15 | high << 4;
            scale * (f32::from(q) - 32.0)
        };
        write(out, values.map(value));
    }
}
