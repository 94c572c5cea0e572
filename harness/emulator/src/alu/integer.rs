//! Integer arithmetic. PTX ISA 9.7.1.

use super::form::{Form, by_type, run};
use crate::numeric::bits;
use crate::syntax::ast::Type::{self, B16, B32, B64, S32, S64, U32, U64};

/// An integer type with the one of twice its width.
trait Integer: Copy {
    type Wide: Copy + std::ops::Mul<Output = Self::Wide>;
    fn widen(self) -> Self::Wide;
    fn high(wide: Self::Wide) -> Self;
}

macro_rules! integer {
    ($($ty:ty, $wide:ty);*) => {
        $(impl Integer for $ty {
            type Wide = $wide;

            #[inline(always)]
            fn widen(self) -> $wide {
                <$wide>::from(self)
            }

            #[inline(always)]
            fn high(wide: $wide) -> Self {
                (wide >> Self::BITS) as Self
            }
        })*
    };
}
integer!(u16, u32; u32, u64; u64, u128; i16, i32; i32, i64; i64, i128);

/// The upper half of the product.
#[inline(always)]
pub(super) fn multiply_high<T: super::integer::HighProduct>(a: T, b: T) -> T {
    a.high_product(b)
}

/// Types with an upper half of a product.
pub(super) trait HighProduct: Copy {
    /// The upper half of the product.
    fn high_product(self, other: Self) -> Self;
}

impl<T: Integer> HighProduct for T {
    #[inline(always)]
    fn high_product(self, other: Self) -> Self {
        T::high(self.widen() * other.widen())
    }
}

/// The quotient; PTX leaves division by zero open: all ones here.
macro_rules! divide {
    ($T:ty) => {
        |a: $T, b: $T| if b == 0 { !0 } else { a.wrapping_div(b) }
    };
}

/// The remainder; by zero it is `a` here.
macro_rules! remainder {
    ($T:ty) => {
        |a: $T, b: $T| if b == 0 { a } else { a.wrapping_rem(b) }
    };
}

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    let (last, rest) = modifiers.split_last()?;
    if *last == "u16x2" || *last == "s16x2" {
        return packed(opcode, rest, *last == "s16x2");
    }
    let ty = Type::from_name(last)?;
    let two = [ty; 2];
    let three = [ty; 3];
    match (opcode, rest) {
        ("add", []) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, T::wrapping_add)))
        }
        ("sub", []) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, T::wrapping_sub)))
        }
        ("add", ["sat"]) if ty == S32 => {
            Some(Form::new([ty], two, run!(binary, i32::saturating_add)))
        }
        ("sub", ["sat"]) if ty == S32 => {
            Some(Form::new([ty], two, run!(binary, i32::saturating_sub)))
        }
        ("mul" | "mad", ["wide"]) => wide(opcode, ty),
        ("mul", ["lo"]) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, T::wrapping_mul)))
        }
        ("mul", ["hi"]) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, multiply_high::<T>)))
        }
        ("mad", ["lo"]) => by_type!(ty, T in integers, Form::new([ty], three,
            run!(ternary, |a: T, b: T, c: T| a.wrapping_mul(b).wrapping_add(c)))),
        ("mad", ["hi"]) => by_type!(ty, T in integers, Form::new([ty], three,
            run!(ternary, |a: T, b: T, c: T| multiply_high(a, b).wrapping_add(c)))),
        ("mad", ["hi", "sat"]) if ty == S32 => Some(Form::new(
            [ty],
            three,
            run!(ternary, |a: i32, b: i32, c: i32| multiply_high(a, b)
                .saturating_add(c)),
        )),
        ("mul24" | "mad24", _) => twenty_four(opcode, rest, ty),
        ("sad", []) => by_type!(ty, T in integers, Form::new([ty], three,
            run!(ternary, |a: T, b: T, c: T| c.wrapping_add(a.abs_diff(b) as T)))),
        ("div", []) => by_type!(ty, T in integers, Form::new([ty], two, run!(binary, divide!(T)))),
        ("rem", []) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, remainder!(T))))
        }
        ("abs", []) => {
            by_type!(ty, T in signed, Form::new([ty], [ty], run!(unary, T::wrapping_abs)))
        }
        ("neg", []) => {
            by_type!(ty, T in signed, Form::new([ty], [ty], run!(unary, T::wrapping_neg)))
        }
        ("min", []) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, <T as Ord>::min)))
        }
        ("max", []) => {
            by_type!(ty, T in integers, Form::new([ty], two, run!(binary, <T as Ord>::max)))
        }
        ("min", ["relu"]) if ty == S32 => Some(Form::new(
            [ty],
            two,
            run!(binary, |a: i32, b: i32| a.min(b).max(0)),
        )),
        ("max", ["relu"]) if ty == S32 => Some(Form::new(
            [ty],
            two,
            run!(binary, |a: i32, b: i32| a.max(b).max(0)),
        )),
        ("dp4a" | "dp2a", _) => dot(opcode, rest, ty),
        _ => bit_fields(opcode, rest, ty),
    }
}

