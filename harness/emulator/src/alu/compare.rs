//! Comparison and selection. PTX ISA 9.7.6 and 9.7.7.

use super::form::{Form, Modifiers, by_type, run};
use super::lanes::{self, Lane, each};
use super::{Alu, LaneFunction};
use crate::numeric::float::Float;
use crate::numeric::half::{Bf16, F16};
use crate::registers::Registers;
use crate::syntax::ast::{Operand, Type};

/// The immediate: what combines the comparison with the predicate, whether that is negated, and
/// in its upper half what `set` writes for true.
const AND: u64 = 1;
const OR: u64 = 2;
const XOR: u64 = 3;
const COMBINE: u64 = 3;
const NEGATED: u32 = 2;
const TRUE: u32 = 32;

/// The use of the outcome of a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// `setp`.
    Predicate,
    /// `set`.
    Value,
}

pub(super) fn lower(opcode: &str, modifiers: &[&str], operands: &[Operand]) -> Option<Form> {
    match opcode {
        "setp" => setp(Modifiers(modifiers), operands),
        "set" => set(Modifiers(modifiers)),
        "selp" => {
            let ty = Modifiers(modifiers).last_type()?;
            by_type!(ty, T in moved, Form::new([ty], [ty, ty, Type::Pred],
                run!(ternary, |a: T, b: T, c: bool| if c { a } else { b })))
        }
        "slct" => slct(modifiers),
        _ => None,
    }
}

fn slct(modifiers: &[&str]) -> Option<Form> {
    let (ty, selector) = match modifiers {
        [ty, "s32"] => (ty, Type::S32),
        ["ftz", ty, "f32"] | [ty, "f32"] => (ty, Type::F32),
        _ => return None,
    };
    let ty = Type::from_name(ty)?;
    by_type!(ty, T in moved, Form::new([ty], [ty, ty, selector], match (selector, modifiers) {
        (Type::S32, _) => run!(ternary, |a: T, b: T, c: i32| if c >= 0 { a } else { b }),
        (_, ["ftz", ..]) => {
            run!(ternary, |a: T, b: T, c: f32| if c.flushed() >= 0.0 { a } else { b })
        }
        _ => run!(ternary, |a: T, b: T, c: f32| if c >= 0.0 { a } else { b }),
    }))
}

/// Takes the operator and the boolean operation that may follow it.
fn operators<'a>(modifiers: &mut Modifiers<'a>) -> Option<(&'a str, u64)> {
    let comparison = modifiers.choose(&[
        "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu",
        "gtu", "geu", "num", "nan",
    ])?;
    let combination = match modifiers.choose(&["and", "or", "xor"]) {
        None => 0,
        Some("and") => AND,
        Some("or") => OR,
        Some(_) => XOR,
    };
    Some((comparison, combination))
}

fn setp(mut modifiers: Modifiers, operands: &[Operand]) -> Option<Form> {
    let (comparison, combination) = operators(&mut modifiers)?;
    let flushes = modifiers.take("ftz");
    let ty = modifiers.last_type()?;
    let is_pair = matches!(operands.first(), Some(Operand::Pair(..)));
    // One predicate for each half, and only one for a half.
    if is_packed(ty) && !is_pair || matches!(ty, Type::F16 | Type::Bf16) && is_pair {
        return None;
    }
    let destinations = vec![Type::Pred; 1 + usize::from(is_pair)];
    let run = comparison_of(comparison, ty, flushes, Sink::Predicate)?;
    Some(combined(destinations, ty, combination, run))
}

fn set(mut modifiers: Modifiers) -> Option<Form> {
    let (comparison, combination) = operators(&mut modifiers)?;
    let flushes = modifiers.take("ftz");
    let [destination, source] = modifiers.0 else {
        return None;
    };
    let (destination, source) = (Type::from_name(destination)?, Type::from_name(source)?);
    let is_half = matches!(source, Type::F16 | Type::Bf16);
    let is_true = match destination {
        Type::F16x2 if source == Type::F16x2 => 0x3c00_3c00,
        Type::Bf16x2 if source == Type::Bf16x2 => 0x3f80_3f80,
        Type::U32 | Type::S32 => u32::MAX,
        Type::F32 if !is_half && !is_packed(source) => 1.0f32.to_bits(),
        Type::U16 | Type::S16 if is_half => 0xffff,
        Type::F16 if source == Type::F16 => 0x3c00,
        Type::Bf16 if source == Type::Bf16 => 0x3f80,
        _ => return None,
    };
    let run = comparison_of(comparison, source, flushes, Sink::Value)?;
    let form = combined(vec![destination], source, combination, run);
    let immediate = form.immediate | u64::from(is_true) << TRUE;
    Some(form.with(immediate))
}

