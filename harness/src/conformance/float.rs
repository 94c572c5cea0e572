//! `f32`, pairs of `f32`, and `f64`. PTX ISA 9.7.3.

use crate::conformance::arithmetic::{add, divide, integer, multiply, negate, square_root};
use crate::conformance::inputs::{float_pairs, float_triples, floats, singles};
use crate::conformance::numbers::{F32, F64, Format, MODES, Mode, Number, format_of};
use crate::conformance::suite::{Expected, Suite};

/// What may be done beside arithmetic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub flushes: bool,
    pub saturates: bool,
    pub rectifies: bool,
}

impl Flags {
    /// What follows the rounding in the instruction's name.
    pub fn suffix(self) -> String {
        let parts = [
            (self.flushes, ".ftz"),
            (self.saturates, ".sat"),
            (self.rectifies, ".relu"),
        ];
        parts
            .iter()
            .filter(|part| part.0)
            .map(|part| part.1)
            .collect()
    }

    pub fn input(self, format: Format, code: u64) -> Number {
        format.decode(if self.flushes {
            format.flushed(code)
        } else {
            code
        })
    }

    /// The result as bits; a subnormal one that `.ftz` meets after it was rounded up to the
    /// smallest normal number may be a zero too.
    pub fn output(self, format: Format, exact: Number, mode: Mode) -> Expected {
        let code = format.encode(exact, mode);
        let finish = move |mut code: u64| {
            let is_nan = format.is_nan(code);
            if self.flushes {
                code = format.flushed(code);
            }
            if self.saturates {
                // NaN and what is negative become +0.
                let above = !is_nan && !format.is_negative(code) && code > format.one();
                code = match above {
                    true => format.one(),
                    false if is_nan || format.is_negative(code) => 0,
                    false => code,
                };
            }
            if self.rectifies && !is_nan && format.is_negative(code) {
                code = 0;
            }
            code
        };
        let code_of_tiny = self.flushes
            && code & !format.sign() == format.smallest_normal()
            && format.encode(exact, Mode::Rz) != code;
        let bits = finish(code);
        if code_of_tiny {
            let zero = finish(code & format.sign());
            return Expected::matching(format!("{bits:#x} or {zero:#x}"), move |x| {
                x == bits || x == zero
            });
        }
        if format == F64 && format.is_nan(bits) {
            return any_nan(format);
        }
        Expected::Bits(bits)
    }
}

/// A NaN whose bits PTX leaves open.
pub fn any_nan(format: Format) -> Expected {
    Expected::matching("a NaN", move |bits| format.is_nan(bits))
}

/// Adds the rows of the arithmetic instructions of a type with one set of modifiers.
pub fn arithmetic(
    suite: &mut Suite,
    names: &[&str],
    ty: &str,
    rounding: &str,
    mode: Mode,
    flags: Flags,
) {
    let format = format_of(ty);
    let register = if format.bits() == 16 { "b16" } else { ty };
    let number = move |code| flags.input(format, code);
    let modifiers = format!("{rounding}{}", flags.suffix());
    let one = singles(&floats(format));
    let two = float_pairs(format);
    let three = float_triples(format);
    for &name in names {
        let text = |operands: &str| format!("{name}{modifiers}.{ty} {operands};");
        match name {
            "rcp" | "sqrt" => {
                let is_root = name == "sqrt";
                let signature = format!("{register} -> {register}");
                suite.lanes(text("d, a"), &signature, &one, move |[a]| {
                    let exact = match is_root {
                        true => square_root(number(a)),
                        false => divide(integer(1), number(a)),
                    };
                    flags.output(format, exact, mode)
                });
            }
            "fma" | "mad" => {
                let signature = format!("{register} {register} {register} -> {register}");
                suite.lanes(text("d, a, b, c"), &signature, &three, move |[a, b, c]| {
                    let exact = add(multiply(number(a), number(b)), number(c), mode);
                    flags.output(format, exact, mode)
                });
            }
            _ => {
                let f: fn(Number, Number, Mode) -> Number = match name {
                    "add" => add,
                    "sub" => |a, b, mode| add(a, negate(b), mode),
                    "mul" => |a, b, _| multiply(a, b),
                    "div" => |a, b, _| divide(a, b),
                    other => panic!("{other}"),
                };
                let signature = format!("{register} {register} -> {register}");
                suite.lanes(text("d, a, b"), &signature, &two, move |[a, b]| {
                    flags.output(format, f(number(a), number(b), mode), mode)
                });
            }
        }
    }
}