fn packed(opcode: &str, rest: &[&str], is_signed: bool) -> Option<Form> {
    macro_rules! halves {
        ($ty:ty, $f:expr) => {
            run!(binary, |a: [$ty; 2], b: [$ty; 2]| [
                $f(a[0], b[0]),
                $f(a[1], b[1])
            ])
        };
    }
    let run: super::LaneFunction = match (opcode, rest, is_signed) {
        ("add", [], _) => halves!(u16, u16::wrapping_add),
        ("min", [], false) => halves!(u16, <u16 as Ord>::min),
        ("max", [], false) => halves!(u16, <u16 as Ord>::max),
        ("min", [], true) => halves!(i16, <i16 as Ord>::min),
        ("max", [], true) => halves!(i16, <i16 as Ord>::max),
        ("min", ["relu"], true) => halves!(i16, |a: i16, b: i16| a.min(b).max(0)),
        ("max", ["relu"], true) => halves!(i16, |a: i16, b: i16| a.max(b).max(0)),
        _ => return None,
    };
    Some(Form::new([B32], [B32, B32], run))
}

fn wide(opcode: &str, ty: Type) -> Option<Form> {
    macro_rules! wide {
        ($wide:expr, $ty:ty) => {
            if opcode == "mul" {
                Form::new(
                    [$wide],
                    [ty; 2],
                    run!(binary, |a: $ty, b: $ty| a.widen() * b.widen()),
                )
            } else {
                Form::new(
                    [$wide],
                    [ty, ty, $wide],
                    run!(ternary, |a: $ty, b: $ty, c| (a.widen() * b.widen())
                        .wrapping_add(c)),
                )
            }
        };
    }
    Some(match ty {
        Type::U16 => wide!(U32, u16),
        Type::S16 => wide!(S32, i16),
        U32 => wide!(U64, u32),
        S32 => wide!(S64, i32),
        _ => return None,
    })
}

/// The product of the low 24 bits.
fn product24(a: u32, b: u32) -> u64 {
    u64::from(a << 8 >> 8) * u64::from(b << 8 >> 8)
}

/// [`product24`] of signed numbers.
fn signed_product24(a: i32, b: i32) -> i64 {
    i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)
}

fn twenty_four(opcode: &str, rest: &[&str], ty: Type) -> Option<Form> {
    let run: super::LaneFunction = match (opcode, rest, ty) {
        ("mul24", ["lo"], U32) => run!(binary, |a, b| product24(a, b) as u32),
        ("mul24", ["hi"], U32) => run!(binary, |a, b| (product24(a, b) >> 16) as u32),
        ("mul24", ["lo"], S32) => run!(binary, |a, b| signed_product24(a, b) as i32),
        ("mul24", ["hi"], S32) => run!(binary, |a, b| (signed_product24(a, b) >> 16) as i32),
        ("mad24", ["lo"], U32) => {
            run!(ternary, |a, b, c: u32| (product24(a, b) as u32)
                .wrapping_add(c))
        }
        ("mad24", ["hi"], U32) => {
            run!(ternary, |a, b, c: u32| ((product24(a, b) >> 16) as u32)
                .wrapping_add(c))
        }
        ("mad24", ["lo"], S32) => {
            run!(ternary, |a, b, c: i32| (signed_product24(a, b) as i32)
                .wrapping_add(c))
        }
        ("mad24", ["hi"], S32) => {
            run!(ternary, |a, b, c: i32| ((signed_product24(a, b) >> 16)
                as i32)
                .wrapping_add(c))
        }
        ("mad24", ["hi", "sat"], S32) => {
            run!(ternary, |a, b, c: i32| ((signed_product24(a, b) >> 16)
                as i32)
                .saturating_add(c))
        }
        _ => return None,
    };
    let sources = if opcode == "mul24" { 2 } else { 3 };
    Some(Form::new([ty], vec![ty; sources], run))
}

