//! Loops over the lanes of a warp.

use super::Alu;
use crate::numeric::half::{Bf16, F16};
use crate::registers::{Class, LANES, Register, Registers};

/// A type that a register can hold, 32 lanes at a time.
///
/// Loops over lanes read each lane where it lies and gather results as [`Lane::Bits`]: arrays of
/// converted values in between would be copied through memory.
pub trait Lane: Copy + Default {
    /// The lanes of a register as they lie there.
    type Lanes<'a>: Copy;
    /// A lane as it lies there.
    type Bits: Copy + Default;

    /// The lanes of a register.
    fn lanes(registers: &Registers, register: Register) -> Self::Lanes<'_>;
    /// One of them.
    fn at(lanes: Self::Lanes<'_>, lane: usize) -> Self;
    /// As it lies in a register.
    fn bits(self) -> Self::Bits;
    /// Changes the active lanes of a register.
    fn set(registers: &mut Registers, register: Register, bits: [Self::Bits; LANES], active: u32);

    /// Reads the lanes of a register.
    #[inline(always)]
    fn load(registers: &Registers, register: Register) -> [Self; LANES] {
        let lanes = Self::lanes(registers, register);
        each(
            #[inline(always)]
            |i| Self::at(lanes, i),
        )
    }

    /// Changes the active lanes of a register to values.
    #[inline(always)]
    fn store(registers: &mut Registers, register: Register, values: [Self; LANES], active: u32) {
        let bits = each(
            #[inline(always)]
            |i| values[i].bits(),
        );
        Self::set(registers, register, bits, active);
    }
}

/// `f` of every lane. A plain loop, unlike `array::from_fn`, becomes vector instructions however
/// long `f` is.
#[inline(always)]
pub fn each<D: Copy + Default>(f: impl Fn(usize) -> D) -> [D; LANES] {
    let mut lanes = [D::default(); LANES];
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = f(i);
    }
    lanes
}

const BITS: [u32; LANES] = {
    let mut bits = [0; LANES];
    let mut i = 0;
    while i < LANES {
        bits[i] = 1 << i;
        i += 1;
    }
    bits
};

/// A type that lies in the low bits of a register of 32 or 64.
macro_rules! lane_within {
    ($ty:ty, $raw:ty, $read_lanes:ident, $write_lanes:ident, $read:expr, $write:expr) => {
        impl Lane for $ty {
            type Lanes<'a> = &'a [$raw; LANES];
            type Bits = $raw;

            #[inline(always)]
            fn lanes(registers: &Registers, register: Register) -> Self::Lanes<'_> {
                registers.$read_lanes(register)
            }

            #[inline(always)]
            fn at(lanes: Self::Lanes<'_>, lane: usize) -> Self {
                $read(lanes[lane])
            }

            #[inline(always)]
            fn bits(self) -> $raw {
                $write(self)
            }

            #[inline(always)]
            fn set(
                registers: &mut Registers,
                register: Register,
                bits: [$raw; LANES],
                active: u32,
            ) {
                let lanes = registers.$write_lanes(register);
                if active == u32::MAX {
                    *lanes = bits;
                } else {
                    for i in 0..LANES {
                        if active & BITS[i] != 0 {
                            lanes[i] = bits[i];
                        }
                    }
                }
            }
        }
    };
    ($ty:ty, u32, $read:expr, $write:expr) => {
        lane_within!($ty, u32, word, word_mut, $read, $write);
    };
    ($ty:ty, u64, $read:expr, $write:expr) => {
        lane_within!($ty, u64, double, double_mut, $read, $write);
    };
}
lane_within!(u32, u32, |w| w, |v| v);
lane_within!(u64, u64, |d| d, |v| v);
lane_within!(u8, u32, |w| w as u8, u32::from);
lane_within!(u16, u32, |w| w as u16, u32::from);
lane_within!(i8, u32, |w| w as i8, |v| u32::from(v as u8));
lane_within!(i16, u32, |w| w as i16, |v| u32::from(v as u16));
lane_within!(i32, u32, |w| w as i32, |v| v as u32);
lane_within!(i64, u64, |d| d as i64, |v| v as u64);
lane_within!(f32, u32, f32::from_bits, f32::to_bits);
lane_within!(f64, u64, f64::from_bits, f64::to_bits);
lane_within!(F16, u32, |w| F16(w as u16), |v: F16| u32::from(v.0));
lane_within!(Bf16, u32, |w| Bf16(w as u16), |v: Bf16| u32::from(v.0));

/// Two 16-bit values, the lower half first.
macro_rules! pair_lane {
    ($ty:ty, $read:expr, $write:expr) => {
        lane_within!(
            [$ty; 2],
            u32,
            |w: u32| [$read(w as u16), $read((w >> 16) as u16)],
            |v: [$ty; 2]| u32::from($write(v[0])) | u32::from($write(v[1])) << 16
        );
    };
}
pair_lane!(u16, |h| h, |v| v);
pair_lane!(i16, |h| h as i16, |v| v as u16);
pair_lane!(F16, F16, |v: F16| v.0);
pair_lane!(Bf16, Bf16, |v: Bf16| v.0);
lane_within!(
    [f32; 2],
    u64,
    |d: u64| [f32::from_bits(d as u32), f32::from_bits((d >> 32) as u32)],
    |v: [f32; 2]| u64::from(v[0].to_bits()) | u64::from(v[1].to_bits()) << 32
);

