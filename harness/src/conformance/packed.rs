//! `cvt` to and from halves with `.relu` and `.satfinite`, packed pairs, and the formats of
//! tensor cores. PTX ISA 9.7.9: of two sources the first becomes the upper part.

use crate::conformance::float::{any_nan, both};
use crate::conformance::inputs::{floats, grid, low, random, singles};
use crate::conformance::numbers::{BF16, E2M1, E2M3, E3M2, E4M3, E5M2, F16, F32, TF32};
use crate::conformance::numbers::{Format, Mode};
use crate::conformance::suite::{Expected, Suite, lanes};

/// Name, format, `.target`.
const SMALL: [(&str, Format, &str); 5] = [
    ("e4m3", E4M3, "sm_89"),
    ("e5m2", E5M2, "sm_89"),
    ("e2m3", E2M3, "sm_100a"),
    ("e3m2", E3M2, "sm_100a"),
    ("e2m1", E2M1, "sm_100a"),
];

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for (ty, format) in [("f16", F16), ("bf16", BF16)] {
        halves(&mut suite, ty, format);
    }
    tf32(&mut suite);
    for (ty, format, target) in SMALL {
        suite.target(target);
        down(&mut suite, ty, format);
        up(&mut suite, ty, format);
    }
    scales(&mut suite);
    suite
}

/// Codes of `f32`: its edges, and all codes of a format with what lies between two of them.
fn around(format: Format) -> Vec<u64> {
    let mut codes = floats(F32);
    let all = format.largest();
    // Every code of a small format; of a larger one its ends and some in between.
    let step = (all / 300).max(1);
    let edges = (0..all)
        .step_by(step as usize)
        .chain(all.saturating_sub(3)..=all);
    for code in edges
        .chain(0..4)
        .chain(format.smallest_normal() - 2..format.smallest_normal() + 2)
    {
        let (x, y) = (format.value(code), format.value((code + 1).min(all)));
        for value in [x, (x + y) / 2.0] {
            let code = F32.nearest(value);
            for code in [code.saturating_sub(1), code, code + 1] {
                codes.extend([code, code | F32.sign()]);
            }
        }
    }
    for factor in [1.0, 1.03, 1.0625, 1.125, 1.25, 1.5, 2.0] {
        let code = F32.nearest(format.value(all) * factor);
        codes.extend([code - 1, code, code + 1, code | F32.sign()]);
    }
    codes
}

/// A conversion: the format, the mode, whether overflow stays finite, whether `.relu` is there.
#[derive(Clone, Copy)]
struct Conversion(Format, Mode, bool, bool);

impl Conversion {
    /// The code for a number given as a code of another format.
    fn of(self, from: Format, code: u64) -> u64 {
        let Self(format, mode, is_finite, rectifies) = self;
        if rectifies && !from.is_nan(code) && from.is_negative(code) {
            return 0;
        }
        format.encode_to(from.decode(code), mode, is_finite)
    }
}

const FLAGS: [(&str, bool, bool); 4] = [
    ("", false, false),
    (".relu", false, true),
    (".satfinite", true, false),
    (".relu.satfinite", true, true),
];
/// `.relu` alone.
const RECTIFIES: [(&str, bool); 2] = [("", false), (".relu", true)];

fn pairs_of(codes: &[u64]) -> Vec<[u64; 2]> {
    let both = codes.iter().zip(codes.iter().cycle().skip(11));
    both.map(|(&a, &b)| [a, b]).collect()
}

fn halves(suite: &mut Suite, ty: &str, format: Format) {
    let codes = around(format);
    for (name, mode) in [("rn", Mode::Rn), ("rz", Mode::Rz)] {
        for (flags, is_finite, rectifies) in FLAGS {
            let code = Conversion(format, mode, is_finite, rectifies);
            suite.target(if is_finite { "sm_90" } else { "sm_80" });
            if !flags.is_empty() {
                lanes! { suite, &singles(&codes);
                    "cvt.{name}{flags}.{ty}.f32", "f32 -> b16", |[a]| code.of(F32, a);
                }
            }
            lanes! { suite, &pairs_of(&codes);
                "cvt.{name}{flags}.{ty}x2.f32", "f32 f32 -> b32",
                    |[a, b]| code.of(F32, a) << 16 | code.of(F32, b);
            }
        }
    }
}

fn tf32(suite: &mut Suite) {
    let codes = singles(&around(TF32));
    for (name, mode) in [("rn", Mode::Rn), ("rz", Mode::Rz), ("rna", Mode::Rna)] {
        for (flags, is_finite, rectifies) in FLAGS {
            if name == "rna" && rectifies {
                continue;
            }
            suite.target(match (name, is_finite) {
                ("rna", false) => "sm_80",
                (_, true) => "sm_100a",
                _ => "sm_90",
            });
            let conversion = Conversion(TF32, mode, is_finite, rectifies);
            // The upper 19 bits; what is below them is not defined.
            lanes! { suite, &codes;
                "cvt.{name}{flags}.tf32.f32", "f32 -> b32", |[a]| match conversion.of(F32, a) {
                    code if TF32.is_nan(code) => any_nan(F32),
                    code => {
                        let what = format!("{:#x}", code << 13);
                        Expected::matching(what, move |d| d >> 13 == code)
                    }
                };
            }
        }
    }
}

