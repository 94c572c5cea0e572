//! Approximations: the model is in [`crate::numeric::approximate`]. PTX ISA 9.7.3 and 9.7.4.

use super::LaneFunction;
use super::form::{Form, run};
use crate::numeric::approximate::{
    divide, reciprocal_square_root, reciprocal_square_root_upper, reciprocal_upper,
};
use crate::numeric::float::Float;
use crate::numeric::half::{Bf16, F16};
use crate::syntax::ast::Type::{self, Bf16x2, F16x2, F32, F64};

/// `f32` functions of one argument, without and with `.ftz`.
macro_rules! single {
    ($flushes:expr, $f:expr) => {
        if $flushes {
            run!(unary, |a: f32| f32::nearest($f(f64::from(a.flushed())))
                .flushed())
        } else {
            run!(unary, |a: f32| f32::nearest($f(f64::from(a))))
        }
    };
}

/// The same of a half or a pair of them.
macro_rules! half {
    (pair $ty:ty, $f:expr) => {
        run!(unary, |a: [$ty; 2]| a
            .map(|x| <$ty>::nearest($f(x.to_f64()))))
    };
    ($ty:ty, $f:expr) => {
        run!(unary, |a: $ty| <$ty>::nearest($f(a.to_f64())))
    };
}

macro_rules! quotient {
    ($flushes:expr, $f:expr) => {
        if $flushes {
            run!(binary, |a: f32, b: f32| {
                f32::nearest($f(f64::from(a.flushed()), f64::from(b.flushed()))).flushed()
            })
        } else {
            run!(binary, |a: f32, b: f32| f32::nearest($f(
                f64::from(a),
                f64::from(b)
            )))
        }
    };
}

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    let (kind, flushes, ty) = match modifiers {
        [kind, "ftz", ty] => (*kind, true, Type::from_name(ty)?),
        [kind, ty] => (*kind, false, Type::from_name(ty)?),
        _ => return None,
    };
    let run: LaneFunction = match (opcode, kind, ty) {
        ("div", "approx", F32) => quotient!(flushes, divide),
        ("div", "full", F32) => quotient!(flushes, |a: f64, b: f64| a / b),
        (_, "approx", F32) => match opcode {
            "rcp" => single!(flushes, |x: f64| 1.0 / x),
            "sqrt" => single!(flushes, f64::sqrt),
            "rsqrt" => single!(flushes, reciprocal_square_root),
            "sin" => single!(flushes, f64::sin),
            "cos" => single!(flushes, f64::cos),
            "lg2" => single!(flushes, f64::log2),
            "ex2" => single!(flushes, f64::exp2),
            "tanh" if !flushes => single!(false, f64::tanh),
            _ => return None,
        },
        ("rcp", "approx", F64) if flushes => run!(unary, reciprocal_upper),
        ("rsqrt", "approx", F64) if flushes => run!(unary, reciprocal_square_root_upper),
        ("rsqrt", "approx", F64) => {
            run!(unary, |a: f64| reciprocal_square_root(a).canonical())
        }
        ("ex2", "approx", Type::F16) if !flushes => half!(F16, f64::exp2),
        ("ex2", "approx", F16x2) if !flushes => half!(pair F16, f64::exp2),
        ("ex2", "approx", Type::Bf16) if flushes => {
            run!(unary, |a: Bf16| Bf16::nearest(a.flushed().to_f64().exp2())
                .flushed())
        }
        ("ex2", "approx", Bf16x2) if flushes => {
            run!(unary, |a: [Bf16; 2]| {
                a.map(|x| Bf16::nearest(x.flushed().to_f64().exp2()).flushed())
            })
        }
        ("tanh", "approx", Type::F16) if !flushes => half!(F16, f64::tanh),
        ("tanh", "approx", Type::Bf16) if !flushes => half!(Bf16, f64::tanh),
        ("tanh", "approx", F16x2) if !flushes => half!(pair F16, f64::tanh),
        ("tanh", "approx", Bf16x2) if !flushes => half!(pair Bf16, f64::tanh),
        _ => return None,
    };
    let sources = if opcode == "div" { 2 } else { 1 };
    Some(Form::new([ty], vec![ty; sources], run))
}