fn is_packed(ty: Type) -> bool {
    matches!(ty, Type::F16x2 | Type::Bf16x2)
}

fn combined(destinations: Vec<Type>, ty: Type, combination: u64, run: LaneFunction) -> Form {
    let mut sources = vec![ty; 2];
    if combination != 0 {
        sources.push(Type::Pred);
    }
    let mut form = Form::new(destinations, sources, run).with(combination);
    form.negation = (combination != 0).then_some(NEGATED);
    form
}

/// The outcome of a comparison, combined with the predicate if there is one.
#[inline(always)]
fn combine(alu: &Alu, registers: &Registers, outcome: u32) -> u32 {
    if alu.immediate & COMBINE == 0 {
        return outcome;
    }
    let c = registers.predicate(alu.sources[2]);
    let c = if alu.immediate >> NEGATED & 1 == 1 {
        !c
    } else {
        c
    };
    match alu.immediate & COMBINE {
        AND => outcome & c,
        OR => outcome | c,
        _ => outcome ^ c,
    }
}

/// Bit i is the outcome in lane i.
#[inline(always)]
fn compared<A: Lane>(alu: &Alu, registers: &Registers, f: impl Fn(A, A) -> bool) -> u32 {
    let [a, b] = [0, 1].map(|k| A::lanes(registers, alu.sources[k]));
    lanes::collect(each(|i| f(A::at(a, i), A::at(b, i))))
}

/// `p` is the outcome and `q` that of the opposite comparison, both combined with `c`.
#[inline(always)]
fn to_predicates<A: Lane>(
    alu: &Alu,
    registers: &mut Registers,
    active: u32,
    f: impl Fn(A, A) -> bool,
) {
    let outcome = compared(alu, registers, f);
    let p = combine(alu, registers, outcome);
    let q = combine(alu, registers, !outcome);
    registers.set_predicate(alu.destinations[0], p, active);
    if let Some(&second) = alu.destinations.get(1) {
        registers.set_predicate(second, q, active);
    }
}

#[inline(always)]
fn to_value<A: Lane>(alu: &Alu, registers: &mut Registers, active: u32, f: impl Fn(A, A) -> bool) {
    let outcome = compared(alu, registers, f);
    let outcome = combine(alu, registers, outcome);
    let is_true = (alu.immediate >> TRUE) as u32;
    let d = each(|i| if bool::at(outcome, i) { is_true } else { 0 });
    u32::store(registers, alu.destinations[0], d, active);
}

/// The two halves' outcomes, each combined with `c`: two predicates, or two halves of a value.
#[inline(always)]
fn packed<H: Lane>(
    alu: &Alu,
    registers: &mut Registers,
    active: u32,
    sink: Sink,
    f: impl Fn(H, H) -> bool,
) where
    [H; 2]: Lane,
{
    let outcomes = [0, 1].map(|half| {
        let outcome = compared(alu, registers, |a: [H; 2], b: [H; 2]| f(a[half], b[half]));
        combine(alu, registers, outcome)
    });
    match sink {
        Sink::Predicate => {
            registers.set_predicate(alu.destinations[0], outcomes[0], active);
            registers.set_predicate(alu.destinations[1], outcomes[1], active);
        }
        Sink::Value => {
            let is_true = (alu.immediate >> TRUE) as u32;
            let d = each(|i| {
                let [low, high] = outcomes.map(|lanes| if bool::at(lanes, i) { 0xffff } else { 0 });
                is_true & (low | high << 16)
            });
            u32::store(registers, alu.destinations[0], d, active);
        }
    }
}

/// The function for a comparison: a closure over two operands becomes one over all lanes.
macro_rules! over_lanes {
    ($sink:expr, $f:expr) => {
        match $sink {
            Sink::Predicate => |alu, registers, active| to_predicates(alu, registers, active, $f),
            Sink::Value => |alu, registers, active| to_value(alu, registers, active, $f),
        }
    };
}

/// As [`over_lanes`], for both halves.
macro_rules! over_pairs {
    ($sink:expr, $f:expr) => {
        match $sink {
            Sink::Predicate => {
                |alu, registers, active| packed(alu, registers, active, Sink::Predicate, $f)
            }
            Sink::Value => |alu, registers, active| packed(alu, registers, active, Sink::Value, $f),
        }
    };
}

