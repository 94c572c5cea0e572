//! Integer arithmetic. PTX ISA 9.7.1.

use super::form::{Form, by_form, by_opcode, by_type, run};
use crate::numeric::bits;
use crate::syntax::ast::Type::{self, B32, B64, S32, S64, U32, U64};

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

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    let (last, rest) = modifiers.split_last()?;
    if *last == "u16x2" || *last == "s16x2" {
        return packed(opcode, rest, *last == "s16x2");
    }
    let ty = Type::from_name(last)?;
    // PTX leaves division by zero open: all ones here, and the remainder is the dividend.
    let form = by_opcode! { (opcode, rest), ty, T;
        "add", [] in integers, binary, T::wrapping_add;
        "add", ["sat"] in word, binary, T::saturating_add;
        "sub", [] in integers, binary, T::wrapping_sub;
        "sub", ["sat"] in word, binary, T::saturating_sub;
        "mul", ["lo"] in integers, binary, T::wrapping_mul;
        "mul", ["hi"] in integers, binary, T::high_product;
        "mad", ["lo"] in integers, ternary, |a: T, b: T, c: T| a.wrapping_mul(b).wrapping_add(c);
        "mad", ["hi"] in integers, ternary, |a: T, b: T, c: T| a.high_product(b).wrapping_add(c);
        "mad", ["hi", "sat"] in word, ternary,
            |a: T, b: T, c: T| a.high_product(b).saturating_add(c);
        "sad", [] in integers, ternary, |a: T, b: T, c: T| c.wrapping_add(a.abs_diff(b) as T);
        "div", [] in integers, binary, |a: T, b: T| if b == 0 { !0 } else { a.wrapping_div(b) };
        "rem", [] in integers, binary, |a: T, b: T| if b == 0 { a } else { a.wrapping_rem(b) };
        "abs", [] in signed, unary, T::wrapping_abs;
        "neg", [] in signed, unary, T::wrapping_neg;
        "min", [] in integers, binary, <T as Ord>::min;
        "max", [] in integers, binary, <T as Ord>::max;
        "min", ["relu"] in word, binary, |a: T, b: T| a.min(b).max(0);
        "max", ["relu"] in word, binary, |a: T, b: T| a.max(b).max(0);
        "cnot", [] in bits, unary, |a: T| T::from(a == 0);
    };
    form.or_else(|| match (opcode, rest) {
        ("mul" | "mad", ["wide"]) => wide(opcode, ty),
        ("dp4a" | "dp2a", _) => dot(opcode, rest, ty),
        ("bfind", []) => by_type!(ty, T in words,
            Form::new([U32], [ty], run!(unary, leading!(T, false)))),
        ("bfind", ["shiftamt"]) => by_type!(ty, T in words,
            Form::new([U32], [ty], run!(unary, leading!(T, true)))),
        _ => of_one_type(opcode, rest, ty),
    })
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
            match opcode {
                "mul" => Form::new([$wide], [ty; 2], run!(binary, wide_product::<$ty>)),
                _ => Form::new(
                    [$wide],
                    [ty, ty, $wide],
                    run!(ternary, |a: $ty, b, c| {
                        wide_product(a, b).wrapping_add(c)
                    }),
                ),
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

/// The whole product.
#[inline(always)]
fn wide_product<T: Integer>(a: T, b: T) -> T::Wide {
    a.widen() * b.widen()
}

/// The product of the low 24 bits.
fn product24(a: u32, b: u32) -> u64 {
    u64::from(a << 8 >> 8) * u64::from(b << 8 >> 8)
}

/// [`product24`] of signed numbers.
fn signed_product24(a: i32, b: i32) -> i64 {
    i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)
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

fn of_one_type(opcode: &str, rest: &[&str], ty: Type) -> Option<Form> {
    by_form! { (opcode, rest, ty);
        "mul24", ["lo"], U32 => U32, [U32, U32], binary, |a, b| product24(a, b) as u32;
        "mul24", ["hi"], U32 => U32, [U32, U32], binary, |a, b| (product24(a, b) >> 16) as u32;
        "mul24", ["lo"], S32 => S32, [S32, S32], binary, |a, b| signed_product24(a, b) as i32;
        "mul24", ["hi"], S32 => S32, [S32, S32], binary,
            |a, b| (signed_product24(a, b) >> 16) as i32;
        "mad24", ["lo"], U32 => U32, [U32, U32, U32], ternary,
            |a, b, c: u32| (product24(a, b) as u32).wrapping_add(c);
        "mad24", ["hi"], U32 => U32, [U32, U32, U32], ternary,
            |a, b, c: u32| ((product24(a, b) >> 16) as u32).wrapping_add(c);
        "mad24", ["lo"], S32 => S32, [S32, S32, S32], ternary,
            |a, b, c: i32| (signed_product24(a, b) as i32).wrapping_add(c);
        "mad24", ["hi"], S32 => S32, [S32, S32, S32], ternary,
            |a, b, c: i32| ((signed_product24(a, b) >> 16) as i32).wrapping_add(c);
        "mad24", ["hi", "sat"], S32 => S32, [S32, S32, S32], ternary,
            |a, b, c: i32| ((signed_product24(a, b) >> 16) as i32).saturating_add(c);
        "popc", [], B32 => U32, [B32], unary, u32::count_ones;
        "popc", [], B64 => U32, [B64], unary, u64::count_ones;
        "clz", [], B32 => U32, [B32], unary, u32::leading_zeros;
        "clz", [], B64 => U32, [B64], unary, u64::leading_zeros;
        "fns", [], B32 => B32, [B32, U32, S32], ternary, bits::find_nth_set;
        "brev", [], B32 => B32, [B32], unary, u32::reverse_bits;
        "brev", [], B64 => B64, [B64], unary, u64::reverse_bits;
        "bfe", [], U32 => U32, [U32, U32, U32], ternary, |a, b, c| bits::extract32(a, b, c, false);
        "bfe", [], S32 => S32, [S32, U32, U32], ternary, |a, b, c| bits::extract32(a, b, c, true);
        "bfe", [], U64 => U64, [U64, U32, U32], ternary, |a, b, c| bits::extract64(a, b, c, false);
        "bfe", [], S64 => S64, [S64, U32, U32], ternary, |a, b, c| bits::extract64(a, b, c, true);
        "bfi", [], B32 => B32, [B32, B32, U32, U32], quaternary, bits::insert32;
        "bfi", [], B64 => B64, [B64, B64, U32, U32], quaternary, bits::insert64;
        "bmsk", ["clamp"], B32 => B32, [U32, U32], binary, |a, b| bits::bit_mask(a, b, true);
        "bmsk", ["wrap"], B32 => B32, [U32, U32], binary, |a, b| bits::bit_mask(a, b, false);
        "szext", ["clamp"], U32 => U32, [U32, U32], binary,
            |a, b| bits::extend_low(a, b, false, true);
        "szext", ["wrap"], U32 => U32, [U32, U32], binary,
            |a, b| bits::extend_low(a, b, false, false);
        "szext", ["clamp"], S32 => S32, [S32, U32], binary,
            |a, b| bits::extend_low(a, b, true, true);
        "szext", ["wrap"], S32 => S32, [S32, U32], binary,
            |a, b| bits::extend_low(a, b, true, false);
    }
}
