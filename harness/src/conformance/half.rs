//! `f16`, `bf16` and pairs of them. PTX ISA 9.7.4.

use crate::conformance::arithmetic::{add, multiply, negate};
use crate::conformance::float::{Flags, any_nan, both, extremum};
use crate::conformance::inputs::{float_pairs, float_triples, floats, singles};
use crate::conformance::numbers::{BF16, F16, Format, Mode, Number};
use crate::conformance::suite::{Expected, Suite};

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for (ty, format) in [("f16", F16), ("bf16", BF16)] {
        arithmetic(&mut suite, ty, format);
        signs(&mut suite, ty, format);
    }
    suite
}

/// Adds a row for the scalar type and one for the pair.
fn add_row<const N: usize>(
    suite: &mut Suite,
    head: &str,
    ty: &str,
    rows: &[[u64; N]],
    f: impl Fn([u64; N]) -> Expected + Clone + Send + Sync + 'static,
) {
    let operands = ["d, a", "d, a, b", "d, a, b, c"][N - 1];
    let signature = |register: &str| format!("{} -> {register}", vec![register; N].join(" "));
    suite.lanes(
        format!("{head}.{ty} {operands};"),
        &signature("b16"),
        rows,
        f.clone(),
    );
    let pairs: Vec<[u64; N]> = rows
        .iter()
        .zip(rows.iter().cycle().skip(7))
        .map(|(lower, upper)| std::array::from_fn(|k| lower[k] | upper[k] << 16))
        .collect();
    suite.lanes(
        format!("{head}.{ty}x2 {operands};"),
        &signature("b32"),
        &pairs,
        move |row| both(f(row.map(|x| x & 0xffff)), f(row.map(|x| x >> 16)), 16),
    );
}

fn arithmetic(suite: &mut Suite, ty: &str, format: Format) {
    let (two, three) = (float_pairs(format), float_triples(format));
    let plain = Flags::default();
    let flags_of = |name: &str| -> Vec<Flags> {
        let mut all = vec![plain];
        if ty == "f16" {
            all.push(Flags {
                flushes: true,
                ..plain
            });
            all.push(Flags {
                saturates: true,
                ..plain
            });
            all.push(Flags {
                flushes: true,
                saturates: true,
                ..plain
            });
        }
        if name == "fma" {
            all.push(Flags {
                rectifies: true,
                ..plain
            });
            if ty == "f16" {
                all.push(Flags {
                    flushes: true,
                    rectifies: true,
                    ..plain
                });
            }
        }
        all
    };
    // `add`, `sub` and `mul` of bf16 are newer than those of f16.
    for (name, f) in [
        (
            "add",
            (|a, b| add(a, b, Mode::Rn)) as fn(Number, Number) -> Number,
        ),
        ("sub", |a, b| add(a, negate(b), Mode::Rn)),
        ("mul", multiply),
    ] {
        suite.target(if ty == "bf16" { "sm_90" } else { "sm_80" });
        for flags in flags_of(name) {
            for rounding in ["", ".rn"] {
                let head = format!("{name}{rounding}{}", flags.suffix());
                add_row(suite, &head, ty, &two, move |[a, b]| {
                    let exact = f(flags.input(format, a), flags.input(format, b));
                    flags.output(format, exact, Mode::Rn)
                });
            }
        }
    }
    suite.target("sm_80");
    for flags in flags_of("fma") {
        let head = format!("fma.rn{}", flags.suffix());
        add_row(suite, &head, ty, &three, move |row| {
            let [a, b, c] = row.map(|x| flags.input(format, x));
            flags.output(format, add(multiply(a, b), c, Mode::Rn), Mode::Rn)
        });
    }
}

fn signs(suite: &mut Suite, ty: &str, format: Format) {
    let (one, two) = (singles(&floats(format)), float_pairs(format));
    let flushing: &[bool] = if ty == "f16" {
        &[false, true]
    } else {
        &[false]
    };
    for &flushes in flushing {
        let ftz = if flushes { ".ftz" } else { "" };
        let input = move |code: u64| if flushes { format.flushed(code) } else { code };
        for name in ["abs", "neg"] {
            let change = move |a: u64| match name {
                "abs" => input(a) & !format.sign(),
                _ => input(a) ^ format.sign(),
            };
            add_row(
                suite,
                &format!("{name}{ftz}"),
                ty,
                &one,
                move |[a]| match format.is_nan(a) {
                    true => any_nan(format),
                    false => Expected::Bits(change(a)),
                },
            );
        }
        for (name, is_max) in [("min", false), ("max", true)] {
            for (modifiers, keeps_nan, is_xor) in [
                ("", false, false),
                (".NaN", true, false),
                (".xorsign.abs", false, true),
                (".NaN.xorsign.abs", true, true),
            ] {
                suite.target(if is_xor { "sm_86" } else { "sm_80" });
                let head = format!("{name}{ftz}{modifiers}");
                add_row(suite, &head, ty, &two, move |[a, b]| {
                    extremum(format, is_max, keeps_nan, is_xor, [input(a), input(b)])
                });
            }
        }
        suite.target("sm_80");
    }
}