fn comparison_of(name: &str, ty: Type, flushes: bool, sink: Sink) -> Option<LaneFunction> {
    if flushes && !matches!(ty, Type::F32 | Type::F16 | Type::F16x2) {
        return None;
    }
    if matches!(ty, Type::B16 | Type::B32 | Type::B64) && !matches!(name, "eq" | "ne") {
        return None;
    }
    match (ty, flushes) {
        (Type::F16, false) => float::<F16, false>(name, sink),
        (Type::F16, true) => float::<F16, true>(name, sink),
        (Type::F32, false) => float::<f32, false>(name, sink),
        (Type::F32, true) => float::<f32, true>(name, sink),
        (Type::F64, _) => float::<f64, false>(name, sink),
        (Type::Bf16, _) => float::<Bf16, false>(name, sink),
        (Type::F16x2, false) => float_pair::<F16, false>(name, sink),
        (Type::F16x2, true) => float_pair::<F16, true>(name, sink),
        (Type::Bf16x2, _) => float_pair::<Bf16, false>(name, sink),
        (Type::U16 | Type::U32 | Type::U64, _) => {
            let name = match name {
                "lo" => "lt",
                "ls" => "le",
                "hi" => "gt",
                "hs" => "ge",
                other => other,
            };
            by_type!(ty, T in [U16: u16, U32: u32, U64: u64], integer::<T>(name, sink)?)
        }
        _ => by_type!(ty, T in [
            B16: u16, B32: u32, B64: u64, S16: i16, S32: i32, S64: i64
        ], integer::<T>(name, sink)?),
    }
}

fn integer<T: Lane + Ord>(name: &str, sink: Sink) -> Option<LaneFunction> {
    Some(match name {
        "eq" => over_lanes!(sink, |a: T, b: T| a == b),
        "ne" => over_lanes!(sink, |a: T, b: T| a != b),
        "lt" => over_lanes!(sink, |a: T, b: T| a < b),
        "le" => over_lanes!(sink, |a: T, b: T| a <= b),
        "gt" => over_lanes!(sink, |a: T, b: T| a > b),
        "ge" => over_lanes!(sink, |a: T, b: T| a >= b),
        _ => return None,
    })
}

/// A floating-point operand as the host compares it.
trait Compared: Float {
    type Ordered: PartialOrd;
    fn ordered(self) -> Self::Ordered;

    #[inline(always)]
    fn seen<const FLUSHES: bool>(self) -> Self::Ordered {
        if FLUSHES { self.flushed() } else { self }.ordered()
    }
}

macro_rules! compared {
    ($($ty:ty, $ordered:ty, $f:expr);*) => {
        $(impl Compared for $ty {
            type Ordered = $ordered;

            #[inline(always)]
            fn ordered(self) -> $ordered {
                $f(self)
            }
        })*
    };
}
compared!(f32, f32, |x| x; f64, f64, |x| x; F16, f32, F16::to_f32; Bf16, f32, Bf16::to_f32);

/// The comparisons of floating-point numbers.
macro_rules! float_comparisons {
    ($name:expr, $over:ident, $sink:expr, $T:ty, $flushes:expr) => {{
        macro_rules! with {
            ($a:ident, $b:ident, $f:expr) => {
                $over!($sink, |a: $T, b: $T| {
                    let ($a, $b) = (a.seen::<$flushes>(), b.seen::<$flushes>());
                    $f
                })
            };
        }
        #[allow(clippy::neg_cmp_op_on_partial_ord, reason = "true for NaN")]
        Some(match $name {
            "eq" => with!(a, b, a == b),
            // NaN is not unequal to anything but for `neu`.
            "ne" => with!(a, b, a < b || b < a),
            "lt" => with!(a, b, a < b),
            "le" => with!(a, b, a <= b),
            "gt" => with!(a, b, a > b),
            "ge" => with!(a, b, a >= b),
            "equ" => with!(a, b, !(a < b || b < a)),
            "neu" => with!(a, b, a != b),
            "ltu" => with!(a, b, !(a >= b)),
            "leu" => with!(a, b, !(a > b)),
            "gtu" => with!(a, b, !(a <= b)),
            "geu" => with!(a, b, !(a < b)),
            "num" => with!(a, b, a <= b || a >= b),
            "nan" => with!(a, b, !(a <= b || a >= b)),
            _ => return None,
        })
    }};
}

fn float<T: Lane + Compared, const FLUSHES: bool>(name: &str, sink: Sink) -> Option<LaneFunction> {
    float_comparisons!(name, over_lanes, sink, T, FLUSHES)
}

fn float_pair<H: Lane + Compared, const FLUSHES: bool>(
    name: &str,
    sink: Sink,
) -> Option<LaneFunction>
where
    [H; 2]: Lane,
{
    float_comparisons!(name, over_pairs, sink, H, FLUSHES)
}
