//! Conversions of a single number to a scale, as hardware offers them apart from the rules for
//! blocks.

use super::ScaleFormat;
use super::grid::{exponent, pow2};

impl ScaleFormat {
    /// As [`ScaleFormat::encode_nearest`], but infinity and values that round above the largest
    /// scale become NaN.
    pub fn encode_nearest_or_nan(self, x: f32) -> u32 {
        let step_below = f64::from(self.max()) - f64::from(self.decode(self.max_code() - 1));
        // The largest code is even in every format, so halfway to the next rounds to it.
        let last_in_range = f64::from(self.max()) + step_below / 2.0;
        if f64::from(x) > last_in_range {
            self.nan_code()
        } else {
            self.encode_nearest(x)
        }
    }

    /// The power of two at or below |x|, saturating; zero becomes the smallest scale.
    /// `None` if this is no power-of-two scale.
    pub fn encode_floor(self, x: f32) -> Option<u32> {
        self.encode_power(x, exponent)
    }

    /// The power of two at or above |x|, saturating; zero becomes the smallest scale.
    /// `None` if this is no power-of-two scale.
    pub fn encode_ceil(self, x: f32) -> Option<u32> {
        self.encode_power(x, |x| exponent(x) + i32::from(x > pow2(exponent(x))))
    }

    fn encode_power(self, x: f32, log2: impl Fn(f64) -> i32) -> Option<u32> {
        let limit = self.exponent_limit()?;
        match x.abs() {
            x if x.is_nan() => Some(self.nan_code()),
            x if x.is_infinite() => Some(self.max_code()),
            0.0 => Some(self.smallest_code()),
            x => self.encode_exponent(log2(f64::from(x)).min(limit)),
        }
    }
}
