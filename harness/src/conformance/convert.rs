//! `cvt` between scalar types. PTX ISA 9.7.9.

use crate::conformance::arithmetic::{integer, to_integer};
use crate::conformance::float::any_nan;
use crate::conformance::inputs::{floats, integers, low, random, singles};
use crate::conformance::integer::{range, value, width};
use crate::conformance::numbers::{F32, F64, Format, MODES, Mode, Number, format_of};
use crate::conformance::suite::{Expected, Suite};

const INTEGERS: [&str; 8] = ["u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64"];
const FLOATS: [&str; 4] = ["f16", "bf16", "f32", "f64"];
/// The modes in which a floating-point number becomes an integer.
const INTEGRAL: [(&str, Mode); 4] = [
    ("rni", Mode::Rn),
    ("rzi", Mode::Rz),
    ("rmi", Mode::Rm),
    ("rpi", Mode::Rp),
];

/// The register that holds a type: the narrowest, of at least 16 bits.
fn register(ty: &str) -> String {
    format!("b{}", crate::conformance::suite::register_bits(ty).max(16))
}

/// The registers of a row from and to a type. `bf16` goes only with bytes in registers of
/// 8 bits.
fn registers(from: &str, to: &str) -> String {
    let [from, to] = [[from, to], [to, from]].map(|[ty, other]| match (ty, other) {
        ("u8" | "s8", "bf16") => "b8".into(),
        _ => register(ty),
    });
    format!("{from} -> {to}")
}

/// Registers that a result may go to, which are as wide or wider.
fn wider(ty: &str) -> Vec<&'static str> {
    let bits = crate::conformance::suite::register_bits(ty);
    ["b16", "b32", "b64"]
        .into_iter()
        .filter(|r| width(r) >= bits)
        .collect()
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for from in INTEGERS {
        for to in INTEGERS {
            between_integers(&mut suite, from, to);
        }
        for to in FLOATS {
            to_float(&mut suite, from, to);
            from_float(&mut suite, to, from);
        }
    }
    for from in FLOATS {
        for to in FLOATS {
            between_floats(&mut suite, from, to);
        }
    }
    // A narrow result fills its register and nothing beyond, which the upper half of a pair shows.
    for (ty, bits) in [("s8", 0xff80), ("u8", 0x80)] {
        let text = format!(".reg .b16 half;\ncvt.{ty}.s32 half, a;\nmov.b32 d, {{half, half}};");
        suite.lanes(text, "b32 -> b32", &[[0x1_2380]; 32], move |_| {
            bits << 16 | bits
        });
    }
    suite
}

/// Modifiers of a row: rounding, `.ftz` and `.sat`.
fn head(rounding: &str, flushes: bool, saturates: bool, to: &str, from: &str) -> String {
    let rounding = if rounding.is_empty() {
        String::new()
    } else {
        format!(".{rounding}")
    };
    let flags = [(flushes, ".ftz"), (saturates, ".sat")];
    let flags: String = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
    format!("cvt{rounding}{flags}.{to}.{from}")
}

/// `bf16` is a type of `cvt` in general since sm_90.
fn target(types: [&str; 2]) -> &'static str {
    if types.contains(&"bf16") {
        "sm_90"
    } else {
        "sm_80"
    }
}

fn between_integers(suite: &mut Suite, from: &'static str, to: &'static str) {
    let mut values = integers(width(from));
    values.extend(random::<1>(14, 32, width(from)).map_first());
    let rows = singles(&values);
    let is_clamped = range(from).0 < range(to).0 || range(from).1 > range(to).1;
    suite.target("sm_80");
    for saturates in [false, true] {
        if saturates && !is_clamped {
            continue;
        }
        let head = head("", false, saturates, to, from);
        for result in wider(to) {
            suite.lanes(
                format!("{head} d, a;"),
                &format!("{} -> {result}", register(from)),
                &rows,
                move |[a]| {
                    let x = value(from, a);
                    let x = if saturates {
                        x.clamp(range(to).0, range(to).1)
                    } else {
                        x
                    };
                    // Chopped, then extended to the register as the type's sign says.
                    value(to, x as u64) as u64
                },
            );
        }
        // The source is the low bits of a wider register.
        if from != "u64" && from != "s64" {
            let rows = random::<1>(15, 64, 64);
            suite.lanes(
                format!("{head} d, a;"),
                &format!("b64 -> {}", register(to)),
                &rows,
                move |[a]| {
                    let x = value(from, a);
                    let x = if saturates {
                        x.clamp(range(to).0, range(to).1)
                    } else {
                        x
                    };
                    value(to, x as u64) as u64
                },
            );
        }
    }
}

/// The numbers of rows of one.
trait MapFirst {
    fn map_first(self) -> Vec<u64>;
}

impl MapFirst for Vec<[u64; 1]> {
    fn map_first(self) -> Vec<u64> {
        self.into_iter().map(|[a]| a).collect()
    }
}

fn to_float(suite: &mut Suite, from: &'static str, to: &'static str) {
    let format = format_of(to);
    suite.target(target([from, to]));
    let bits = width(from);
    // Around the places where digits begin to be lost.
    let mut values = integers(bits);
    values.extend(random::<1>(16, 64, bits).map_first());
    for place in 1..bits {
        let edge = 1u64 << place;
        let unit = edge >> format.mantissa.min(place);
        values.extend([
            edge,
            edge - 1,
            edge + 1,
            edge + unit / 2,
            edge + unit / 2 + 1,
            edge + unit + unit / 2,
        ]);
    }
    let rows = singles(&values.iter().map(|&x| low(x, bits)).collect::<Vec<_>>());
    for (name, mode) in MODES {
        for flushes in [false, true] {
            for saturates in [false, true] {
                if flushes && to != "f32" || saturates && to == "bf16" {
                    continue;
                }
                suite.lanes(
                    format!("{} d, a;", head(name, flushes, saturates, to, from)),
                    &registers(from, to),
                    &rows,
                    move |[a]| {
                        let code = format.encode(integer(value(from, a)), mode);
                        if saturates {
                            clamped(format, code)
                        } else {
                            code
                        }
                    },
                );
            }
        }
    }
}

