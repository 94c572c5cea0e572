//! Arithmetic on `f32`, `f64` and pairs of `f32`. PTX ISA 9.7.3.

use super::form::{Form, Modifiers, by_type, run, with_flags};
use super::lanes::{self, Lane, Parts};
use super::{Alu, LaneFunction};
use crate::numeric::exact::{Number, Rounding};
use crate::numeric::float::{Extremum, Float, extremum};
use crate::registers::Registers;
use crate::syntax::ast::Type::{self, B64, F32, F64};

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    match *modifiers.last()? {
        "f32" | "f64" | "f32x2" => {}
        _ => return None,
    }
    let taken = Modifiers(modifiers);
    match opcode {
        "add" | "sub" | "mul" | "fma" | "mad" | "div" | "rcp" | "sqrt" => arithmetic(opcode, taken),
        "abs" | "neg" => sign(opcode, taken),
        "min" | "max" => extremum_form(opcode, taken),
        "copysign" => {
            let ty = taken.last_type()?;
            by_type!(ty, T in [F32: f32, F64: f64], Form::new([ty], [ty; 2],
                run!(binary, |a: T, b: T| b.copysign(a))))
        }
        "testp" => property(taken),
        _ => None,
    }
}

/// Arithmetic that is rounded to nearest is the host's own; the rest goes through
/// [`Number`], with the mode in the immediate.
fn arithmetic(opcode: &str, mut modifiers: Modifiers) -> Option<Form> {
    let rounding = modifiers.rounding();
    let flushes = modifiers.take("ftz");
    let saturates = modifiers.take("sat");
    let last = modifiers.last()?;
    let sources = match opcode {
        "rcp" | "sqrt" => 1,
        "fma" | "mad" => 3,
        _ => 2,
    };
    let is_optional = matches!(opcode, "add" | "sub" | "mul");
    if rounding.is_none() && !is_optional {
        return None;
    }
    let rounding = rounding.unwrap_or(Rounding::NearestEven);
    let is_nearest = rounding == Rounding::NearestEven;
    let run: LaneFunction = match (last, is_nearest) {
        ("f32", _) if saturates && matches!(opcode, "div" | "rcp" | "sqrt") => return None,
        ("f64" | "f32x2", _) if saturates => return None,
        ("f64", _) if flushes => return None,
        ("f32", true) => match opcode {
            "add" => with_flags!(add::<f32>, flushes, saturates),
            "sub" => with_flags!(subtract::<f32>, flushes, saturates),
            "mul" => with_flags!(multiply::<f32>, flushes, saturates),
            "fma" | "mad" => with_flags!(multiply_add::<f32>, flushes, saturates),
            "div" => with_flags!(divide::<f32>, flushes, false),
            "rcp" => with_flags!(reciprocal::<f32>, flushes, false),
            _ => with_flags!(square_root::<f32>, flushes, false),
        },
        ("f64", true) => match opcode {
            "add" => add::<f64, false, false>,
            "sub" => subtract::<f64, false, false>,
            "mul" => multiply::<f64, false, false>,
            "fma" | "mad" => multiply_add::<f64, false, false>,
            "div" => divide::<f64, false, false>,
            "rcp" => reciprocal::<f64, false, false>,
            _ => square_root::<f64, false, false>,
        },
        ("f32", false) => directed::<f32, f32>(opcode)?,
        ("f64", false) => directed::<f64, f64>(opcode)?,
        ("f32x2", _) if is_optional || opcode == "fma" => directed::<f32, [f32; 2]>(opcode)?,
        _ => return None,
    };
    let ty = Type::from_name(last).unwrap_or(B64);
    let immediate =
        rounding as u64 | if flushes { FLUSHES } else { 0 } | if saturates { SATURATES } else { 0 };
    Some(Form::new([ty], vec![ty; sources], run).with(immediate))
}

const FLUSHES: u64 = 1 << 3;
const SATURATES: u64 = 1 << 4;

/// A type that the host computes with, rounding to nearest.
trait Native:
    Float
    + Lane
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
{
    fn fused(self, b: Self, c: Self) -> Self;
    fn root(self) -> Self;

    #[inline(always)]
    fn input<const FLUSHES: bool>(self) -> Self {
        if FLUSHES { self.flushed() } else { self }
    }

    #[inline(always)]
    fn output<const FLUSHES: bool, const SATURATES: bool>(self) -> Self {
        let flushed = self.input::<FLUSHES>();
        if SATURATES {
            flushed.saturated()
        } else {
            flushed.canonical()
        }
    }
}

