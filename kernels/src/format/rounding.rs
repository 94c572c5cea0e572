//! How a value between two neighbours of an element format is rounded.

use super::FormatError;
use super::error::serde_as_name;
use std::fmt;
use std::str::FromStr;

/// The rounding of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To nearest, half to the even number of steps. Between powers of two of a format without
    /// mantissa bits neither is even: half goes to the larger magnitude (IEEE 754-2019, 4.3.1).
    Even,
    /// To nearest, half away from zero.
    Away,
    /// To nearest, half toward zero.
    HalfToZero,
    /// Toward zero.
    TowardZero,
    /// Up with a probability equal to the fraction; see [`random_at`].
    Stochastic {
        /// Chooses the stream of random numbers.
        seed: u32,
    },
}

impl Rounding {
    /// The seed of stochastic rounding; 0 for the other roundings.
    pub const fn seed(self) -> u32 {
        match self {
            Self::Stochastic { seed } => seed,
            Self::Even | Self::Away | Self::HalfToZero | Self::TowardZero => 0,
        }
    }

    /// Whether the rounding draws random numbers.
    pub const fn draws(self) -> bool {
        match self {
            Self::Stochastic { .. } => true,
            Self::Even | Self::Away | Self::HalfToZero | Self::TowardZero => false,
        }
    }

    /// The deterministic roundings, and the stochastic one with seed 0.
    pub const ALL: [Self; 5] = [
        Self::Even,
        Self::Away,
        Self::HalfToZero,
        Self::TowardZero,
        Self::Stochastic { seed: 0 },
    ];

    /// Rounds a non-negative magnitude, counted in steps, to a whole number of steps.
    ///
    /// `random` is used by the stochastic rounding only: with its top 24 bits as an integer r,
    /// the magnitude goes up iff `floor(fraction * 2^24) > r`. So a fraction below 2^-24 never
    /// goes up, and f32 arithmetic that flushes such a fraction to zero decides the same.
    pub fn round(self, steps: f64, random: u32) -> f64 {
        let below = steps.floor();
        let fraction = steps - below;
        let goes_up = match self {
            Self::Even => fraction > 0.5 || (fraction == 0.5 && below % 2.0 == 1.0),
            Self::Away => fraction >= 0.5,
            Self::HalfToZero => fraction > 0.5,
            Self::TowardZero => false,
            Self::Stochastic { .. } => stochastic_up(fraction, random),
        };
        if goes_up { below + 1.0 } else { below }
    }

    /// The random number that rounds element `index` (row-major position in the whole tensor).
    pub fn random(self, index: u64) -> u32 {
        match self {
            Self::Stochastic { seed } => random_at(seed, index),
            Self::Even | Self::Away | Self::HalfToZero | Self::TowardZero => 0,
        }
    }
}

/// Whether `fraction` in [0, 1) goes up under the random number; see [`Rounding::round`].
pub(super) fn stochastic_up(fraction: f64, random: u32) -> bool {
    (fraction * f64::from(1 << 24)).floor() > f64::from(random >> 8)
}

/// The random number of position `index` in stream `seed`: a counter-based generator, so
/// that it depends neither on the order nor on the number of threads, in 32-bit integer
/// operations that every backend has.
///
/// With `mix` the 32-bit finaliser of MurmurHash3:
/// `mix(mix(mix(seed + 0x9E3779B9) + low half of index) + high half of index)`, all wrapping.
pub const fn random_at(seed: u32, index: u64) -> u32 {
    let stream = mix(seed.wrapping_add(0x9E37_79B9));
    let low = mix(stream.wrapping_add(index as u32));
    mix(low.wrapping_add((index >> 32) as u32))
}

const fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ (h >> 16)
}

/// The seed of the stream in which the random number of position `index` is `random`.
pub(crate) const fn seed_drawing(index: u64, random: u32) -> u32 {
    let low = unmix(random).wrapping_sub((index >> 32) as u32);
    let stream = unmix(low).wrapping_sub(index as u32);
    unmix(stream).wrapping_sub(0x9E37_79B9)
}

/// What [`mix`] makes `h` of: its steps backwards, with the inverses of its factors.
const fn unmix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x7ED1_B41D);
    h ^= h >> 13 ^ h >> 26;
    h = h.wrapping_mul(0xA5CB_9243);
    h ^ (h >> 16)
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Even => f.pad("even"),
            Self::Away => f.pad("away"),
            Self::HalfToZero => f.pad("half-to-zero"),
            Self::TowardZero => f.pad("toward-zero"),
            Self::Stochastic { seed } => f.pad(&format!("stochastic:{seed}")),
        }
    }
}

impl FromStr for Rounding {
    type Err = FormatError;

    /// `stochastic` alone means seed 0.
    fn from_str(name: &str) -> Result<Self, FormatError> {
        let unknown = || FormatError::UnknownRounding {
            name: name.to_owned(),
            known: "even, away, half-to-zero, toward-zero, stochastic[:SEED]".to_owned(),
        };
        match name {
            "even" => Ok(Self::Even),
            "away" => Ok(Self::Away),
            "half-to-zero" => Ok(Self::HalfToZero),
            "toward-zero" => Ok(Self::TowardZero),
            "stochastic" => Ok(Self::Stochastic { seed: 0 }),
            _ => {
                let seed = name.strip_prefix("stochastic:").ok_or_else(unknown)?;
                let seed = seed.parse().map_err(|_| unknown())?;
                Ok(Self::Stochastic { seed })
            }
        }
    }
}

serde_as_name!(Rounding);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stream_draws_what_it_was_chosen_for(index: u64, random: u32) {
            prop_assert_eq!(random_at(seed_drawing(index, random), index), random);
        }
    }
}
