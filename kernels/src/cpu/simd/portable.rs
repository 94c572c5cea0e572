//! N lanes as an array: what every target has.

use super::Simd;
use std::convert::Infallible;

/// N lanes. With N = 1, the scalar form of the same arithmetic.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Portable<const N: usize>;

#[inline(always)]
fn each<const N: usize, A: Copy, B: Copy + Default>(a: [A; N], f: impl Fn(A) -> B) -> [B; N] {
    let mut out = [B::default(); N];
    for i in 0..N {
        out[i] = f(a[i]);
    }
    out
}

#[inline(always)]
fn pairs<const N: usize, A: Copy, B: Copy + Default>(
    a: [A; N],
    b: [A; N],
    f: impl Fn(A, A) -> B,
) -> [B; N] {
    let mut out = [B::default(); N];
    for i in 0..N {
        out[i] = f(a[i], b[i]);
    }
    out
}

/// All ones where `x`.
#[inline(always)]
const fn mask(x: bool) -> u32 {
    (x as u32).wrapping_neg()
}

impl<const N: usize> Simd for Portable<N> {
    const LANES: usize = N;
    const DECODES_WORDS: bool = false;
    const LOOKS_UP_LANES: bool = false;
    type F = [f32; N];
    type U = [u32; N];
    type M = [u32; N];
    type Table = [f32; 16];
    type Bytes = [u8; 16];
    type E2m1 = Infallible;

