//! Comparison and selection. PTX ISA 9.7.6 and 9.7.7.

use crate::conformance::inputs::{float_pairs, floats, integers, pairs, random};
use crate::conformance::integer::{TYPES, value, width};
use crate::conformance::numbers::{BF16, F16, F32, F64, Format};
use crate::conformance::suite::Suite;
use std::cmp::Ordering;

const ORDERED: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const UNSIGNED: [&str; 6] = ["eq", "ne", "lo", "ls", "hi", "hs"];
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

/// A type with its operators and how its values compare.
struct Compared {
    name: String,
    register: &'static str,
    operators: Vec<&'static str>,
    compare: Box<dyn Fn(u64, u64) -> Option<Ordering> + Send + Sync>,
    rows: Vec<[u64; 2]>,
    target: &'static str,
}

fn compared() -> Vec<Compared> {
    let mut all = Vec::new();
    for ty in ["b16", "b32", "b64"] {
        all.push(Compared {
            name: ty.into(),
            register: ty,
            operators: vec!["eq", "ne"],
            compare: Box::new(|a, b| Some(a.cmp(&b))),
            rows: pairs(&integers(width(ty))),
            target: "sm_80",
        });
    }
    for ty in TYPES {
        let mut operators = ORDERED.to_vec();
        if ty.starts_with('u') {
            operators.extend(&UNSIGNED[2..]);
        }
        all.push(Compared {
            name: ty.into(),
            register: ty,
            operators,
            compare: Box::new(move |a, b| Some(value(ty, a).cmp(&value(ty, b)))),
            rows: pairs(&integers(width(ty))),
            target: "sm_80",
        });
    }
    for (ty, register, format) in [
        ("f16", "b16", F16),
        ("bf16", "b16", BF16),
        ("f32", "f32", F32),
        ("f64", "f64", F64),
    ] {
        for flushes in [false, true] {
            if flushes && !matches!(ty, "f16" | "f32") {
                continue;
            }
            all.push(Compared {
                name: format!("{}{ty}", if flushes { "ftz." } else { "" }),
                register,
                operators: [&ORDERED[..], &UNORDERED].concat(),
                compare: Box::new(move |a, b| by_value(format, flushes, a, b)),
                rows: float_pairs(format),
                target: if ty == "bf16" { "sm_90" } else { "sm_80" },
            });
        }
    }
    all
}

type Combine = fn(bool, bool) -> bool;

/// How the outcome is combined with a predicate.
const COMBINED: [(&str, Combine); 3] = [
    ("and", |x, c| x && c),
    ("or", |x, c| x || c),
    ("xor", |x, c| x != c),
];

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
    for compared in compared() {
        let rows = compared.rows.clone();
        let compare: std::sync::Arc<dyn Fn(u64, u64) -> Option<Ordering> + Send + Sync> =
            compared.compare.into();
        let (name, register) = (&compared.name, compared.register);
        let scalar = name.trim_start_matches("ftz.");
        let is_half = matches!(scalar, "f16" | "bf16");
        suite.target(compared.target);
        for &operator in &compared.operators {
            let outcome = {
                let compare = compare.clone();
                move |a, b| holds(operator, compare(a, b))
            };
            let two = format!("{register} {register} -> ");
            let three = format!("{register} {register} pred -> ");
            // The third input is a predicate.
            let with_predicate: Vec<[u64; 3]> = rows
                .iter()
                .step_by(3)
                .flat_map(|&[a, b]| [[a, b, 0], [a, b, 1]])
                .collect();
            let f = outcome.clone();
            let text = format!("setp.{operator}.{name} d, a, b;");
            suite.lanes(text, &format!("{two} pred"), &rows, move |[a, b]| f(a, b));
            if !is_half {
                let f = outcome.clone();
                let text = format!("setp.{operator}.{name} d|g, a, b;");
                suite.lanes(text, &format!("{two} pred pred"), &rows, move |[a, b]| {
                    [u64::from(f(a, b)), u64::from(!f(a, b))]
                });
            }
            for (combination, combine) in COMBINED {
                let f = outcome.clone();
                if is_half {
                    let text = format!("setp.{operator}.{combination}.{name} d, a, b, !c;");
                    suite.lanes(
                        text,
                        &format!("{three} pred"),
                        &with_predicate,
                        move |[a, b, c]| combine(f(a, b), c == 0),
                    );
                    continue;
                }
                for (sign, is_negated) in [("", false), ("!", true)] {
                    let f = outcome.clone();
                    let text = format!("setp.{operator}.{combination}.{name} d|g, a, b, {sign}c;");
                    suite.lanes(
                        text,
                        &format!("{three} pred pred"),
                        &with_predicate,
                        move |[a, b, c]| {
                            let c = (c == 1) != is_negated;
                            [combine(f(a, b), c), combine(!f(a, b), c)].map(u64::from)
                        },
                    );
                }
            }
            let results: &[&str] = match scalar {
                "f16" => &["u16", "s16", "u32", "s32", "f16"],
                "bf16" => &["u16", "s16", "u32", "s32", "bf16"],
                _ => &["u32", "s32", "f32"],
            };
            for to in results {
                let to_register = if to.ends_with("f16") { "b16" } else { to };
                let f = outcome.clone();
                let text = format!("set.{operator}.{to}.{name} d, a, b;")
                    .replace(&format!("{to}.ftz."), &format!("ftz.{to}."));
                let bits = true_of(to);
                suite.lanes(
                    text,
                    &format!("{two} {to_register}"),
                    &rows,
                    move |[a, b]| {
                        if f(a, b) { bits } else { 0 }
                    },
                );
                for (combination, combine) in COMBINED {
                    let f = outcome.clone();
                    let text = format!("set.{operator}.{combination}.{to}.{name} d, a, b, !c;")
                        .replace(&format!("{to}.ftz."), &format!("ftz.{to}."));
                    suite.lanes(
                        text,
                        &format!("{three} {to_register}"),
                        &with_predicate,
                        move |[a, b, c]| if combine(f(a, b), c == 0) { bits } else { 0 },
                    );
                }
            }
        }
    }
    packed(&mut suite);
    select(&mut suite);
    suite
}