macro_rules! native {
    ($($ty:ty),*) => {
        $(impl Native for $ty {
            #[inline(always)]
            fn fused(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c)
            }

            #[inline(always)]
            fn root(self) -> Self {
                // The compiler may give any NaN for the root of a negative number.
                if self < 0.0 { Self::nan() } else { self.sqrt() }
            }
        })*
    };
}
native!(f32, f64);

macro_rules! operation {
    ($name:ident, $loop:ident, |$($x:ident),*| $f:expr) => {
        fn $name<T: Native, const FLUSHES: bool, const SATURATES: bool>(
            alu: &Alu,
            registers: &mut Registers,
            active: u32,
        ) {
            lanes::vectorised(
                #[inline(always)]
                || lanes::$loop(
                    alu,
                    registers,
                    active,
                    #[inline(always)]
                    |$($x: T),*| {
                        $(let $x = $x.input::<FLUSHES>();)*
                        let result: T = $f;
                        result.output::<FLUSHES, SATURATES>()
                    },
                ),
            );
        }
    };
}
operation!(add, binary, |a, b| a + b);
operation!(subtract, binary, |a, b| a - b);
operation!(multiply, binary, |a, b| a * b);
operation!(multiply_add, ternary, |a, b, c| a.fused(b, c));
operation!(divide, binary, |a, b| a / b);
operation!(reciprocal, unary, |a| T::nearest(1.0) / a);
operation!(square_root, unary, |a| a.root());

/// One lane of exact arithmetic, rounded and flushed as the immediate says.
#[inline(always)]
fn rounded<F: Float, const N: usize>(
    immediate: u64,
    operands: [F; N],
    f: impl Fn([Number; N], Rounding) -> Number,
) -> F {
    let rounding = Rounding::from_bits(immediate);
    let flush = |x: F| {
        if immediate & FLUSHES != 0 {
            x.flushed()
        } else {
            x
        }
    };
    let exact = f(operands.map(|x| flush(x).number()), rounding);
    let result = flush(F::round(exact, rounding));
    if immediate & SATURATES != 0 {
        result.saturated()
    } else {
        result
    }
}

/// The function for any rounding of one `F`, or of two in a register.
fn directed<F: Float, L: Parts<F>>(opcode: &str) -> Option<LaneFunction> {
    macro_rules! exact {
        ($loop:ident, [$($x:ident),*], $f:expr) => {
            |alu, registers, active| {
                lanes::$loop(alu, registers, active, |$($x: L),*| {
                    L::each([$($x),*], |operands| rounded(alu.immediate, operands, $f))
                });
            }
        };
    }
    Some(match opcode {
        "add" => exact!(binary, [a, b], |[a, b], mode| a.add(b, mode)),
        "sub" => exact!(binary, [a, b], |[a, b], mode| a.add(b.negated(), mode)),
        "mul" => exact!(binary, [a, b], |[a, b], _| a.multiply(b)),
        "div" => exact!(binary, [a, b], |[a, b], _| a.divide(b)),
        "fma" | "mad" => {
            exact!(ternary, [a, b, c], |[a, b, c], mode| a
                .multiply(b)
                .add(c, mode))
        }
        "rcp" => exact!(unary, [a], |[a], _| Number::from_integer(1).divide(a)),
        "sqrt" => exact!(unary, [a], |[a], _| a.square_root()),
        _ => return None,
    })
}

fn sign(opcode: &str, mut modifiers: Modifiers) -> Option<Form> {
    let flushes = modifiers.take("ftz");
    let ty = modifiers.last_type()?;
    let run: LaneFunction = match (opcode, ty, flushes) {
        ("abs", F32, false) => run!(unary, |a: f32| a.magnitude()),
        ("abs", F32, true) => run!(unary, |a: f32| a.flushed().magnitude()),
        ("neg", F32, false) => run!(unary, |a: f32| a.negated()),
        ("neg", F32, true) => run!(unary, |a: f32| a.flushed().negated()),
        ("abs", F64, false) => run!(unary, |a: f64| a.magnitude()),
        ("neg", F64, false) => run!(unary, |a: f64| a.negated()),
        _ => return None,
    };
    Some(Form::new([ty], [ty], run))
}

