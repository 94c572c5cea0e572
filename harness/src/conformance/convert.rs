//! `cvt` between scalar types. PTX ISA 9.7.9.

use crate::conformance::arithmetic::{integer, to_integer};
use crate::conformance::float::any_nan;
use crate::conformance::inputs::{floats, integers, low, random, singles};
use crate::conformance::integer::{range, value, width};
use crate::conformance::numbers::{F32, F64, Format, MODES, Mode, Number, format_of};
use crate::conformance::suite::{Expected, Suite, lanes, register_bits};

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
    format!("b{}", register_bits(ty).max(16))
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
    for (ty, bits) in [("s8", 0xff80u64), ("u8", 0x80)] {
        lanes! { suite, &[[0x1_2380]; 32];
            ".reg .b16 half;\ncvt.{ty}.s32 half, a;\nmov.b32 d, {{half, half}};", "b32 -> b32",
                |_| bits << 16 | bits;
        }
    }
    suite
}

fn between_integers(suite: &mut Suite, from: &'static str, to: &'static str) {
    let mut rows = singles(&integers(width(from)));
    rows.extend(random::<1>(14, 32, width(from)));
    let is_clamped = range(from).0 < range(to).0 || range(from).1 > range(to).1;
    suite.target("sm_80");
    for (sat, saturates) in [("", false), (".sat", true)] {
        if saturates && !is_clamped {
            continue;
        }
        // Chopped or clamped, then extended to the register as the type's sign says.
        let converted = move |a| match saturates {
            true => value(from, a).clamp(range(to).0, range(to).1),
            false => value(to, value(from, a) as u64),
        };
        // Registers that the result may go to, which are as wide or wider.
        for result in ["b16", "b32", "b64"] {
            if width(result) >= width(to) {
                let from_register = register(from);
                lanes! { suite, &rows;
                    "cvt{sat}.{to}.{from}", "{from_register} -> {result}", |[a]| converted(a);
                }
            }
        }
        // The source is the low bits of a wider register.
        if width(from) < 64 {
            let to_register = register(to);
            lanes! { suite, &random::<1>(15, 64, 64);
                "cvt{sat}.{to}.{from}", "b64 -> {to_register}", |[a]| converted(a);
            }
        }
    }
}

/// What a row converts with beside its types.
#[derive(Clone, Copy)]
struct How {
    mode: Mode,
    flushes: bool,
    saturates: bool,
}

impl How {
    /// The code that an instruction gives for one, clamped to [+0, 1] by `.sat`; NaN becomes +0.
    fn finish(self, format: Format, code: u64) -> u64 {
        match self.saturates {
            true if format.is_nan(code) || format.is_negative(code) => 0,
            true => code.min(format.one()),
            false => code,
        }
    }
}

/// Rows of a conversion of which one type or both are floating-point, with and without `.ftz`,
/// which goes with f32, and `.sat`, which does not go with bf16.
fn floating(
    suite: &mut Suite,
    [from, to]: [&str; 2],
    modes: &[(&str, Mode)],
    rows: &[[u64; 1]],
    f: impl Fn(u64, How) -> Expected + Copy + Send + Sync + 'static,
) {
    let has = |ty| from == ty || to == ty;
    // `bf16` is a type of `cvt` in general since sm_90.
    suite.target(if has("bf16") { "sm_90" } else { "sm_80" });
    for &(name, mode) in modes {
        let rounding = if name.is_empty() {
            String::new()
        } else {
            format!(".{name}")
        };
        for (ftz, flushes) in [("", false), (".ftz", true)] {
            for (sat, saturates) in [("", false), (".sat", true)] {
                if flushes && !has("f32") || saturates && has("bf16") {
                    continue;
                }
                let how = How {
                    mode,
                    flushes,
                    saturates,
                };
                let registers = registers(from, to);
                lanes! { suite, rows;
                    "cvt{rounding}{ftz}{sat}.{to}.{from}", "{registers}", |[a]| f(a, how);
                }
            }
        }
    }
}

fn to_float(suite: &mut Suite, from: &'static str, to: &'static str) {
    let (format, bits) = (format_of(to), width(from));
    // Around the places where digits begin to be lost.
    let mut rows = singles(&integers(bits));
    rows.extend(random::<1>(16, 64, bits));
    for place in 1..bits {
        let edge = 1u64 << place;
        let unit = edge >> format.mantissa.min(place);
        let more = [unit / 2, unit / 2 + 1, unit + unit / 2];
        let near = [edge, edge - 1, edge + 1]
            .into_iter()
            .chain(more.map(|more| edge + more));
        rows.extend(near.map(|x| [low(x, bits)]));
    }
    floating(suite, [from, to], &MODES, &rows, move |a, how| {
        let code = format.encode(integer(value(from, a)), how.mode);
        Expected::Bits(how.finish(format, code))
    });
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
    floating(suite, [from, to], &INTEGRAL, &rows, move |a, how| {
        let code = if how.flushes { format.flushed(a) } else { a };
        let (smallest, largest) = range(to);
        // Out of range clamps with and without `.sat`.
        let integer = match format.decode(code) {
            // Only the top bit, of which a narrow result keeps its own.
            Number::Nan if width(to) == 64 || from == "f64" => value(to, 1 << (width(to) - 1)),
            Number::Nan => 0,
            Number::Infinite(true) => smallest,
            Number::Infinite(false) => largest,
            number => to_integer(number, how.mode)
                .expect("it is finite")
                .clamp(smallest, largest),
        };
        Expected::Bits(integer as u64)
    });
}

fn between_floats(suite: &mut Suite, from: &'static str, to: &'static str) {
    let (source, result) = (format_of(from), format_of(to));
    let is_narrower = result.bits() < source.bits() || source.bits() == result.bits() && from != to;
    let mut rows = singles(&around_integers(source));
    rows.extend(random::<1>(17, 256, source.bits()));
    if is_narrower {
        // Around the codes of the result and the middles between them.
        for code in floats(result) {
            let near = source.nearest(result.value(code));
            let half = near + (1 << source.mantissa.saturating_sub(result.mantissa + 1));
            let codes = [
                near,
                near + 1,
                near.wrapping_sub(1),
                half,
                half + 1,
                half - 1,
            ];
            rows.extend(codes.map(|x| [low(x, source.bits())]));
        }
    }
    let modes: &[(&str, Mode)] = if is_narrower {
        &MODES
    } else {
        &[("", Mode::Rn)]
    };
    let convert = move |a, how: How, is_integral: bool| {
        let a = if how.flushes && source == F32 {
            F32.flushed(a)
        } else {
            a
        };
        let mut number = source.decode(a);
        if let (true, Number::Finite(negative, ..)) = (is_integral, number) {
            let whole = to_integer(number, how.mode)
                .expect("it is finite")
                .unsigned_abs();
            // Numbers beyond 127 bits are integers already.
            if whole <= 1 << 126 {
                number = Number::Finite(negative, whole, 0);
            }
        }
        let mut code = result.encode(number, how.mode);
        if how.flushes && result == F32 {
            code = F32.flushed(code);
        }
        match number {
            // What a NaN keeps of its payload is open where both have 64 bits.
            Number::Nan if !how.saturates && (result == F64 || from == to) => any_nan(result),
            _ => Expected::Bits(how.finish(result, code)),
        }
    };
    if from == to {
        floating(suite, [from, to], &INTEGRAL, &rows, move |a, how| {
            convert(a, how, true)
        });
    }
    floating(suite, [from, to], modes, &rows, move |a, how| {
        convert(a, how, false)
    });
}
