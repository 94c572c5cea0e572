//! Which of two scales of a block of E2M1 has the smaller error, for many blocks at once.
//!
//! The definition adds squared errors in order, in f64. That order decides next to nothing: nearly
//! always the two sums are far apart, and f32 in any order says which is smaller. Where they are
//! not, the block is left to the definition.
//!
//! How far sums may be off: with h = RN(1 / d) of a divisor d, a = RN(|x| h) is rounded to the grid
//! and r is what is left. By the definition the error is e d, with e as large as r but for
//!
//! ```text
//! h, a and the definition's x / d      5 * 2^-24 a in all, below 2^-17.6 for a < 16
//! RN(RN(code X) S) over code RN(X S)   2 * 2^-24 * 6
//! ```
//!
//! together D < 2^-17.3. A number next to the middle of two values may go either way, which leaves
//! the size of the error as it is. So for n elements the sum E of r^2 is that of e^2 but for
//! 2 D sqrt(n E) + n D^2, and for 2^-17 E by the roundings of at most 128 additions. With
//! 2 D sqrt(n E) <= 2^-15 E + n 2^15 D^2 this is less than 2^-14 E + n 2^-19. The sum of the second
//! scale counts up to four times, as its divisor is at most twice the first.

use super::group_scales::scales_of_least_error;
use super::lanes::{AWAY, EVEN, HALF_TO_ZERO, magnitude_bits};
use super::pack::CHUNK;
use super::quantize::Kernel;
use super::scale::{BlockScale, PlainScales, lanes_of, plain_scales};
use super::simd::Simd;

/// Elements a must be below this.
const LARGEST: f32 = 16.0;
/// Divisors that are normal numbers, as are their reciprocals.
const DIVISORS: [f32; 2] = [f32::MIN_POSITIVE, 1.0 / f32::MIN_POSITIVE];
/// Lanes have an eighth of these at most, and are then added up.
const MOST_ELEMENTS: usize = 512;

impl<S: Simd> Kernel<'_, S> {
    /// The scales of as many whole blocks as a vector has lanes by `four-over-six`, from the
    /// largest magnitude of each. `None` if they must be computed one by one.
    #[inline(always)]
    pub fn four_over_six<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32],
        block_size: usize,
        amax: S::U,
    ) -> Option<PlainScales<S>> {
        let (s, plan) = (self.s, self.plan);
        if !matches!(ROUNDING, EVEN | AWAY | HALF_TO_ZERO) || block_size > MOST_ELEMENTS {
            return None;
        }
        let six = plain_scales(s, plan, self.scales, amax, 1.0)?;
        let four = plain_scales(s, plan, self.scales, amax, 1.5)?;
        let one = s.splat(1.0);
        let (high, low) = (s.div(one, six.factors), s.div(one, four.factors));
        let is_plain = s.both(
            is_below(s, s.mul(s.float(amax), high), s.splat(LARGEST)),
            s.both(
                s.at_most(s.splat(DIVISORS[0]), six.factors),
                s.at_most(four.factors, s.splat(DIVISORS[1])),
            ),
        );
        if !s.all(is_plain) {
            return None;
        }
        let mut sums = [[s.splat(0.0); CHUNK]; 2];
        let (highs, lows) = (lanes_of(s, high), lanes_of(s, low));
        for (i, x) in x.chunks_exact(block_size).take(S::LANES).enumerate() {
            let factors = [s.splat(highs[i]), s.splat(lows[i])];
            let mut errors = [s.splat(0.0); 2];
            for x in x.chunks_exact(S::LANES) {
                let x = s.float(magnitude_bits(s, s.load(x)));
                for (error, &factor) in errors.iter_mut().zip(&factors) {
                    let a = s.mul(x, factor);
                    let rest = s.sub(a, self.lanes.round_scales(a).0);
                    *error = s.add(*error, s.mul(rest, rest));
                }
            }
            [sums[0][i], sums[1][i]] = errors;
        }
        let ratio = s.div(high, low);
        let of_six = s.sum_of_each(&sums[0]);
        let of_four = s.mul(s.mul(s.sum_of_each(&sums[1]), ratio), ratio);
        let both = s.add(of_six, of_four);
        let slack = s.splat(block_size as f32 * (5.0 / (1 << 19) as f32));
        let bound = s.add(s.mul(both, s.splat(1.0 / (1 << 14) as f32)), slack);
        let takes_four = is_below(s, s.add(of_four, bound), of_six);
        let takes_six = is_below(s, s.add(of_six, bound), of_four);
        let are_same = s.equal(six.x, four.x);
        let chosen = PlainScales {
            codes: select(s, takes_four, four.codes, six.codes),
            x: s.float(select(s, takes_four, s.bits(four.x), s.bits(six.x))),
            factors: s.float(select(
                s,
                takes_four,
                s.bits(four.factors),
                s.bits(six.factors),
            )),
        };
        let is_decided = s.either(are_same, s.either(takes_four, takes_six));
        if s.all(is_decided) {
            return Some(chosen);
        }
        let decided = s.keep_if(is_decided, s.splat_bits(1));
        Some(self.decide::<ROUNDING, SIGNED>(x, block_size, decided, chosen))
    }

    /// With the scales of blocks that are not `decided` by the definition.
    #[inline(always)]
    fn decide<const ROUNDING: u8, const SIGNED: bool>(
        &self,
        x: &[f32],
        block_size: usize,
        decided: S::U,
        chosen: PlainScales<S>,
    ) -> PlainScales<S> {
        let s = self.s;
        let decided = lanes_of(s, s.float(decided));
        let mut codes = lanes_of(s, s.float(chosen.codes));
        let (mut xs, mut factors) = (lanes_of(s, chosen.x), lanes_of(s, chosen.factors));
        for (i, block) in x.chunks_exact(block_size).take(S::LANES).enumerate() {
            let mut scale = [BlockScale::Zero; CHUNK];
            if decided[i].to_bits() == 0 {
                // Roundings to nearest draw nothing, so no position matters.
                scales_of_least_error::<S, ROUNDING, SIGNED>(s, self.plan, block, 0, &mut scale);
            }
            if let BlockScale::Fraction { code, x, divisor } = scale[0] {
                (codes[i], xs[i], factors[i]) = (f32::from_bits(code), x, divisor);
            }
        }
        PlainScales {
            codes: s.bits(s.load(&codes)),
            x: s.load(&xs),
            factors: s.load(&factors),
        }
    }
}

#[inline(always)]
fn is_below<S: Simd>(s: S, a: S::F, b: S::F) -> S::M {
    s.not(s.at_most(b, a))
}

/// `a` where the condition holds, else `b`.
#[inline(always)]
fn select<S: Simd>(s: S, condition: S::M, a: S::U, b: S::U) -> S::U {
    s.or(s.keep_if(condition, a), s.keep_unless(condition, b))
}
