//! `atom` and `red`. PTX ISA 9.7.13.

use crate::conformance::arithmetic::add;
use crate::conformance::float::any_nan;
use crate::conformance::inputs::{Random, integers, low, pairs};
use crate::conformance::integer::value;
use crate::conformance::numbers::{F32, F64, Mode, format_of};
use crate::conformance::suite::{Expected, Suite, blocks, lanes, register_bits};

/// Operations with their types.
const OPERATIONS: [(&str, &[&str]); 10] = [
    ("and", &["b32", "b64"]),
    ("or", &["b32", "b64"]),
    ("xor", &["b32", "b64"]),
    ("add", &["u32", "s32", "u64", "f32", "f64"]),
    ("min", &["u32", "s32", "u64", "s64"]),
    ("max", &["u32", "s32", "u64", "s64"]),
    ("inc", &["u32"]),
    ("dec", &["u32"]),
    ("exch", &["b32", "b64"]),
    ("cas", &["b32", "b64"]),
];

/// What memory holds after an operation, and the bits of the result that it defines.
fn after(op: &str, ty: &str, is_global: bool, old: u64, a: u64, b: u64) -> u64 {
    if ty.starts_with('f') {
        let format = format_of(ty);
        // f32 in global memory is flushed, f32 in shared memory and f64 are not.
        let flush = |code| match is_global && format == F32 {
            true => format.flushed(code),
            false => code,
        };
        let [x, y] = [old, a].map(|code| format.decode(flush(code)));
        let sum = format.encode(add(x, y, Mode::Rn), Mode::Rn);
        return flush(sum);
    }
    let (x, y) = (value(ty_of(ty), old), value(ty_of(ty), a));
    let result = match op {
        "and" => x & y,
        "or" => x | y,
        "xor" => x ^ y,
        "add" => x + y,
        "min" => x.min(y),
        "max" => x.max(y),
        "inc" if x >= y => 0,
        "inc" => x + 1,
        "dec" if x == 0 || x > y => y,
        "dec" => x - 1,
        "exch" => y,
        "cas" if x == y => return b,
        "cas" => x,
        other => panic!("{other}"),
    };
    result as u64
}

/// The type as which bits are numbers.
fn ty_of(ty: &str) -> &str {
    match ty {
        "b32" => "u32",
        "b64" => "u64",
        other => other,
    }
}

/// Memory before, operand, and a second operand for `cas`, which is often what memory holds.
fn cases(ty: &str) -> Vec<[u64; 3]> {
    let bits = register_bits(ty);
    let values = match ty {
        "f32" => vec![
            0,
            1 << 31,
            1,
            0x7f_ffff,
            0x80_0000,
            0x3f80_0000,
            0xbf80_0000,
            0x7f7f_ffff,
            0x0080_0001,
            0x8080_0000,
        ],
        "f64" => vec![
            0,
            1 << 63,
            1,
            0x3ff0_0000_0000_0000,
            0xbff0_0000_0000_0001,
            0x7fef_ffff_ffff_ffff,
        ],
        _ => integers(bits),
    };
    let mut random = Random(30);
    let pairs = pairs(&values).into_iter();
    pairs
        .map(|[a, b]| [a, b, low(random.bits(), bits)])
        .collect()
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for (op, types) in OPERATIONS {
        for &ty in types {
            alone(&mut suite, op, ty);
            together(&mut suite, op, ty);
        }
    }
    suite
}

/// Each thread on memory of its own: what was there and what is there then.
fn alone(suite: &mut Suite, op: &'static str, ty: &'static str) {
    let rows = cases(ty);
    let operands = if op == "cas" { "b, c" } else { "b" };
    for (space, place, memory) in [
        (".global", "tmp", ".global"),
        (".shared", "cell", ".shared"),
        (".shared::cta", "cell", ".shared"),
        ("", "tmp", ".global"),
    ] {
        let is_global = place == "tmp";
        for order in [
            "",
            ".relaxed.gpu",
            ".acq_rel.cta",
            ".acquire.sys",
            ".release.gpu",
        ] {
            lanes! { suite, &rows;
                "st{memory}.{ty} [{place}], a;\n\
                 atom{order}{space}.{op}.{ty} d, [{place}], {operands};\n\
                 ld{memory}.{ty} g, [{place}];",
                "{ty} {ty} {ty} -> {ty} {ty}",
                    |[a, b, c]| vec![Expected::Bits(a), new(op, ty, is_global, a, b, c)];
            }
        }
        if matches!(op, "exch" | "cas") {
            continue;
        }
        for order in ["", ".relaxed.sys", ".release.gpu"] {
            lanes! { suite, &rows;
                "st{memory}.{ty} [{place}], a;\nred{order}{space}.{op}.{ty} [{place}], b;\n\
                 ld{memory}.{ty} d, [{place}];",
                "{ty} {ty} {ty} -> {ty}", |[a, b, c]| new(op, ty, is_global, a, b, c);
            }
        }
    }
}

/// What a thread finds in memory afterwards: NaN of any kind when it is NaN.
fn new(op: &str, ty: &'static str, is_global: bool, a: u64, b: u64, c: u64) -> Expected {
    let bits = after(op, ty, is_global, a, b, c);
    match ty {
        "f32" | "f64" if format_of(ty).is_nan(bits) => any_nan(format_of(ty)),
        _ => Expected::Bits(bits),
    }
}

/// All threads of a block on one place: the end is that of any order.
fn together(suite: &mut Suite, op: &'static str, ty: &'static str) {
    if matches!(op, "exch" | "cas" | "dec") {
        return;
    }
    let mut random = Random(31);
    let bits = register_bits(ty);
    let rows: Vec<[u64; 1]> = (0..64)
        .map(|_| match ty {
            // Sums of small integers are exact in every order.
            "f32" => [F32.nearest(random.below(1000) as f64)],
            "f64" => [F64.nearest(random.below(1000) as f64)],
            // All count up to the same number.
            _ if op == "inc" => [40],
            _ => [low(random.bits(), bits)],
        })
        .collect();
    let zero = match ty {
        "f32" => "0f00000000",
        "f64" => "0d0000000000000000",
        _ => "0",
    };
    suite.block(64);
    for (space, place) in [
        (".global", "base"),
        (".shared", "tile"),
        (".shared::cta", "tile"),
    ] {
        blocks! { suite, &rows;
            ".reg .pred first;\nsetp.eq.u32 first, tid, 0;\n\
             @first st{space}.{ty} [{place}], {zero};\nbar.sync 0;\n\
             red{space}.{op}.{ty} [{place}], a;\nbar.sync 0;\n\
             ld{space}.{ty} d, [{place}];", "{ty} -> {ty}", |block, _| {
                block
                    .iter()
                    .fold(0, |old, &[a]| after(op, ty, false, old, a, 0))
            };
        }
    }
    suite.block(32);
}