/// `abs`, `neg`, `min` and `max` of a scalar type.
pub fn signs(suite: &mut Suite, ty: &'static str, flushes: &[bool], propagates: bool) {
    let format = format_of(ty);
    let register = if format.bits() == 16 { "b16" } else { ty };
    let one = format!("{register} -> {register}");
    let two = format!("{register} {register} -> {register}");
    for &flushes in flushes {
        let ftz = if flushes { ".ftz" } else { "" };
        let input = move |code| if flushes { format.flushed(code) } else { code };
        for name in ["abs", "neg"] {
            let rows = singles(&floats(format));
            suite.lanes(
                format!("{name}{ftz}.{ty} d, a;"),
                &one,
                &rows,
                move |[a]| {
                    if format.is_nan(a) {
                        // Its sign and payload are not defined.
                        return any_nan(format);
                    }
                    Expected::Bits(match name {
                        "abs" => input(a) & !format.sign(),
                        _ => input(a) ^ format.sign(),
                    })
                },
            );
        }
        for is_max in [false, true] {
            let name = if is_max { "max" } else { "min" };
            let variants: &[(&str, bool, bool)] = match propagates {
                true => &[
                    ("", false, false),
                    (".NaN", true, false),
                    (".xorsign.abs", false, true),
                    (".NaN.xorsign.abs", true, true),
                ],
                false => &[("", false, false)],
            };
            for &(modifiers, keeps_nan, is_xor) in variants {
                suite.target(if is_xor { "sm_86" } else { "sm_80" });
                suite.lanes(
                    format!("{name}{ftz}{modifiers}.{ty} d, a, b;"),
                    &two,
                    &float_pairs(format),
                    move |[a, b]| extremum(format, is_max, keeps_nan, is_xor, [input(a), input(b)]),
                );
            }
        }
    }
    suite.target("sm_80");
}

/// The smaller or larger of two codes; -0 is below +0.
pub fn extremum(
    format: Format,
    is_max: bool,
    keeps_nan: bool,
    is_xor: bool,
    [a, b]: [u64; 2],
) -> Expected {
    let sign = (a ^ b) & format.sign();
    let (is_nan_a, is_nan_b) = (format.is_nan(a), format.is_nan(b));
    if is_nan_a && is_nan_b || keeps_nan && (is_nan_a || is_nan_b) {
        return match format == F64 {
            true => any_nan(format),
            false if is_xor => any_nan(format),
            false => Expected::Bits(format.canonical_nan()),
        };
    }
    let magnitude = |x: u64| if is_xor { x & !format.sign() } else { x };
    let (a, b) = (magnitude(a), magnitude(b));
    // Codes in the order of their values.
    let order = |x: u64| match format.is_negative(x) {
        true => -((x & !format.sign()) as i128) - 1,
        false => i128::from(x),
    };
    let chosen = if is_nan_a {
        b
    } else if is_nan_b || (order(a) > order(b)) == is_max {
        a
    } else {
        b
    };
    Expected::Bits(if is_xor {
        chosen & !format.sign() | sign
    } else {
        chosen
    })
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for (name, mode) in MODES {
        let rounding = format!(".{name}");
        for flushes in [false, true] {
            let flags = Flags {
                flushes,
                ..Flags::default()
            };
            let saturated = Flags {
                saturates: true,
                ..flags
            };
            let all = ["add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt"];
            arithmetic(&mut suite, &all, "f32", &rounding, mode, flags);
            arithmetic(&mut suite, &all[..5], "f32", &rounding, mode, saturated);
            if name == "rn" {
                arithmetic(&mut suite, &all[..3], "f32", "", mode, flags);
                arithmetic(&mut suite, &all[..3], "f32", "", mode, saturated);
            }
        }
        let all = ["add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt"];
        arithmetic(&mut suite, &all, "f64", &rounding, mode, Flags::default());
        if name == "rn" {
            arithmetic(&mut suite, &all[..3], "f64", "", mode, Flags::default());
        }
    }
    signs(&mut suite, "f32", &[false, true], true);
    signs(&mut suite, "f64", &[false], false);
    for ty in ["f32", "f64"] {
        properties(&mut suite, ty);
    }
    pairs_of_f32(&mut suite);
    suite
}