    #[inline(never)]
    fn outline<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn e2m1(self) -> Option<Self::E2m1> {
        None
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> [f32; N] {
        let mut out = [0.0; N];
        out.copy_from_slice(&x[..N]);
        out
    }
    #[inline(always)]
    fn store(self, x: [f32; N], to: &mut [f32]) {
        to[..N].copy_from_slice(&x);
    }
    #[inline(always)]
    fn load_bytes(self, x: &[u8]) -> [u32; N] {
        let mut bytes = [0u8; N];
        bytes.copy_from_slice(&x[..N]);
        each(bytes, u32::from)
    }
    #[inline(always)]
    fn load_nibbles(self, x: &[u8]) -> [u32; N] {
        let mut out = [0; N];
        for (pair, &byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(&x[..N / 2]) {
            *pair = [u32::from(byte & 15), u32::from(byte >> 4)];
        }
        out
    }
    #[inline(always)]
    fn load_halves(self, x: &[u16]) -> [u32; N] {
        std::array::from_fn(|lane| x[lane].into())
    }
    #[inline(always)]
    fn load_bits(self, x: &[u32]) -> [u32; N] {
        let mut out = [0; N];
        out.copy_from_slice(&x[..N]);
        out
    }
    #[inline(always)]
    fn store_bytes(self, x: [u32; N], to: &mut [u8]) {
        to[..N].copy_from_slice(&each(x, |x| x as u8));
    }
    #[inline(always)]
    fn store_nibbles(self, x: [u32; N], to: &mut [u8]) {
        for (byte, pair) in to[..N / 2].iter_mut().zip(x.as_chunks::<2>().0) {
            *byte = (pair[0] | pair[1] << 4) as u8;
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; N] {
        [x; N]
    }
    #[inline(always)]
    fn splat_bits(self, x: u32) -> [u32; N] {
        [x; N]
    }
    #[inline(always)]
    fn iota(self) -> [u32; N] {
        let mut out = [0; N];
        for (i, out) in out.iter_mut().enumerate() {
            *out = i as u32;
        }
        out
    }
    #[inline(always)]
    fn bits(self, x: [f32; N]) -> [u32; N] {
        each(x, f32::to_bits)
    }
    #[inline(always)]
    fn float(self, x: [u32; N]) -> [f32; N] {
        each(x, f32::from_bits)
    }

    #[inline(always)]
    fn add(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        pairs(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        pairs(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        pairs(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        pairs(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        let mut out = [0.0; N];
        for i in 0..N {
            out[i] = a[i].mul_add(b[i], c[i]);
        }
        out
    }
    #[inline(always)]
    fn min(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        pairs(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn convert(self, x: [u32; N]) -> [f32; N] {
        each(x, |x| x as i32 as f32)
    }

    #[inline(always)]
    fn add_bits(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, u32::wrapping_add)
    }
    #[inline(always)]
    fn sub_bits(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, u32::wrapping_sub)
    }
    #[inline(always)]
    fn mul_bits(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, u32::wrapping_mul)
    }
    #[inline(always)]
    fn and(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn or(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn xor(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| a ^ b)
    }
    #[inline(always)]
    fn max_bits(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn shift_left(self, x: [u32; N], count: u32) -> [u32; N] {
        each(x, |x| x.wrapping_shl(count))
    }
    #[inline(always)]
    fn shift_right(self, x: [u32; N], count: u32) -> [u32; N] {
        each(x, |x| x.wrapping_shr(count))
    }
    #[inline(always)]
    fn largest(self, x: [u32; N]) -> u32 {
        x.into_iter()
            .fold(0, |largest, x| if x > largest { x } else { largest })
    }

    #[inline(always)]
    fn equal(self, a: [f32; N], b: [f32; N]) -> [u32; N] {
        pairs(a, b, |a, b| mask(a == b))
    }
    #[inline(always)]
    fn at_most(self, a: [f32; N], b: [f32; N]) -> [u32; N] {
        pairs(a, b, |a, b| mask(a <= b))
    }
    #[inline(always)]
    fn exceeds(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| mask(a as i32 > b as i32))
    }
    #[inline(always)]
    fn both(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| a & b)
    }
    #[inline(always)]
    fn either(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| a | b)
    }
    #[inline(always)]
    fn not(self, a: [u32; N]) -> [u32; N] {
        each(a, |a| !a)
    }
    #[inline(always)]
    fn all(self, a: [u32; N]) -> bool {
        a.into_iter().fold(u32::MAX, |all, a| all & a) != 0
    }

    #[inline(always)]
    fn keep_if(self, condition: [u32; N], x: [u32; N]) -> [u32; N] {
        pairs(condition, x, |condition, x| condition & x)
    }
    #[inline(always)]
    fn keep_unless(self, condition: [u32; N], x: [u32; N]) -> [u32; N] {
        pairs(condition, x, |condition, x| !condition & x)
    }

    #[inline(always)]
    fn table(self, values: &[f32; 16]) -> [f32; 16] {
        *values
    }
    #[inline(always)]
    fn look_up(self, table: [f32; 16], index: [u32; N]) -> [f32; N] {
        each(index, |index| table[(index & 15) as usize])
    }

    #[inline(always)]
    fn sixteen_bytes(self, bytes: &[u8; 16]) -> [u8; 16] {
        *bytes
    }
    #[inline(always)]
    fn look_up_bytes(self, table: [u8; 16], index: [u32; N]) -> [u32; N] {
        let entry = |index: u8| {
            if index < 128 {
                table[usize::from(index & 15)]
            } else {
                0
            }
        };
        each(index, |index| {
            u32::from_le_bytes(each(index.to_le_bytes(), entry))
        })
    }
    #[inline(always)]
    fn add_bytes(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        pairs(a, b, |a, b| {
            u32::from_le_bytes(pairs(a.to_le_bytes(), b.to_le_bytes(), u8::wrapping_add))
        })
    }
    #[inline(always)]
    fn arrange_bytes(self, x: [u32; N]) -> [u32; N] {
        x
    }
    #[inline(always)]
    fn zip_bytes(self, low: [u32; N], high: [u32; N]) -> [[u32; N]; 2] {
        let zip = |low: u32, high: u32, first: usize| {
            let (low, high) = (low.to_le_bytes(), high.to_le_bytes());
            u32::from_le_bytes([low[first], high[first], low[first + 1], high[first + 1]])
        };
        [
            pairs(low, high, |low, high| zip(low, high, 0)),
            pairs(low, high, |low, high| zip(low, high, 2)),
        ]
    }
    #[inline(always)]
    fn lower_halves(self, a: [u32; N], b: [u32; N]) -> [u32; N] {
        let halves = |a: u32, b: u32, shift: u32| {
            let [a, b] = [a, b].map(|x| (x >> shift) as u16);
            u32::from(a.saturating_sub(b)) << shift
        };
        pairs(a, b, |a, b| halves(a, b, 0) | halves(a, b, 16))
    }
}