/// A code clamped to [+0, 1]; NaN becomes +0.
fn clamped(format: Format, code: u64) -> u64 {
    if format.is_nan(code) || format.is_negative(code) {
        0
    } else {
        code.min(format.one())
    }
}

/// Codes around integers, halves and the ends of integer types.
fn around_integers(format: Format) -> Vec<u64> {
    let mut codes = floats(format);
    let mut values = vec![
        0.25, 0.5, 0.75, 1.5, 2.5, 3.5, 100.49, 127.5, 128.5, 255.5, 1e6, 1e18, 1e20,
    ];
    for place in [7, 8, 15, 16, 31, 32, 63, 64] {
        let edge = 2f64.powi(place);
        values.extend([
            edge,
            edge - 0.5,
            edge - 1.0,
            edge + 0.5,
            edge + 1.0,
            edge * 1.5,
        ]);
    }
    for x in values {
        let code = format.nearest(x);
        for code in [code - 1, code, code + 1] {
            codes.extend([code, code | format.sign()]);
        }
    }
    codes
}

fn from_float(suite: &mut Suite, from: &'static str, to: &'static str) {
    let format = format_of(from);
    let rows = singles(&around_integers(format));
    suite.target(target([from, to]));
    for (name, mode) in INTEGRAL {
        for flushes in [false, true] {
            for saturates in [false, true] {
                if flushes && from != "f32" || saturates && from == "bf16" {
                    continue;
                }
                suite.lanes(
                    format!("{} d, a;", head(name, flushes, saturates, to, from)),
                    &registers(from, to),
                    &rows,
                    move |[a]| {
                        let code = if flushes { format.flushed(a) } else { a };
                        let (smallest, largest) = range(to);
                        // Out of range clamps with and without `.sat`.
                        let integer = match format.decode(code) {
                            Number::Nan if width(to) == 64 || from == "f64" => {
                                // Only the top bit, of which a narrow result keeps its own.
                                return Expected::Bits(value(to, 1 << (width(to) - 1)) as u64);
                            }
                            Number::Nan => 0,
                            Number::Infinite { negative: true } => smallest,
                            Number::Infinite { negative: false } => largest,
                            number => to_integer(number, mode).expect("it is finite"),
                        };
                        Expected::Bits(integer.clamp(smallest, largest) as u64)
                    },
                );
            }
        }
    }
}

fn between_floats(suite: &mut Suite, from: &'static str, to: &'static str) {
    let (source, result) = (format_of(from), format_of(to));
    let is_narrower = result.bits() < source.bits() || source.bits() == result.bits() && from != to;
    suite.target(target([from, to]));
    let mut codes = around_integers(source);
    codes.extend(random::<1>(17, 256, source.bits()).map_first());
    if is_narrower {
        // Around the codes of the result and the middles between them.
        for code in floats(result) {
            let near = source.nearest(result.value(code));
            let half = 1u64 << source.mantissa.saturating_sub(result.mantissa + 1);
            codes.extend([
                near,
                near + 1,
                near.wrapping_sub(1),
                near + half,
                near + half + 1,
                near + half - 1,
            ]);
        }
    }
    let codes: Vec<u64> = codes.into_iter().map(|x| low(x, source.bits())).collect();
    let rows = singles(&codes);
    let modes: Vec<(&str, Mode, bool)> = if from == to {
        let integral = INTEGRAL.iter().map(|&(name, mode)| (name, mode, true));
        integral.chain([("", Mode::Rn, false)]).collect()
    } else if is_narrower {
        MODES
            .iter()
            .map(|&(name, mode)| (name, mode, false))
            .collect()
    } else {
        vec![("", Mode::Rn, false)]
    };
    for (name, mode, is_integral) in modes {
        for flushes in [false, true] {
            for saturates in [false, true] {
                let takes_flush = from == "f32" || to == "f32";
                let has_bf16 = from == "bf16" || to == "bf16";
                if flushes && !takes_flush || saturates && has_bf16 {
                    continue;
                }
                suite.lanes(
                    format!("{} d, a;", head(name, flushes, saturates, to, from)),
                    &registers(from, to),
                    &rows,
                    move |[a]| {
                        let a = if flushes && source == F32 {
                            F32.flushed(a)
                        } else {
                            a
                        };
                        let number = match source.decode(a) {
                            number @ Number::Finite { negative, .. } if is_integral => {
                                let whole = to_integer(number, mode).expect("it is finite");
                                match integer(whole) {
                                    // Numbers beyond 127 bits are integers already.
                                    _ if whole.unsigned_abs() > 1 << 126 => number,
                                    Number::Finite {
                                        magnitude,
                                        exponent,
                                        ..
                                    } => Number::Finite {
                                        negative,
                                        magnitude,
                                        exponent,
                                    },
                                    other => other,
                                }
                            }
                            number => number,
                        };
                        let mut code = result.encode(number, mode);
                        if flushes && result == F32 {
                            code = F32.flushed(code);
                        }
                        if saturates {
                            return Expected::Bits(clamped(result, code));
                        }
                        match number {
                            // What a NaN keeps of its payload is open where both have 64 bits.
                            Number::Nan if result == F64 || from == to => any_nan(result),
                            _ => Expected::Bits(code),
                        }
                    },
                );
            }
        }
    }
}
