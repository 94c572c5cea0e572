//! Approximations: the model is in [`crate::numeric::approximate`]. PTX ISA 9.7.3 and 9.7.4.

use super::LaneFunction;
use super::form::{Form, run};
use super::lanes::Parts;
use crate::numeric::approximate::{
    divide, reciprocal_square_root, reciprocal_square_root_upper, reciprocal_upper,
};
use crate::numeric::float::Float;
use crate::numeric::half::{Bf16, F16};
use crate::syntax::ast::Type::{self, Bf16x2, F16x2, F32, F64};

/// Functions of one or two arguments with a result of `$L`, which is one `$H` or two; with `.ftz`
/// arguments and result are flushed.
macro_rules! rounded {
    ($loop:ident $L:ty, $H:ty, $flushes:expr, |$($x:ident),*| $f:expr) => {
        if $flushes {
            run!($loop, |$($x: $L),*| <$L as Parts<$H>>::each([$($x),*], |[$($x),*]| {
                $(let $x = $x.flushed().to_f64();)*
                <$H>::nearest($f).flushed()
            }))
        } else {
            run!($loop, |$($x: $L),*| <$L as Parts<$H>>::each([$($x),*], |[$($x),*]| {
                $(let $x = $x.to_f64();)*
                <$H>::nearest($f)
            }))
        }
    };
}

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    let (kind, ftz, ty) = match modifiers {
        [kind, "ftz", ty] => (*kind, true, Type::from_name(ty)?),
        [kind, ty] => (*kind, false, Type::from_name(ty)?),
        _ => return None,
    };
    let run: LaneFunction = match (opcode, kind, ty, ftz) {
        ("div", "approx", F32, _) => rounded!(binary f32, f32, ftz, |a, b| divide(a, b)),
        ("div", "full", F32, _) => rounded!(binary f32, f32, ftz, |a, b| a / b),
        ("rcp", "approx", F32, _) => rounded!(unary f32, f32, ftz, |a| 1.0 / a),
        ("sqrt", "approx", F32, _) => rounded!(unary f32, f32, ftz, |a| a.sqrt()),
        ("rsqrt", "approx", F32, _) => {
            rounded!(unary f32, f32, ftz, |a| reciprocal_square_root(a))
        }
        ("sin", "approx", F32, _) => rounded!(unary f32, f32, ftz, |a| a.sin()),
        ("cos", "approx", F32, _) => rounded!(unary f32, f32, ftz, |a| a.cos()),
        ("lg2", "approx", F32, _) => rounded!(unary f32, f32, ftz, |a| a.log2()),
        ("ex2", "approx", F32, _) => rounded!(unary f32, f32, ftz, |a| a.exp2()),
        ("tanh", "approx", F32, false) => rounded!(unary f32, f32, false, |a| a.tanh()),
        ("rcp", "approx", F64, true) => run!(unary, reciprocal_upper),
        ("rsqrt", "approx", F64, true) => run!(unary, reciprocal_square_root_upper),
        ("rsqrt", "approx", F64, false) => {
            run!(unary, |a: f64| reciprocal_square_root(a).canonical())
        }
        ("ex2", "approx", Type::F16, false) => rounded!(unary F16, F16, false, |a| a.exp2()),
        ("ex2", "approx", F16x2, false) => rounded!(unary [F16; 2], F16, false, |a| a.exp2()),
        ("ex2", "approx", Type::Bf16, true) => rounded!(unary Bf16, Bf16, true, |a| a.exp2()),
        ("ex2", "approx", Bf16x2, true) => rounded!(unary [Bf16; 2], Bf16, true, |a| a.exp2()),
        ("tanh", "approx", Type::F16, false) => rounded!(unary F16, F16, false, |a| a.tanh()),
        ("tanh", "approx", Type::Bf16, false) => rounded!(unary Bf16, Bf16, false, |a| a.tanh()),
        ("tanh", "approx", F16x2, false) => rounded!(unary [F16; 2], F16, false, |a| a.tanh()),
        ("tanh", "approx", Bf16x2, false) => rounded!(unary [Bf16; 2], Bf16, false, |a| a.tanh()),
        _ => return None,
    };
    let sources = if opcode == "div" { 2 } else { 1 };
    Some(Form::new([ty], vec![ty; sources], run))
}
