//! Arithmetic on `f16`, `bf16` and pairs of them, each rounded once. PTX ISA 9.7.4.

use super::LaneFunction;
use super::float::{BOTH, EXTREMUM_FLUSHES, IS_MAX, PROPAGATES_NAN};
use super::float::{by_extremum, extremum_by, extremum_immediate};
use super::form::{Form, Modifiers, run};
use super::lanes::Parts;
use crate::numeric::exact::Rounding;
use crate::numeric::float::Float;
use crate::numeric::format::Format;
use crate::numeric::half::{Bf16, F16, fma_to_odd};
use crate::syntax::ast::Type;

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Form> {
    let ty = Type::from_name(modifiers.last()?)?;
    match ty {
        Type::F16 => form::<F16, F16>(opcode, Modifiers(modifiers), ty),
        Type::Bf16 => form::<Bf16, Bf16>(opcode, Modifiers(modifiers), ty),
        Type::F16x2 => form::<F16, [F16; 2]>(opcode, Modifiers(modifiers), ty),
        Type::Bf16x2 => form::<Bf16, [Bf16; 2]>(opcode, Modifiers(modifiers), ty),
        _ => None,
    }
}

/// What PTX lets follow the arithmetic.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    flushes: bool,
    saturates: bool,
    rectifies: bool,
}

impl Flags {
    #[inline(always)]
    fn from_immediate(immediate: u64) -> Self {
        Self {
            flushes: immediate & 1 != 0,
            saturates: immediate & 2 != 0,
            rectifies: immediate & 4 != 0,
        }
    }

    fn immediate(self) -> u64 {
        u64::from(self.flushes) | u64::from(self.saturates) << 1 | u64::from(self.rectifies) << 2
    }

    #[inline(always)]
    fn input<H: Float>(self, x: H) -> f64 {
        if self.flushes { x.flushed() } else { x }.to_f64()
    }

    #[inline(always)]
    fn output<H: Float>(self, exact: f64) -> H {
        let mut result = H::nearest(exact);
        if self.flushes {
            result = result.flushed();
        }
        if self.saturates {
            result = result.saturated();
        }
        if self.rectifies {
            result = result.rectified();
        }
        result
    }

    /// Sums of two halves that `f64` does not hold have the wrong last place there, far below
    /// that of a half's significand: rounding them again is rounding the exact sum.
    #[inline(always)]
    fn add<H: Float>(self, a: H, b: H) -> H {
        self.output(self.input(a) + self.input(b))
    }

    #[inline(always)]
    fn subtract<H: Float>(self, a: H, b: H) -> H {
        self.output(self.input(a) - self.input(b))
    }

    /// The product is exact in `f64`.
    #[inline(always)]
    fn multiply<H: Float>(self, a: H, b: H) -> H {
        self.output(self.input(a) * self.input(b))
    }

    #[inline(always)]
    fn multiply_add<H: Float>(self, a: H, b: H, c: H) -> H {
        self.output(fma_to_odd(self.input(a), self.input(b), self.input(c)))
    }
}

/// The flags of an arithmetic instruction, if PTX has it for this type.
fn flags(opcode: &str, mut modifiers: Modifiers, is_bf16: bool) -> Option<Flags> {
    let rounding = modifiers.rounding();
    if rounding.is_some_and(|mode| mode != Rounding::NearestEven)
        || opcode == "fma" && rounding.is_none()
    {
        return None;
    }
    let flags = Flags {
        flushes: modifiers.take("ftz"),
        saturates: modifiers.take("sat"),
        rectifies: modifiers.take("relu"),
    };
    modifiers.last()?;
    let is_valid = !(is_bf16 && (flags.flushes || flags.saturates))
        && !(flags.rectifies && (opcode != "fma" || flags.saturates));
    is_valid.then_some(flags)
}

/// The closures of an operation, for flags that are none and for any.
macro_rules! with_flags {
    ($flags:expr, $loop:ident, $L:ident, |$flags_name:ident, [$($x:ident),*]| $f:expr) => {
        if $flags == Flags::default() {
            run!(vectorised $loop, #[inline(always)] |$($x: $L),*| {
                let $flags_name = Flags::default();
                $L::each([$($x),*], #[inline(always)] |[$($x),*]| $f)
            })
        } else {
            |alu, registers, active| {
                let $flags_name = Flags::from_immediate(alu.immediate);
                crate::alu::lanes::$loop(alu, registers, active, |$($x: $L),*| {
                    $L::each([$($x),*], |[$($x),*]| $f)
                });
            }
        }
    };
}

/// The form for values of `H`, one or two in a register.
fn form<H: Float, L: Parts<H>>(opcode: &str, mut modifiers: Modifiers, ty: Type) -> Option<Form> {
    let is_bf16 = H::FORMAT == Format::BF16;
    match opcode {
        "add" | "sub" | "mul" | "fma" => {
            let flags = flags(opcode, modifiers, is_bf16)?;
            let run: LaneFunction = match opcode {
                "add" => with_flags!(flags, binary, L, |flags, [a, b]| flags.add(a, b)),
                "sub" => with_flags!(flags, binary, L, |flags, [a, b]| flags.subtract(a, b)),
                "mul" => with_flags!(flags, binary, L, |flags, [a, b]| flags.multiply(a, b)),
                _ => with_flags!(flags, ternary, L, |flags, [a, b, c]| flags
                    .multiply_add(a, b, c)),
            };
            let sources = if opcode == "fma" { 3 } else { 2 };
            Some(Form::new([ty], vec![ty; sources], run).with(flags.immediate()))
        }
        "abs" | "neg" => {
            let flushes = modifiers.take("ftz");
            modifiers.last()?;
            let run: LaneFunction = match (opcode, flushes) {
                (_, true) if is_bf16 => return None,
                ("abs", false) => run!(unary, |a: L| L::each([a], |[a]| a.magnitude())),
                ("abs", true) => run!(unary, |a: L| L::each([a], |[a]| a.flushed().magnitude())),
                (_, false) => run!(unary, |a: L| L::each([a], |[a]| a.negated())),
                (_, true) => run!(unary, |a: L| L::each([a], |[a]| a.flushed().negated())),
            };
            Some(Form::new([ty], [ty], run))
        }
        "min" | "max" => {
            let immediate = extremum_immediate(opcode, &mut modifiers)?;
            modifiers.last()?;
            if is_bf16 && immediate & EXTREMUM_FLUSHES != 0 {
                return None;
            }
            let run = by_extremum!(immediate, |how, a: L, b: L| {
                L::each([a, b], |[a, b]| extremum_by(how, a, b))
            });
            Some(Form::new([ty], [ty; 2], run).with(immediate))
        }
        _ => None,
    }
}