/// The immediate of `min` and `max`.
pub(super) const IS_MAX: u64 = 1;
pub(super) const PROPAGATES_NAN: u64 = 2;
pub(super) const BOTH: u64 = IS_MAX | PROPAGATES_NAN;
pub(super) const IS_XOR_SIGN: u64 = 4;
pub(super) const EXTREMUM_FLUSHES: u64 = 8;

/// The function of a `min` or `max`: those that most programs use, each by itself, and one for
/// all others.
macro_rules! by_extremum {
    ($immediate:expr, |$how:ident, $a:ident: $A:ty, $b:ident: $B:ty| $f:expr) => {{
        macro_rules! constant {
                                    ($value:expr) => {
                                        run!(vectorised binary, #[inline(always)] |$a: $A, $b: $B| {
                                            let $how = $value;
                                            $f
                                        })
                                    };
                                }
        let run: crate::alu::LaneFunction = match $immediate {
            0 => constant!(0),
            IS_MAX => constant!(IS_MAX),
            PROPAGATES_NAN => constant!(PROPAGATES_NAN),
            BOTH => constant!(BOTH),
            _ => |alu, registers, active| {
                let $how = alu.immediate;
                crate::alu::lanes::binary(alu, registers, active, |$a: $A, $b: $B| $f);
            },
        };
        run
    }};
}
pub(super) use by_extremum;

/// Reads the modifiers of `min` and `max` but for the type.
pub(super) fn extremum_immediate(opcode: &str, modifiers: &mut Modifiers) -> Option<u64> {
    let flushes = modifiers.take("ftz");
    let propagates_nan = modifiers.take("NaN");
    let is_xor_sign = modifiers.take("xorsign");
    if is_xor_sign && !modifiers.take("abs") {
        return None;
    }
    Some(
        if opcode == "max" { IS_MAX } else { 0 }
            | if propagates_nan { PROPAGATES_NAN } else { 0 }
            | if is_xor_sign { IS_XOR_SIGN } else { 0 }
            | if flushes { EXTREMUM_FLUSHES } else { 0 },
    )
}

/// `min` or `max` as the immediate says.
#[inline(always)]
pub(super) fn extremum_by<F: Float>(immediate: u64, a: F, b: F) -> F {
    let how = Extremum {
        is_max: immediate & IS_MAX != 0,
        propagates_nan: immediate & PROPAGATES_NAN != 0,
        is_xor_sign: immediate & IS_XOR_SIGN != 0,
    };
    if immediate & EXTREMUM_FLUSHES != 0 {
        extremum(how, a.flushed(), b.flushed())
    } else {
        extremum(how, a, b)
    }
}

fn extremum_form(opcode: &str, mut modifiers: Modifiers) -> Option<Form> {
    let immediate = extremum_immediate(opcode, &mut modifiers)?;
    let ty = modifiers.last_type()?;
    let run = match (ty, immediate) {
        (F32, _) => by_extremum!(immediate, |how, a: f32, b: f32| extremum_by(how, a, b)),
        (F64, 0 | IS_MAX) => {
            by_extremum!(immediate, |how, a: f64, b: f64| extremum_by(how, a, b))
        }
        _ => return None,
    };
    Some(Form::new([ty], [ty; 2], run).with(immediate))
}

fn property(modifiers: Modifiers) -> Option<Form> {
    let [property, ty] = modifiers.0 else {
        return None;
    };
    let ty = Type::from_name(ty)?;
    by_type!(ty, T in [F32: f32, F64: f64], {
        let run: LaneFunction = match *property {
            "finite" => run!(unary, |a: T| a.is_finite()),
            "infinite" => run!(unary, |a: T| a.is_infinite()),
            "number" => run!(unary, |a: T| !a.is_nan()),
            "notanumber" => run!(unary, |a: T| a.is_nan()),
            // Here PTX counts zeros as normal.
            "normal" => run!(unary, |a: T| a.is_normal() || a == 0.0),
            "subnormal" => run!(unary, |a: T| a.is_subnormal()),
            _ => return None,
        };
        Form::new([Type::Pred], [ty], run)
    })
}