impl Lane for bool {
    type Lanes<'a> = u32;
    type Bits = bool;

    #[inline(always)]
    fn lanes(registers: &Registers, register: Register) -> u32 {
        registers.predicate(register)
    }

    #[inline(always)]
    fn at(lanes: u32, lane: usize) -> Self {
        lanes & BITS[lane] != 0
    }

    #[inline(always)]
    fn bits(self) -> bool {
        self
    }

    #[inline(always)]
    fn set(registers: &mut Registers, register: Register, bits: [bool; LANES], active: u32) {
        registers.set_predicate(register, collect(bits), active);
    }
}

/// One value, or two of them in one register, each of which an operation takes by itself.
pub trait Parts<H>: Lane {
    /// The results of `f` of each.
    fn each<const N: usize>(operands: [Self; N], f: impl Fn([H; N]) -> H) -> Self;
}

impl<H: Lane> Parts<H> for H {
    #[inline(always)]
    fn each<const N: usize>(operands: [Self; N], f: impl Fn([H; N]) -> H) -> Self {
        f(operands)
    }
}

impl<H: Copy> Parts<H> for [H; 2]
where
    Self: Lane,
{
    #[inline(always)]
    fn each<const N: usize>(operands: [Self; N], f: impl Fn([H; N]) -> H) -> Self {
        [f(operands.map(|x| x[0])), f(operands.map(|x| x[1]))]
    }
}

/// Bit i is lane i.
#[inline(always)]
pub fn collect(values: [bool; LANES]) -> u32 {
    let mut lanes = 0;
    for (i, group) in values.as_chunks::<8>().0.iter().enumerate() {
        // Each byte is 0 or 1: the product gathers them in the top byte.
        let bytes = u64::from_le_bytes(group.map(u8::from));
        let byte = bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56;
        lanes |= (byte as u32) << (8 * i);
    }
    lanes
}

/// Loops over the lanes: the result of a function of the sources, in their order.
macro_rules! loops {
    ($($name:ident($($x:ident: $X:ident = $place:literal),*);)*) => {
        $(
            #[doc = concat!("`d = f(", stringify!($($x),*), ")`.")]
            #[inline(always)]
            pub fn $name<$($X: Lane,)* D: Lane>(
                alu: &Alu,
                registers: &mut Registers,
                active: u32,
                f: impl Fn($($X),*) -> D,
            ) {
                $(let $x = $X::lanes(registers, alu.sources[$place]);)*
                let d = each(
                    #[inline(always)]
                    |i| f($($X::at($x, i)),*).bits(),
                );
                D::set(registers, alu.destinations[0], d, active);
            }
        )*
    };
}
loops! {
    unary(a: A = 0);
    binary(a: A = 0, b: B = 1);
    ternary(a: A = 0, b: B = 1, c: C = 2);
    quaternary(a: A = 0, b: B = 1, c: C = 2, e: E = 3);
}

/// Runs a loop over lanes compiled for the widest vectors that the host has. Worth its code
/// for long arithmetic, and for fused multiply-add, which is a call elsewhere.
#[inline(always)]
pub fn vectorised<R>(run: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
        fn widest<R>(run: impl FnOnce() -> R) -> R {
            run()
        }

        #[target_feature(enable = "avx2,fma")]
        fn wide<R>(run: impl FnOnce() -> R) -> R {
            run()
        }

        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma")
        {
            // SAFETY: the processor has the features.
            return unsafe { widest(run) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has the features.
            return unsafe { wide(run) };
        }
    }
    run()
}

/// Reads registers of either class as a type of up to their width.
#[inline(always)]
pub fn load_low<A: Lane + FromLow>(registers: &Registers, register: Register) -> [A; LANES] {
    match register.class {
        Class::Double => {
            let lanes = registers.double(register);
            each(
                #[inline(always)]
                |i| A::from_low(lanes[i]),
            )
        }
        _ => A::load(registers, register),
    }
}

/// A type that can be read from the low bits of 64.
pub trait FromLow {
    /// The low bits.
    fn from_low(bits: u64) -> Self;
}

macro_rules! from_low {
    ($($ty:ty, $from:expr);*) => {
        $(impl FromLow for $ty {
            #[inline(always)]
            fn from_low(bits: u64) -> Self {
                $from(bits)
            }
        })*
    };
}
from_low! {
    u8, |bits| bits as u8; u16, |bits| bits as u16; u32, |bits| bits as u32; u64, |bits| bits;
    i8, |bits| bits as i8; i16, |bits| bits as i16;
    i32, |bits| bits as i32; i64, |bits| bits as i64;
    f32, |bits| f32::from_bits(bits as u32); f64, f64::from_bits;
    F16, |bits| F16(bits as u16); Bf16, |bits| Bf16(bits as u16)
}