/// Where the upper of two codes lies, and the register of both.
fn places(format: Format) -> (u32, &'static str) {
    if format == E2M1 {
        (4, "b8")
    } else {
        (8, "b16")
    }
}

/// `f32` and `f16` to the codes of a format.
fn down(suite: &mut Suite, ty: &str, format: Format) {
    let (place, register) = places(format);
    // All of f16, in both places.
    let halves = (0..1 << 16).step_by(if cfg!(debug_assertions) { 7 } else { 1 });
    let halves: Vec<[u64; 1]> = halves.map(|code| [code << 16 | (code ^ 0x5555)]).collect();
    for (relu, rectifies) in RECTIFIES {
        let code = Conversion(format, Mode::Rn, true, rectifies);
        lanes! { suite, &pairs_of(&around(format));
            "cvt.rn.satfinite{relu}.{ty}x2.f32", "f32 f32 -> {register}",
                |[a, b]| code.of(F32, a) << place | code.of(F32, b);
        }
        if format.bits() == 8 {
            lanes! { suite, &halves;
                "cvt.rn.satfinite{relu}.{ty}x2.f16x2", "b32 -> b16",
                    |[a]| code.of(F16, a >> 16) << 8 | code.of(F16, a & 0xffff);
            }
        }
    }
}

/// Every code of a format to `f16`, which holds them all.
fn up(suite: &mut Suite, ty: &str, format: Format) {
    let (place, register) = places(format);
    let all: Vec<u64> = (0..1 << format.bits()).collect();
    let rows: Vec<[u64; 1]> = match place {
        4 => grid(&all, &all).iter().map(|[a, b]| [a << 4 | b]).collect(),
        _ => all
            .iter()
            .zip(all.iter().rev())
            .map(|(a, b)| [a << 8 | b])
            .collect(),
    };
    for (relu, rectifies) in RECTIFIES {
        let to_f16 = Conversion(F16, Mode::Rn, false, rectifies);
        lanes! { suite, &rows;
            "cvt.rn{relu}.f16x2.{ty}x2", "{register} -> b32", |[a]| {
                let [low, high] = [a, a >> place].map(|a| to_f16.of(format, low(a, format.bits())));
                high << 16 | low
            };
        }
    }
}

/// The E8M0 code nearest to a magnitude, at or above (`.rp`), or at or below (`.rz`): code `c` is
/// `2^(c - 127)`, 255 is NaN.
fn scale(magnitude: f64, is_up: bool, is_finite: bool) -> u64 {
    let power = |code: u64| 2f64.powi(code as i32 - 127);
    let limit = if is_finite { 254 } else { 255 };
    match magnitude {
        _ if magnitude.is_nan() => 255,
        _ if magnitude.is_infinite() => limit,
        _ if is_up => (0..=254)
            .find(|&code| power(code) >= magnitude)
            .unwrap_or(limit),
        _ => (0..=254)
            .rev()
            .find(|&code| power(code) <= magnitude)
            .unwrap_or(0),
    }
}

fn scales(suite: &mut Suite) {
    suite.target("sm_100a");
    let mantissas = [0, 1, 0x40_0000, 0x40_0001, 0x7f_ffff];
    let mut codes: Vec<u64> = (0..=254)
        .flat_map(|exponent| mantissas.map(|mantissa| exponent << 23 | mantissa))
        .collect();
    codes.extend(floats(F32));
    let halves = codes.iter().zip(codes.iter().skip(3));
    let halves: Vec<[u64; 1]> = halves.map(|(a, b)| [a >> 16 << 16 | b >> 16]).collect();
    for (name, is_up) in [("rz", false), ("rp", true)] {
        for (flags, is_finite) in [("", false), (".satfinite", true)] {
            let code = move |format: Format, x| scale(format.value(x).abs(), is_up, is_finite);
            lanes! { suite, &pairs_of(&codes);
                "cvt.{name}{flags}.ue8m0x2.f32", "f32 f32 -> b16",
                    |[a, b]| code(F32, a) << 8 | code(F32, b);
            }
            lanes! { suite, &halves;
                "cvt.{name}{flags}.ue8m0x2.bf16x2", "b32 -> b16",
                    |[a]| code(BF16, a >> 16) << 8 | code(BF16, a & 0xffff);
            }
        }
    }
    let half = |code: u64| match code {
        255 => any_nan(BF16),
        code => Expected::Bits(BF16.nearest(2f64.powi(code as i32 - 127))),
    };
    let mut rows: Vec<[u64; 1]> = (0..256).map(|code| [code << 8 | (255 - code)]).collect();
    rows.extend(random::<1>(18, 64, 16));
    lanes! { suite, &rows;
        "cvt.rn.bf16x2.ue8m0x2", "b16 -> b32", |[a]| both(half(a & 255), half(a >> 8), 16);
    }
}