fn properties(suite: &mut Suite, ty: &'static str) {
    let format = format_of(ty);
    suite.lanes(
        format!("copysign.{ty} d, a, b;"),
        &format!("{ty} {ty} -> {ty}"),
        &float_pairs(format),
        move |[a, b]| b & !format.sign() | a & format.sign(),
    );
    let rows = singles(&floats(format));
    let mut test = |name: &str, holds: fn(Format, u64) -> bool| {
        let text = format!("testp.{name}.{ty} d, a;");
        suite.lanes(text, &format!("{ty} -> pred"), &rows, move |[a]| {
            holds(format, a & !format.sign())
        });
    };
    test("finite", |format, x| x < format.infinity());
    test("infinite", |format, x| x == format.infinity());
    test("number", |format, x| x <= format.infinity());
    test("notanumber", |format, x| x > format.infinity());
    // Zeros count as normal.
    test("normal", |f, x| {
        x == 0 || x >= f.smallest_normal() && x < f.infinity()
    });
    test("subnormal", |f, x| x > 0 && x < f.smallest_normal());
}

fn pairs_of_f32(suite: &mut Suite) {
    suite.target("sm_100a");
    let rows: Vec<[u64; 3]> = float_triples(F32)
        .chunks_exact(2)
        .map(|both| [0, 1, 2].map(|k| both[0][k] | both[1][k] << 32))
        .collect();
    for (name, mode) in MODES {
        for flushes in [false, true] {
            let flags = Flags {
                flushes,
                ..Flags::default()
            };
            for operation in ["add", "sub", "mul", "fma"] {
                let operands = if operation == "fma" {
                    "d, a, b, c"
                } else {
                    "d, a, b"
                };
                let mut forms = vec![format!("{operation}.{name}{}", flags.suffix())];
                if name == "rn" && operation != "fma" {
                    forms.push(format!("{operation}{}", flags.suffix()));
                }
                for form in forms {
                    suite.lanes(
                        format!("{form}.f32x2 {operands};"),
                        "b64 b64 b64 -> b64",
                        &rows,
                        move |row| {
                            let half = |shift: u32| {
                                let [a, b, c] =
                                    row.map(|x| flags.input(F32, x >> shift & 0xffff_ffff));
                                let exact = match operation {
                                    "add" => add(a, b, mode),
                                    "sub" => add(a, negate(b), mode),
                                    "mul" => multiply(a, b),
                                    _ => add(multiply(a, b), c, mode),
                                };
                                flags.output(F32, exact, mode)
                            };
                            both(half(0), half(32), 32)
                        },
                    );
                }
            }
        }
    }
}

/// Two results in one register, of `width` bits each.
pub fn both(lower: Expected, upper: Expected, width: u32) -> Expected {
    let text = |half: &Expected| match half {
        Expected::Bits(bits) => format!("{bits:#x}"),
        Expected::Where(what, _) => what.clone(),
    };
    let what = format!("{} above {}", text(&upper), text(&lower));
    let mask = u64::MAX >> (64 - width);
    Expected::matching(what, move |bits| {
        let holds = |half: &Expected, bits: u64| match half {
            Expected::Bits(expected) => expected & mask == bits,
            Expected::Where(_, holds) => holds(bits),
        };
        holds(&lower, bits & mask) && holds(&upper, bits >> width & mask)
    })
}
