//! `cvt` between scalar types. PTX ISA 9.7.9.

use super::form::{Form, Modifiers};
use super::lanes::{self, FromLow, Lane, each};
use super::{Alu, LaneFunction};
use crate::numeric::exact::{Number, Rounding};
use crate::numeric::float::Float;
use crate::numeric::half::{Bf16, F16};
use crate::registers::{Class, LANES, Register, Registers};
use crate::syntax::ast::Type;

/// Bits of the immediate: a [`Rounding`] in the lowest three, and the flags.
const FLUSHES: u64 = 1 << 3;
const SATURATES: u64 = 1 << 4;
/// `.rni` and its like, where the result is floating-point.
const INTEGRAL: u64 = 1 << 5;
/// Where the width of the destination register lies.
pub(super) const WIDTH: u32 = 8;

/// An integer type as a destination and as a source.
trait Integer: Lane + FromLow {
    const BITS: u32;
    fn to_i128(self) -> i128;
    /// Chopped.
    fn chopped(value: i128) -> Self;
    /// Clamped.
    fn clamped(value: i128) -> Self;
    /// As `as` does: clamped, zero for NaN.
    fn truncated(value: f64) -> Self;
    /// Sign- or zero-extended.
    fn extended(self) -> u64;
}

macro_rules! integer {
    ($($ty:ty),*) => {
        $(impl Integer for $ty {
            const BITS: u32 = <$ty>::BITS;

            #[inline(always)]
            fn to_i128(self) -> i128 {
                i128::from(self)
            }

            #[inline(always)]
            fn chopped(value: i128) -> Self {
                value as Self
            }

            #[inline(always)]
            fn clamped(value: i128) -> Self {
                value.clamp(i128::from(Self::MIN), i128::from(Self::MAX)) as Self
            }

            #[inline(always)]
            fn truncated(value: f64) -> Self {
                value as Self
            }

            #[inline(always)]
            fn extended(self) -> u64 {
                self as i64 as u64
            }
        })*
    };
}
integer!(u8, u16, u32, u64, i8, i16, i32, i64);

/// Writes integers to a register at least as wide, extended to its width.
#[inline(always)]
fn store_extended<D: Integer>(
    alu: &Alu,
    registers: &mut Registers,
    values: [D; LANES],
    active: u32,
) {
    let destination = alu.destinations[0];
    let width = alu.immediate >> WIDTH & 0xff;
    match destination.class {
        Class::Double => u64::store(
            registers,
            destination,
            each(|i| values[i].extended()),
            active,
        ),
        _ => {
            let mask = u32::MAX >> (32 - width);
            let words = each(|i| values[i].extended() as u32 & mask);
            u32::store(registers, destination, words, active);
        }
    }
}

/// Writes floating-point numbers to a register at least as wide.
#[inline(always)]
fn store_float<D: Float + Lane>(
    registers: &mut Registers,
    destination: Register,
    values: [D; LANES],
    active: u32,
) {
    match destination.class {
        Class::Double => u64::store(registers, destination, each(|i| values[i].code()), active),
        _ => u32::store(
            registers,
            destination,
            each(|i| values[i].code() as u32),
            active,
        ),
    }
}

fn integers<A: Integer, D: Integer>(alu: &Alu, registers: &mut Registers, active: u32) {
    let a = lanes::load_low::<A>(registers, alu.sources[0]);
    let d = if alu.immediate & SATURATES != 0 {
        each(|i| D::clamped(a[i].to_i128()))
    } else {
        each(|i| D::chopped(a[i].to_i128()))
    };
    store_extended(alu, registers, d, active);
}

fn from_integer<A: Integer, D: Float + Lane>(alu: &Alu, registers: &mut Registers, active: u32) {
    let a = lanes::load_low::<A>(registers, alu.sources[0]);
    let rounding = Rounding::from_bits(alu.immediate);
    let d = if A::BITS <= 32 && rounding == Rounding::NearestEven {
        // Exact in `f64`.
        each(|i| D::nearest(a[i].to_i128() as f64))
    } else {
        each(|i| D::round(Number::from_integer(a[i].to_i128()), rounding))
    };
    let d = if alu.immediate & SATURATES != 0 {
        each(|i| d[i].saturated())
    } else {
        d
    };
    store_float(registers, alu.destinations[0], d, active);
}

#[inline(always)]
fn to_integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::NearestEven => x.round_ties_even(),
        Rounding::NearestAway => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

/// NaN becomes zero; the bit of the sign alone from `f64` or to 64 bits.
fn to_integer<A: Float + Lane + FromLow, D: Integer>(
    alu: &Alu,
    registers: &mut Registers,
    active: u32,
) {
    let a = lanes::load_low::<A>(registers, alu.sources[0]);
    let rounding = Rounding::from_bits(alu.immediate);
    let flushes = alu.immediate & FLUSHES != 0;
    let is_wide = D::BITS == 64 || A::FORMAT.bits() == 64;
    let nan = if is_wide {
        D::chopped(1 << (D::BITS - 1))
    } else {
        D::chopped(0)
    };
    let d = each(|i| {
        let x = a[i];
        let x = if flushes { x.flushed() } else { x };
        if x.is_nan() {
            nan
        } else {
            D::truncated(to_integral(x.to_f64(), rounding))
        }
    });
    store_extended(alu, registers, d, active);
}

