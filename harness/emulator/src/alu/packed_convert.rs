//! `cvt` to and from halves with `.relu` and `.satfinite`, packed pairs, and the formats of
//! tensor cores. PTX ISA 9.7.9: of two sources the first becomes the upper part.

use super::LaneFunction;
use super::form::{Form, Modifiers, run};
use super::lanes;
use crate::numeric::exact::{Number, Rounding};
use crate::numeric::float::Float;
use crate::numeric::format::Format;
use crate::numeric::half::{Bf16, F16};
use crate::numeric::scale::{from_e8m0, to_e8m0};
use crate::syntax::ast::Type::{self, B8, B16, B32, F32};

/// Bits of the immediate: a [`Rounding`] in the lowest three, the flags, and which format.
const RECTIFIES: u64 = 1 << 3;
const SATURATES: u64 = 1 << 4;
/// Eight bits from here are left to the width that [`super::bind`] notes.
const FORMAT: u32 = 16;

/// The formats that the immediate can name, with what the modifier adds to their name.
const FORMATS: [(&str, Format); 8] = [
    ("f16", Format::F16),
    ("bf16", Format::BF16),
    ("tf32", Format::TF32),
    ("e4m3", Format::E4M3),
    ("e5m2", Format::E5M2),
    ("e2m3", Format::E2M3),
    ("e3m2", Format::E3M2),
    ("e2m1", Format::E2M1),
];

fn format_named(name: &str) -> Option<u64> {
    FORMATS.iter().position(|f| f.0 == name).map(|i| i as u64)
}

/// What the immediate says of one conversion.
#[derive(Clone, Copy)]
struct Conversion {
    format: Format,
    rounding: Rounding,
    saturates: bool,
    rectifies: bool,
}

impl Conversion {
    #[inline(always)]
    fn from_immediate(immediate: u64) -> Self {
        Self {
            format: FORMATS[(immediate >> FORMAT) as usize].1,
            rounding: Rounding::from_bits(immediate),
            saturates: immediate & SATURATES != 0,
            rectifies: immediate & RECTIFIES != 0,
        }
    }

    /// `.relu` makes what is negative +0, before or after rounding alike.
    fn encode(self, number: Number) -> u32 {
        let number = if self.rectifies && number.is_negative() {
            Number::Zero(false)
        } else {
            number
        };
        self.format.encode(number, self.rounding, self.saturates) as u32
    }

    /// Two codes, the upper one in the upper half of 2, 4 or 8 times four bits.
    #[inline(always)]
    fn pair(self, upper: Number, lower: Number) -> u32 {
        let place = self.format.bits().next_multiple_of(8);
        let place = if self.format.bits() == 4 { 4 } else { place };
        self.encode(upper) << place | self.encode(lower)
    }

    /// The value of a code of the format as `f16`, which has all of them.
    #[inline(always)]
    fn widen(self, code: u32) -> F16 {
        let number = self.format.decode(u64::from(code));
        let half = F16::round(number, Rounding::NearestEven);
        if self.rectifies {
            half.rectified()
        } else {
            half
        }
    }
}

/// Rounding to nearest, alone, of both halves: the one that programs use most.
macro_rules! nearest_pair {
    ($ty:ty) => {
        run!(vectorised binary, #[inline(always)] |a: f32, b: f32| {
            [<$ty>::from_f32(b), <$ty>::from_f32(a)]
        })
    };
}

/// A function of the conversion that the immediate names.
macro_rules! converted {
    ($loop:ident, |$conversion:ident, $($x:ident: $ty:ty),*| $f:expr) => {
        |alu, registers, active| {
            let $conversion = Conversion::from_immediate(alu.immediate);
            lanes::$loop(alu, registers, active, |$($x: $ty),*| $f);
        }
    };
}

const ONE_NUMBER: LaneFunction = converted!(unary, |to, a: f32| to.encode(a.number()));
const TF32: LaneFunction = converted!(unary, |to, a: f32| to.encode(a.number()) << 13);
const TWO_NUMBERS: LaneFunction =
    converted!(binary, |to, a: f32, b: f32| to.pair(a.number(), b.number()));
