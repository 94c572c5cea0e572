//! Comparison and selection. PTX ISA 9.7.6 and 9.7.7.

use crate::conformance::inputs::{float_pairs, floats, integers, low, pairs, random};
use crate::conformance::integer::{TYPES, value, width};
use crate::conformance::numbers::{F32, Format, format_of};
use crate::conformance::suite::{Suite, lanes};
use std::cmp::Ordering;

const ORDERED: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const UNSIGNED: [&str; 4] = ["lo", "ls", "hi", "hs"];
const UNORDERED: [&str; 8] = ["equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

/// What an operator says of an ordering.
fn holds(operator: &str, ordering: Option<Ordering>) -> bool {
    let Some(ordering) = ordering else {
        return operator.ends_with('u') || operator == "nan";
    };
    match operator {
        "eq" | "equ" => ordering.is_eq(),
        "ne" | "neu" => ordering.is_ne(),
        "lt" | "ltu" | "lo" => ordering.is_lt(),
        "le" | "leu" | "ls" => ordering.is_le(),
        "gt" | "gtu" | "hi" => ordering.is_gt(),
        "ge" | "geu" | "hs" => ordering.is_ge(),
        other => other == "num",
    }
}

/// Two codes as numbers: their exact values are what `f64` holds.
fn by_value(format: Format, flushes: bool, a: u64, b: u64) -> Option<Ordering> {
    let [a, b] = [a, b].map(|x| if flushes { format.flushed(x) } else { x });
    format.value(a).partial_cmp(&format.value(b))
}

/// How the values of a type compare.
fn ordering(ty: &str, flushes: bool, a: u64, b: u64) -> Option<Ordering> {
    match &ty[..1] {
        "b" if ty != "bf16" => Some(a.cmp(&b)),
        "u" | "s" => Some(value(ty, a).cmp(&value(ty, b))),
        _ => by_value(format_of(ty), flushes, a, b),
    }
}

/// How the outcome is combined with a predicate, and how not at all.
fn combine(combination: &str, outcome: bool, c: bool) -> bool {
    match combination {
        ".and" => outcome && c,
        ".or" => outcome || c,
        ".xor" => outcome != c,
        _ => outcome,
    }
}

const COMBINATIONS: [&str; 3] = [".and", ".or", ".xor"];

/// What `set` writes for true, by the type of its result.
fn true_of(to: &str) -> u64 {
    match to {
        "f32" => 0x3f80_0000,
        "f16" => 0x3c00,
        "bf16" => 0x3f80,
        _ => u64::MAX,
    }
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for ty in ["b16", "b32", "b64"] {
        scalar(
            &mut suite,
            ty,
            false,
            &ORDERED[..2],
            &pairs(&integers(width(ty))),
        );
    }
    for ty in TYPES {
        let unsigned = if ty.starts_with('u') {
            &UNSIGNED[..]
        } else {
            &[]
        };
        scalar(
            &mut suite,
            ty,
            false,
            &[&ORDERED, unsigned].concat(),
            &pairs(&integers(width(ty))),
        );
    }
    let all = [&ORDERED[..], &UNORDERED].concat();
    for (ty, flushing) in [
        ("f16", &[false, true][..]),
        ("bf16", &[false]),
        ("f32", &[false, true]),
        ("f64", &[false]),
    ] {
        suite.target(if ty == "bf16" { "sm_90" } else { "sm_80" });
        for &flushes in flushing {
            scalar(&mut suite, ty, flushes, &all, &float_pairs(format_of(ty)));
            if ty.ends_with("f16") {
                packed(&mut suite, ty, flushes, &all);
            }
        }
    }
    suite.target("sm_80");
    select(&mut suite);
    suite
}

fn scalar(
    suite: &mut Suite,
    ty: &'static str,
    flushes: bool,
    all: &[&'static str],
    rows: &[[u64; 2]],
) {
    let (is_half, ftz) = (ty.ends_with("f16"), if flushes { ".ftz" } else { "" });
    let register = if is_half { "b16" } else { ty };
    let results: &[&str] = match ty {
        "f16" => &["u16", "s16", "u32", "s32", "f16"],
        "bf16" => &["u16", "s16", "u32", "s32", "bf16"],
        _ => &["u32", "s32", "f32"],
    };
    // The third input is a predicate.
    let some = rows.iter().step_by(3);
    let with_predicate: Vec<[u64; 3]> = some.flat_map(|&[a, b]| [[a, b, 0], [a, b, 1]]).collect();
    for &operator in all {
        let outcome = move |a, b| holds(operator, ordering(ty, flushes, a, b));
        lanes! { suite, rows;
            "setp.{operator}{ftz}.{ty}", "{register} {register} -> pred", |[a, b]| outcome(a, b);
        }
        if !is_half {
            lanes! { suite, rows;
                "setp.{operator}{ftz}.{ty}", "{register} {register} -> pred pred",
                    |[a, b]| [outcome(a, b), !outcome(a, b)];
            }
        }
        for combination in COMBINATIONS {
            if is_half {
                lanes! { suite, &with_predicate;
                    "setp.{operator}{combination}{ftz}.{ty} d, a, b, !c;",
                    "{register} {register} pred -> pred",
                        |[a, b, c]| combine(combination, outcome(a, b), c == 0);
                }
                continue;
            }
            for (sign, negated) in [("", 0), ("!", 1)] {
                lanes! { suite, &with_predicate;
                    "setp.{operator}{combination}{ftz}.{ty} d|g, a, b, {sign}c;",
                    "{register} {register} pred -> pred pred", |[a, b, c]| {
                        let outcome = outcome(a, b);
                        [outcome, !outcome].map(|x| combine(combination, x, c != negated))
                    };
                }
            }
        }
        for to in results {
            let to_register = if to.ends_with("f16") { "b16" } else { to };
            let bits = true_of(to);
            lanes! { suite, rows;
                "set.{operator}{ftz}.{to}.{ty}", "{register} {register} -> {to_register}",
                    |[a, b]| if outcome(a, b) { bits } else { 0 };
            }
            for combination in COMBINATIONS {
                lanes! { suite, &with_predicate;
                    "set.{operator}{combination}{ftz}.{to}.{ty} d, a, b, !c;",
                    "{register} {register} pred -> {to_register}", |[a, b, c]| {
                        if combine(combination, outcome(a, b), c == 0) { bits } else { 0 }
                    };
                }
            }
        }
    }
}

/// Pairs of halves: an outcome for each.
fn packed(suite: &mut Suite, ty: &'static str, flushes: bool, all: &[&'static str]) {
    let (format, ftz) = (format_of(ty), if flushes { ".ftz" } else { "" });
    let halves = float_pairs(format);
    let both = (0u64..).zip(halves.iter().zip(halves.iter().cycle().skip(5)));
    let rows: Vec<[u64; 3]> = both
        .map(|(i, (x, y))| [x[0] | y[0] << 16, x[1] | y[1] << 16, i % 2])
        .collect();
    let results = [
        (format!("{ty}x2"), true_of(ty)),
        ("u32".into(), 0xffff),
        ("s32".into(), 0xffff),
    ];
    for &operator in all {
        for combination in COMBINATIONS.into_iter().chain([""]) {
            let outcomes = move |[a, b, c]: [u64; 3]| {
                [0, 16].map(|shift| {
                    let ordering =
                        by_value(format, flushes, low(a >> shift, 16), low(b >> shift, 16));
                    combine(combination, holds(operator, ordering), c == 1)
                })
            };
            let c = if combination.is_empty() { "" } else { ", c" };
            lanes! { suite, &rows;
                "setp.{operator}{combination}{ftz}.{ty}x2 d|g, a, b{c};",
                "b32 b32 pred -> pred pred", |row| outcomes(row);
            }
            for (to, bits) in results.clone() {
                lanes! { suite, &rows;
                    "set.{operator}{combination}{ftz}.{to}.{ty}x2 d, a, b{c};",
                    "b32 b32 pred -> b32", |row| {
                        let [low, high] = outcomes(row).map(|x| if x { bits } else { 0 });
                        low | high << 16
                    };
                }
            }
        }
    }
}

/// `slct`: the first where the third is not negative.
fn select(suite: &mut Suite) {
    for ty in [
        "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64",
    ] {
        let rows = |third: &[u64]| -> Vec<[u64; 3]> {
            let both = random::<2>(13, third.len(), width(ty));
            both.iter()
                .zip(third)
                .map(|(&[a, b], &c)| [a, b, c])
                .collect()
        };
        lanes! { suite, &rows(&integers(32));
            "slct.{ty}.s32", "{ty} {ty} s32 -> {ty}",
                |[a, b, c]| if value("s32", c) >= 0 { a } else { b };
        }
        for (ftz, flushes) in [("", false), (".ftz", true)] {
            lanes! { suite, &rows(&floats(F32));
                "slct{ftz}.{ty}.f32", "{ty} {ty} f32 -> {ty}", |[a, b, c]| {
                    // NaN selects the second.
                    let is_first = by_value(F32, flushes, c, 0).is_some_and(Ordering::is_ge);
                    if is_first { a } else { b }
                };
            }
        }
    }
}