fn floats<A: Float + Lane + FromLow, D: Float + Lane>(
    alu: &Alu,
    registers: &mut Registers,
    active: u32,
) {
    let a = lanes::load_low::<A>(registers, alu.sources[0]);
    let rounding = Rounding::from_bits(alu.immediate);
    let is = |flag| alu.immediate & flag != 0;
    let (flushes, saturates, integral) = (is(FLUSHES), is(SATURATES), is(INTEGRAL));
    let flushes_input = flushes && A::FORMAT == f32::FORMAT;
    let flushes_output = flushes && D::FORMAT == f32::FORMAT;
    let d = each(|i| {
        let x = a[i];
        let x = if flushes_input { x.flushed() } else { x };
        let d = if integral {
            D::nearest(to_integral(x.to_f64(), rounding))
        } else if rounding == Rounding::NearestEven {
            D::nearest(x.to_f64())
        } else {
            D::round(x.number(), rounding)
        };
        let d = if flushes_output { d.flushed() } else { d };
        if saturates { d.saturated() } else { d }
    });
    store_float(registers, alu.destinations[0], d, active);
}

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
}

/// Whether every value of the one is one of the other.
fn is_exact(from: Type, to: Type) -> bool {
    from.bits() < to.bits() || from == to
}

/// Whether an integer of the one type may be none of the other.
fn can_overflow(from: Type, to: Type) -> bool {
    match (from.is_signed(), to.is_signed()) {
        (true, false) => true,
        (false, true) => to.bits() <= from.bits(),
        _ => to.bits() < from.bits(),
    }
}

pub(super) fn lower(modifiers: &[&str]) -> Option<Form> {
    let mut taken = Modifiers(modifiers);
    let rounding = taken.rounding();
    let integral = match taken.choose(&["rni", "rzi", "rmi", "rpi"]) {
        None => None,
        Some("rni") => Some(Rounding::NearestEven),
        Some("rzi") => Some(Rounding::Zero),
        Some("rmi") => Some(Rounding::Down),
        Some(_) => Some(Rounding::Up),
    };
    let flushes = taken.take("ftz");
    let saturates = taken.take("sat");
    let [to, from] = taken.0 else {
        return None;
    };
    let (to, from) = (Type::from_name(to)?, Type::from_name(from)?);
    if flushes && from != Type::F32 && to != Type::F32 {
        return None;
    }
    // PTX has saturation only where it can matter, and not for `bf16`.
    let widens = !is_float(from) && !is_float(to) && !can_overflow(from, to);
    if saturates && (widens || from == Type::Bf16 || to == Type::Bf16) {
        return None;
    }
    let mode = match (is_float(from), is_float(to)) {
        (false, false) if rounding.is_none() && integral.is_none() => Rounding::Zero,
        (false, true) if integral.is_none() => rounding?,
        (true, false) if rounding.is_none() => integral?,
        (true, true) => match (rounding, integral) {
            (None, Some(mode)) if from == to => mode,
            (None, None) if is_exact(from, to) => Rounding::NearestEven,
            (Some(mode), None) if !is_exact(from, to) => mode,
            _ => return None,
        },
        _ => return None,
    };
    let run = function(from, to)?;
    let immediate = mode as u64
        | if flushes { FLUSHES } else { 0 }
        | if saturates { SATURATES } else { 0 }
        | if integral.is_some() { INTEGRAL } else { 0 };
    Some(Form::new([to], [from], run).with(immediate))
}

fn function(from: Type, to: Type) -> Option<LaneFunction> {
    macro_rules! from_type {
        ($to_integer:ident, $to_float:ident, $A:ty) => {
            match to {
                Type::U8 => $to_integer::<$A, u8>,
                Type::U16 => $to_integer::<$A, u16>,
                Type::U32 => $to_integer::<$A, u32>,
                Type::U64 => $to_integer::<$A, u64>,
                Type::S8 => $to_integer::<$A, i8>,
                Type::S16 => $to_integer::<$A, i16>,
                Type::S32 => $to_integer::<$A, i32>,
                Type::S64 => $to_integer::<$A, i64>,
                Type::F16 => $to_float::<$A, F16>,
                Type::Bf16 => $to_float::<$A, Bf16>,
                Type::F32 => $to_float::<$A, f32>,
                Type::F64 => $to_float::<$A, f64>,
                _ => return None,
            }
        };
    }
    Some(match from {
        Type::U8 => from_type!(integers, from_integer, u8),
        Type::U16 => from_type!(integers, from_integer, u16),
        Type::U32 => from_type!(integers, from_integer, u32),
        Type::U64 => from_type!(integers, from_integer, u64),
        Type::S8 => from_type!(integers, from_integer, i8),
        Type::S16 => from_type!(integers, from_integer, i16),
        Type::S32 => from_type!(integers, from_integer, i32),
        Type::S64 => from_type!(integers, from_integer, i64),
        Type::F16 => from_type!(to_integer, floats, F16),
        Type::Bf16 => from_type!(to_integer, floats, Bf16),
        Type::F32 => from_type!(to_integer, floats, f32),
        Type::F64 => from_type!(to_integer, floats, f64),
        _ => return None,
    })
}