fn dot(opcode: &str, rest: &[&str], b: Type) -> Option<Form> {
    let (first, a) = match (opcode, rest) {
        ("dp4a", [a]) | ("dp2a", ["lo", a]) => (0, a),
        ("dp2a", ["hi", a]) => (2, a),
        _ => return None,
    };
    let a = Type::from_name(a)?;
    if [a, b].iter().any(|ty| !matches!(ty, U32 | S32)) {
        return None;
    }
    let run: super::LaneFunction = if opcode == "dp4a" {
        |alu, registers, active| {
            let signed = [alu.immediate & 1 == 1, alu.immediate & 2 == 2];
            super::lanes::ternary(alu, registers, active, |a, b, c| {
                bits::dot::<4>(a, b, c, signed, 0)
            });
        }
    } else {
        |alu, registers, active| {
            let signed = [alu.immediate & 1 == 1, alu.immediate & 2 == 2];
            let first = (alu.immediate >> 2) as u32;
            super::lanes::ternary(alu, registers, active, |a, b, c| {
                bits::dot::<2>(a, b, c, signed, first)
            });
        }
    };
    let sum = if a == U32 && b == U32 { U32 } else { S32 };
    let immediate = u64::from(a == S32) | u64::from(b == S32) << 1 | first << 2;
    Some(Form::new([sum], [a, b, sum], run).with(immediate))
}

/// Place of the leading bit, or of the leading one that differs from the sign; all ones if none.
macro_rules! leading {
    ($ty:ty, $shifts:expr) => {
        |a: $ty| {
            #[allow(unused_comparisons, reason = "for unsigned types")]
            let magnitude = if a < 0 { !a } else { a };
            match (magnitude.checked_ilog2(), $shifts) {
                (None, _) => u32::MAX,
                (Some(place), false) => place,
                (Some(place), true) => <$ty>::BITS - 1 - place,
            }
        }
    };
}

fn bit_fields(opcode: &str, rest: &[&str], ty: Type) -> Option<Form> {
    let form = |sources: &[Type], run| Some(Form::new([ty], sources, run));
    match (opcode, rest, ty) {
        ("popc", [], B32) => Some(Form::new([U32], [ty], run!(unary, u32::count_ones))),
        ("popc", [], B64) => Some(Form::new([U32], [ty], run!(unary, u64::count_ones))),
        ("clz", [], B32) => Some(Form::new([U32], [ty], run!(unary, u32::leading_zeros))),
        ("clz", [], B64) => Some(Form::new([U32], [ty], run!(unary, u64::leading_zeros))),
        ("bfind", [], _) => by_type!(ty, T in words,
            Form::new([U32], [ty], run!(unary, leading!(T, false)))),
        ("bfind", ["shiftamt"], _) => by_type!(ty, T in words,
            Form::new([U32], [ty], run!(unary, leading!(T, true)))),
        ("fns", [], B32) => form(&[B32, U32, S32], run!(ternary, bits::find_nth_set)),
        ("brev", [], B32) => form(&[ty], run!(unary, u32::reverse_bits)),
        ("brev", [], B64) => form(&[ty], run!(unary, u64::reverse_bits)),
        ("bfe", [], U32) => form(
            &[ty, U32, U32],
            run!(ternary, |a, b, c| bits::extract32(a, b, c, false)),
        ),
        ("bfe", [], S32) => form(
            &[ty, U32, U32],
            run!(ternary, |a, b, c| bits::extract32(a, b, c, true)),
        ),
        ("bfe", [], U64) => form(
            &[ty, U32, U32],
            run!(ternary, |a, b, c| bits::extract64(a, b, c, false)),
        ),
        ("bfe", [], S64) => form(
            &[ty, U32, U32],
            run!(ternary, |a, b, c| bits::extract64(a, b, c, true)),
        ),
        ("bfi", [], B32) => form(&[ty, ty, U32, U32], run!(quaternary, bits::insert32)),
        ("bfi", [], B64) => form(&[ty, ty, U32, U32], run!(quaternary, bits::insert64)),
        ("bmsk", ["clamp"], B32) => {
            form(&[U32, U32], run!(binary, |a, b| bits::bit_mask(a, b, true)))
        }
        ("bmsk", ["wrap"], B32) => form(
            &[U32, U32],
            run!(binary, |a, b| bits::bit_mask(a, b, false)),
        ),
        ("szext", ["clamp"], U32) => form(
            &[ty, U32],
            run!(binary, |a, b| bits::extend_low(a, b, false, true)),
        ),
        ("szext", ["wrap"], U32) => form(
            &[ty, U32],
            run!(binary, |a, b| bits::extend_low(a, b, false, false)),
        ),
        ("szext", ["clamp"], S32) => form(
            &[ty, U32],
            run!(binary, |a, b| bits::extend_low(a, b, true, true)),
        ),
        ("szext", ["wrap"], S32) => form(
            &[ty, U32],
            run!(binary, |a, b| bits::extend_low(a, b, true, false)),
        ),
        ("cnot", [], B16 | B32 | B64) => by_type!(ty, T in bits,
            Form::new([ty], [ty], run!(unary, |a: T| T::from(a == 0)))),
        _ => None,
    }
}