const PAIR_OF_F16: LaneFunction = converted!(unary, |to, a: [F16; 2]| to
    .pair(a[1].number(), a[0].number()));
const WIDEN: LaneFunction = converted!(unary, |from, a: u32| {
    let place = if from.format.bits() == 4 { 4 } else { 8 };
    [from.widen(a), from.widen(a >> place)]
});
const SCALES_OF_F32: LaneFunction = converted!(binary, |to, a: f32, b: f32| {
    u16::from_le_bytes([b, a].map(|x| to_e8m0(x, to.rounding, to.saturates)))
});
const SCALES_OF_BF16: LaneFunction = converted!(unary, |to, a: [Bf16; 2]| {
    u16::from_le_bytes(a.map(|x| to_e8m0(x.to_f32(), to.rounding, to.saturates)))
});

pub(super) fn lower(modifiers: &[&str]) -> Option<Form> {
    let mut taken = Modifiers(modifiers);
    let is_away = taken.take("rna");
    let rounding = if is_away {
        Rounding::NearestAway
    } else {
        taken.rounding()?
    };
    // PTX writes these two in either order.
    let (mut saturates, mut rectifies) = (false, false);
    while let Some(flag) = taken.choose(&["satfinite", "relu"]) {
        let seen = if flag == "relu" {
            &mut rectifies
        } else {
            &mut saturates
        };
        if std::mem::replace(seen, true) {
            return None;
        }
    }
    let [to, from] = taken.0 else {
        return None;
    };
    let is_nearest = rounding == Rounding::NearestEven;
    let is_two_way = is_nearest || rounding == Rounding::Zero;
    let single = |name: &str| name.strip_suffix("x2").and_then(format_named);
    let small = |name: &str| single(name).filter(|&i| i >= 3);
    let byte = |name: &str| if name == "e2m1x2" { B8 } else { B16 };
    let immediate = |format: u64| {
        rounding as u64
            | if saturates { SATURATES } else { 0 }
            | if rectifies { RECTIFIES } else { 0 }
            | format << FORMAT
    };

    let (destination, sources, run, format): (Type, Vec<Type>, LaneFunction, u64) =
        match (*to, *from) {
            ("f16" | "bf16", "f32") if is_two_way && (saturates || rectifies) => {
                (B16, vec![F32], ONE_NUMBER, format_named(to)?)
            }
            ("f16x2", "f32") if is_nearest && !saturates && !rectifies => {
                (Type::F16x2, vec![F32, F32], nearest_pair!(F16), 0)
            }
            ("bf16x2", "f32") if is_nearest && !saturates && !rectifies => {
                (Type::Bf16x2, vec![F32, F32], nearest_pair!(Bf16), 0)
            }
            ("f16x2" | "bf16x2", "f32") if is_two_way => {
                (B32, vec![F32, F32], TWO_NUMBERS, single(to)?)
            }
            ("tf32", "f32") if is_two_way || is_away && !rectifies => {
                (B32, vec![F32], TF32, format_named(to)?)
            }
            ("ue8m0x2", "f32" | "bf16x2")
                if matches!(rounding, Rounding::Zero | Rounding::Up) && !rectifies =>
            {
                if *from == "f32" {
                    (B16, vec![F32, F32], SCALES_OF_F32, 0)
                } else {
                    (B16, vec![Type::Bf16x2], SCALES_OF_BF16, 0)
                }
            }
            ("bf16x2", "ue8m0x2") if is_nearest && !saturates && !rectifies => {
                let run: LaneFunction = run!(unary, |a: u16| a
                    .to_le_bytes()
                    .map(|code| Bf16(from_e8m0(code))));
                (B32, vec![B16], run, 0)
            }
            (to, "f32") if is_nearest && saturates => {
                (byte(to), vec![F32, F32], TWO_NUMBERS, small(to)?)
            }
            ("e4m3x2" | "e5m2x2", "f16x2") if is_nearest && saturates => {
                (B16, vec![Type::F16x2], PAIR_OF_F16, small(to)?)
            }
            ("f16x2", from) if is_nearest && !saturates => {
                (B32, vec![byte(from)], WIDEN, small(from)?)
            }
            _ => return None,
        };
    Some(Form::new([destination], sources, run).with(immediate(format)))
}
