//! E8M0: powers of two, the shared scales of block formats. Code `c` is `2^(c - 127)`, 255 is NaN.

use super::exact::Rounding;

/// The code of the magnitude of `x`, rounded up or towards zero to a power of two. What is below
/// the smallest becomes the smallest. What is above the largest becomes the largest when
/// `saturating`, infinity too, else NaN.
pub fn to_e8m0(x: f32, rounding: Rounding, saturating: bool) -> u8 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    if x.is_nan() {
        return 0xff;
    }
    let exponent = magnitude >> 23;
    // 2^-127, the smallest power, is the subnormal with only the top mantissa bit.
    let mantissa = magnitude & 0x7f_ffff;
    let is_above = if exponent == 0 {
        mantissa > 1 << 22
    } else {
        mantissa != 0
    };
    let code = exponent + u32::from(rounding == Rounding::Up && is_above);
    if code > 254 && saturating {
        254
    } else {
        code as u8
    }
}

/// The `bf16` code of a scale.
pub const fn from_e8m0(code: u8) -> u16 {
    match code {
        0 => 0x0040,
        255 => 0x7fff,
        _ => (code as u16) << 7,
    }
}
