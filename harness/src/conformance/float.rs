//! `f32`, pairs of `f32`, and `f64`. PTX ISA 9.7.3.

use crate::conformance::arithmetic::{add, divide, integer, multiply, negate, square_root};
use crate::conformance::inputs::{float_pairs, float_triples, floats, low, singles};
use crate::conformance::numbers::{F64, Format, MODES, Mode, Number, format_of};
use crate::conformance::suite::{Expected, Suite, lanes};

/// What may be done beside arithmetic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub flushes: bool,
    pub saturates: bool,
    pub rectifies: bool,
}

impl Flags {
    pub const fn new(flushes: bool, saturates: bool, rectifies: bool) -> Self {
        Self {
            flushes,
            saturates,
            rectifies,
        }
    }

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

/// A row of an instruction on scalars, or on pairs of them when the type ends with `x2`.
pub fn row<const N: usize>(
    suite: &mut Suite,
    head: &str,
    ty: &str,
    rows: &[[u64; N]],
    f: impl Fn([u64; N]) -> Expected + Send + Sync + 'static,
) {
    let (scalar, is_pair) = match ty.strip_suffix("x2") {
        Some(scalar) => (scalar, true),
        None => (ty, false),
    };
    let bits = format_of(scalar).bits();
    let register = match bits {
        32.. if !is_pair => ty.to_owned(),
        _ => format!("b{}", bits << u32::from(is_pair)),
    };
    let signature = format!("{} -> {register}", vec![register.as_str(); N].join(" "));
    let text = format!("{head}.{ty}");
    if !is_pair {
        return suite.lanes(text, &signature, rows, f);
    }
    let both_rows = rows.iter().zip(rows.iter().cycle().skip(7));
    let pairs =
        both_rows.map(|(lower, upper)| std::array::from_fn(|k| lower[k] | upper[k] << bits));
    suite.lanes(text, &signature, &pairs.collect::<Vec<_>>(), move |row| {
        both(
            f(row.map(|x| low(x, bits))),
            f(row.map(|x| x >> bits)),
            bits,
        )
    });
}

/// The format of a scalar type, or of the parts of a pair.
pub fn part_format(ty: &str) -> Format {
    format_of(ty.trim_end_matches("x2"))
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
    let format = part_format(ty);
    let number = move |code| flags.input(format, code);
    let output = move |exact| flags.output(format, exact, mode);
    for &name in names {
        let head = format!("{name}{rounding}{}", flags.suffix());
        match name {
            "rcp" | "sqrt" => row(suite, &head, ty, &singles(&floats(format)), {
                let is_root = name == "sqrt";
                move |[a]| match is_root {
                    true => output(square_root(number(a))),
                    false => output(divide(integer(1), number(a))),
                }
            }),
            "fma" | "mad" => row(
                suite,
                &head,
                ty,
                &float_triples(format),
                move |[a, b, c]| output(add(multiply(number(a), number(b)), number(c), mode)),
            ),
            _ => {
                let f: fn(Number, Number, Mode) -> Number = match name {
                    "add" => add,
                    "sub" => |a, b, mode| add(a, negate(b), mode),
                    "mul" => |a, b, _| multiply(a, b),
                    "div" => |a, b, _| divide(a, b),
                    other => panic!("{other}"),
                };
                row(suite, &head, ty, &float_pairs(format), move |[a, b]| {
                    output(f(number(a), number(b), mode))
                });
            }
        }
    }
}

/// `abs`, `neg`, `min` and `max` of a type.
pub fn signs(suite: &mut Suite, ty: &str, flushes: &[bool], propagates: bool) {
    let format = part_format(ty);
    for &flushes in flushes {
        let ftz = if flushes { ".ftz" } else { "" };
        let input = move |code| if flushes { format.flushed(code) } else { code };
        for (name, changed) in [("abs", 0), ("neg", format.sign())] {
            let rows = singles(&floats(format));
            row(
                suite,
                &format!("{name}{ftz}"),
                ty,
                &rows,
                move |[a]| match format.is_nan(a) {
                    // Its sign and payload are not defined.
                    true => any_nan(format),
                    false if changed == 0 => Expected::Bits(input(a) & !format.sign()),
                    false => Expected::Bits(input(a) ^ changed),
                },
            );
        }
        for (name, is_max) in [("min", false), ("max", true)] {
            let variants: &[(&str, bool, bool)] = &[
                ("", false, false),
                (".NaN", true, false),
                (".xorsign.abs", false, true),
                (".NaN.xorsign.abs", true, true),
            ];
            for &(modifiers, keeps_nan, is_xor) in &variants[..if propagates { 4 } else { 1 }] {
                suite.target(if is_xor { "sm_86" } else { "sm_80" });
                let head = format!("{name}{ftz}{modifiers}");
                row(suite, &head, ty, &float_pairs(format), move |[a, b]| {
                    extremum(format, is_max, keeps_nan, is_xor, [input(a), input(b)])
                });
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
    let all = ["add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt"];
    let plain = Flags::default();
    for (name, mode) in MODES {
        let rounding = format!(".{name}");
        // Without a mode it is to nearest.
        let optional: &[&str] = if name == "rn" {
            &[&rounding, ""]
        } else {
            &[&rounding]
        };
        for flushes in [false, true] {
            let flags = Flags::new(flushes, false, false);
            let saturated = Flags::new(flushes, true, false);
            for rounding in optional {
                let names = if rounding.is_empty() { &all[..3] } else { &all };
                arithmetic(&mut suite, names, "f32", rounding, mode, flags);
                let names = &names[..names.len().min(5)];
                arithmetic(&mut suite, names, "f32", rounding, mode, saturated);
                suite.target("sm_100a");
                let names = &names[..names.len().min(4)];
                arithmetic(&mut suite, names, "f32x2", rounding, mode, flags);
                suite.target("sm_80");
            }
        }
        arithmetic(&mut suite, &all, "f64", &rounding, mode, plain);
        if name == "rn" {
            arithmetic(&mut suite, &all[..3], "f64", "", mode, plain);
        }
    }
    signs(&mut suite, "f32", &[false, true], true);
    signs(&mut suite, "f64", &[false], false);
    for ty in ["f32", "f64"] {
        properties(&mut suite, ty);
    }
    suite
}

fn properties(suite: &mut Suite, ty: &str) {
    let f = format_of(ty);
    lanes! { suite, &float_pairs(f);
        "copysign.{ty}", "{ty} {ty} -> {ty}", |[a, b]| b & !f.sign() | a & f.sign();
    }
    let x = move |a: u64| a & !f.sign();
    lanes! { suite, &singles(&floats(f));
        "testp.finite.{ty}", "{ty} -> pred", |[a]| x(a) < f.infinity();
        "testp.infinite.{ty}", "{ty} -> pred", |[a]| x(a) == f.infinity();
        "testp.number.{ty}", "{ty} -> pred", |[a]| x(a) <= f.infinity();
        "testp.notanumber.{ty}", "{ty} -> pred", |[a]| x(a) > f.infinity();
        // Zeros count as normal.
        "testp.normal.{ty}", "{ty} -> pred",
            |[a]| x(a) == 0 || (f.smallest_normal()..f.infinity()).contains(&x(a));
        "testp.subnormal.{ty}", "{ty} -> pred", |[a]| f.is_subnormal(a);
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