/// Pairs of halves: an outcome for each.
fn packed(suite: &mut Suite) {
    for (ty, format, flushing) in [("f16", F16, &[false, true][..]), ("bf16", BF16, &[false])] {
        suite.target(if ty == "bf16" { "sm_90" } else { "sm_80" });
        for &flushes in flushing {
            let halves = float_pairs(format);
            let rows: Vec<[u64; 3]> = halves
                .iter()
                .zip(halves.iter().cycle().skip(5))
                .enumerate()
                .map(|(i, (x, y))| [x[0] | y[0] << 16, x[1] | y[1] << 16, i as u64 % 2])
                .collect();
            let ftz = if flushes { ".ftz" } else { "" };
            for operator in ORDERED.into_iter().chain(UNORDERED) {
                let outcomes = move |a: u64, b: u64| {
                    [0, 16].map(|shift| {
                        let [a, b] = [a, b].map(|x| x >> shift & 0xffff);
                        holds(operator, by_value(format, flushes, a, b))
                    })
                };
                let to_predicates = "b32 b32 pred -> pred pred";
                let text = format!("setp.{operator}{ftz}.{ty}x2 d|g, a, b;");
                suite.lanes(text, to_predicates, &rows, move |[a, b, _]| {
                    outcomes(a, b).map(u64::from)
                });
                let to_value = "b32 b32 pred -> b32";
                let results = [
                    (format!("{ty}x2"), true_of(ty)),
                    ("u32".into(), 0xffff),
                    ("s32".into(), 0xffff),
                ];
                for (to, bits) in &results {
                    let bits = *bits;
                    let text = format!("set.{operator}{ftz}.{to}.{ty}x2 d, a, b;");
                    suite.lanes(text, to_value, &rows, move |[a, b, _]| {
                        let [low, high] = outcomes(a, b).map(|x| if x { bits } else { 0 });
                        low | high << 16
                    });
                }
                for (combination, combine) in COMBINED {
                    let text = format!("setp.{operator}.{combination}{ftz}.{ty}x2 d|g, a, b, c;");
                    suite.lanes(text, to_predicates, &rows, move |[a, b, c]| {
                        outcomes(a, b).map(|x| u64::from(combine(x, c == 1)))
                    });
                    for (to, bits) in &results {
                        let bits = *bits;
                        let text =
                            format!("set.{operator}.{combination}{ftz}.{to}.{ty}x2 d, a, b, c;");
                        suite.lanes(text, to_value, &rows, move |[a, b, c]| {
                            let value = |x| if combine(x, c == 1) { bits } else { 0 };
                            let [low, high] = outcomes(a, b).map(value);
                            low | high << 16
                        });
                    }
                }
            }
        }
    }
    suite.target("sm_80");
}

/// `slct`: the first where the third is not negative.
fn select(suite: &mut Suite) {
    for ty in [
        "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64",
    ] {
        let signature = |third: &str| format!("{ty} {ty} {third} -> {ty}");
        let rows = |third: &[u64]| -> Vec<[u64; 3]> {
            let both = random::<2>(13, third.len(), width(ty));
            both.iter()
                .zip(third)
                .map(|(&[a, b], &c)| [a, b, c])
                .collect()
        };
        let row = rows(&integers(32));
        suite.lanes(
            format!("slct.{ty}.s32 d, a, b, c;"),
            &signature("s32"),
            &row,
            |[a, b, c]| {
                if value("s32", c) >= 0 { a } else { b }
            },
        );
        for flushes in [false, true] {
            let ftz = if flushes { ".ftz" } else { "" };
            let text = format!("slct{ftz}.{ty}.f32 d, a, b, c;");
            suite.lanes(
                text,
                &signature("f32"),
                &rows(&floats(F32)),
                move |[a, b, c]| {
                    // NaN selects the second.
                    match by_value(F32, flushes, c, 0) {
                        Some(Ordering::Greater | Ordering::Equal) => a,
                        _ => b,
                    }
                },
            );
        }
    }
}
