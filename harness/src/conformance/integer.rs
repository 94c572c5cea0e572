//! Integer arithmetic. PTX ISA 9.7.1 and 9.7.2.

use crate::conformance::inputs::{cube, integers, low, pairs, random, singles};
use crate::conformance::suite::{Expected, Suite};

pub const TYPES: [&str; 6] = ["u16", "u32", "u64", "s16", "s32", "s64"];

pub fn width(ty: &str) -> u32 {
    crate::conformance::suite::register_bits(ty)
}

/// The value of bits as an integer type.
pub fn value(ty: &str, bits: u64) -> i128 {
    let width = width(ty);
    let bits = i128::from(low(bits, width));
    if ty.starts_with('s') && bits >> (width - 1) == 1 {
        bits - (1 << width)
    } else {
        bits
    }
}

/// Largest and smallest value of a type.
pub fn range(ty: &str) -> (i128, i128) {
    let width = width(ty);
    if ty.starts_with('s') {
        (-(1 << (width - 1)), (1 << (width - 1)) - 1)
    } else {
        (0, (1 << width) - 1)
    }
}

/// The bits of a product, 128 of them: also those of two unsigned words of 64 bits.
fn product(a: i128, b: i128) -> u128 {
    a.wrapping_mul(b) as u128
}

fn three(width: u32) -> Vec<[u64; 3]> {
    let few: Vec<u64> = integers(width).into_iter().step_by(2).collect();
    let mut rows = cube(&few, &few, &few);
    rows.extend(random::<3>(3, 64, width));
    rows
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for ty in TYPES {
        arithmetic(&mut suite, ty);
    }
    saturating(&mut suite);
    twenty_four(&mut suite);
    dot_products(&mut suite);
    packed(&mut suite);
    carries(&mut suite);
    suite
}

fn arithmetic(suite: &mut Suite, ty: &'static str) {
    let width = width(ty);
    let v = move |x: u64| value(ty, x);
    let two = format!("{ty} {ty} -> {ty}");
    let mut rows = pairs(&integers(width));
    rows.extend(random::<2>(1, 64, width));
    let mut binary = |name: &str, f: fn(i128, i128) -> i128| {
        let text = format!("{name}.{ty} d, a, b;");
        suite.lanes(text, &two, &rows, move |[a, b]| f(v(a), v(b)) as u64);
    };
    binary("add", |a, b| a + b);
    binary("sub", |a, b| a - b);
    binary("min", std::cmp::min);
    binary("max", std::cmp::max);
    binary("mul.lo", |a, b| product(a, b) as i128);
    suite.lanes(
        format!("mul.hi.{ty} d, a, b;"),
        &two,
        &rows,
        move |[a, b]| (product(v(a), v(b)) >> width) as u64,
    );
    // Division by zero and of the smallest number by -1 are not defined.
    let divides = move |a: u64, b: u64| v(b) != 0 && !(v(a) == range(ty).0 && v(b) == -1);
    for (name, f) in [
        ("div", (|a, b| a / b) as fn(i128, i128) -> i128),
        ("rem", |a, b| a % b),
    ] {
        let text = format!("{name}.{ty} d, a, b;");
        suite.lanes(text, &two, &rows, move |[a, b]| match divides(a, b) {
            true => Expected::Bits(f(v(a), v(b)) as u64),
            false => Expected::open(),
        });
    }
    if ty.starts_with('s') {
        let one = format!("{ty} -> {ty}");
        let rows = singles(&integers(width));
        suite.lanes(format!("abs.{ty} d, a;"), &one, &rows, move |[a]| {
            v(a).unsigned_abs() as u64
        });
        suite.lanes(format!("neg.{ty} d, a;"), &one, &rows, move |[a]| {
            -v(a) as u64
        });
    }

    let rows = three(width);
    let signature = format!("{ty} {ty} {ty} -> {ty}");
    suite.lanes(
        format!("mad.lo.{ty} d, a, b, c;"),
        &signature,
        &rows,
        move |[a, b, c]| product(v(a), v(b)).wrapping_add(v(c) as u128) as u64,
    );
    suite.lanes(
        format!("mad.hi.{ty} d, a, b, c;"),
        &signature,
        &rows,
        move |[a, b, c]| (product(v(a), v(b)) >> width).wrapping_add(v(c) as u128) as u64,
    );
    suite.lanes(
        format!("sad.{ty} d, a, b, c;"),
        &signature,
        &rows,
        move |[a, b, c]| (v(c) + (v(a) - v(b)).abs()) as u64,
    );
    let wide = match ty {
        "u16" => "u32",
        "s16" => "s32",
        "u32" => "u64",
        "s32" => "s64",
        _ => return,
    };
    let signature = format!("{ty} {ty} -> {wide}");
    suite.lanes(
        format!("mul.wide.{ty} d, a, b;"),
        &signature,
        &pairs(&integers(width)),
        move |[a, b]| (v(a) * v(b)) as u64,
    );
    let few: Vec<u64> = integers(width).into_iter().step_by(2).collect();
    let signature = format!("{ty} {ty} {wide} -> {wide}");
    suite.lanes(
        format!("mad.wide.{ty} d, a, b, c;"),
        &signature,
        &cube(&few, &few, &integers(2 * width)),
        move |[a, b, c]| (v(a) * v(b) + value(wide, c)) as u64,
    );
}

fn saturating(suite: &mut Suite) {
    let v = |x: u64| value("s32", x);
    let clamp = |x: i128| x.clamp(range("s32").0, range("s32").1) as u64;
    let (rows, two) = (pairs(&integers(32)), "s32 s32 -> s32");
    suite.lanes("add.sat.s32 d, a, b;", two, &rows, move |[a, b]| {
        clamp(v(a) + v(b))
    });
    suite.lanes("sub.sat.s32 d, a, b;", two, &rows, move |[a, b]| {
        clamp(v(a) - v(b))
    });
    let signature = "s32 s32 s32 -> s32";
    suite.lanes(
        "mad.hi.sat.s32 d, a, b, c;",
        signature,
        &three(32),
        move |[a, b, c]| clamp(((v(a) * v(b)) >> 32) + v(c)),
    );
    suite.target("sm_90");
    suite.lanes("min.relu.s32 d, a, b;", two, &rows, move |[a, b]| {
        v(a).min(v(b)).max(0) as u64
    });
    suite.lanes("max.relu.s32 d, a, b;", two, &rows, move |[a, b]| {
        v(a).max(v(b)).max(0) as u64
    });
    suite.target("sm_80");
}

/// The low 24 bits of a word as a number.
fn low24(ty: &str, bits: u64) -> i128 {
    let bits = i128::from(bits & 0xff_ffff);
    if ty == "s32" && bits >> 23 == 1 {
        bits - (1 << 24)
    } else {
        bits
    }
}

fn twenty_four(suite: &mut Suite) {
    for ty in ["u32", "s32"] {
        let (two, signature) = (
            format!("{ty} {ty} -> {ty}"),
            format!("{ty} {ty} {ty} -> {ty}"),
        );
        let mut rows = pairs(&integers(24));
        rows.extend(random::<2>(24, 128, 32));
        for (half, shift) in [("lo", 0), ("hi", 16)] {
            let product = move |a, b| (low24(ty, a) * low24(ty, b)) >> shift;
            suite.lanes(
                format!("mul24.{half}.{ty} d, a, b;"),
                &two,
                &rows,
                move |[a, b]| product(a, b) as u64,
            );
            suite.lanes(
                format!("mad24.{half}.{ty} d, a, b, c;"),
                &signature,
                &three(32),
                move |[a, b, c]| (product(a, b) + value(ty, c)) as u64,
            );
        }
    }
    suite.lanes(
        "mad24.hi.sat.s32 d, a, b, c;",
        "s32 s32 s32 -> s32",
        &three(32),
        |[a, b, c]| {
            // The upper 32 of 48 bits.
            let sum = ((low24("s32", a) * low24("s32", b)) >> 16) + value("s32", c);
            sum.clamp(range("s32").0, range("s32").1) as u64
        },
    );
}

fn dot_products(suite: &mut Suite) {
    // Field `i` of a word cut into fields.
    let field = |ty: &str, word: u64, bits: u32, i: u32| {
        value(&format!("{}{bits}", &ty[..1]), word >> (bits * i))
    };
    for a_type in ["u32", "s32"] {
        for b_type in ["u32", "s32"] {
            let sum = if a_type == b_type { a_type } else { "s32" };
            let signature = format!("{a_type} {b_type} {sum} -> {sum}");
            let mut rows = random::<3>(4, 256, 32);
            rows.extend(cube(
                &integers(32),
                &integers(32),
                &[0, u64::from(u32::MAX)],
            ));
            suite.lanes(
                format!("dp4a.{a_type}.{b_type} d, a, b, c;"),
                &signature,
                &rows,
                move |[a, b, c]| {
                    let products = (0..4).map(|i| field(a_type, a, 8, i) * field(b_type, b, 8, i));
                    (value(sum, c) + products.sum::<i128>()) as u64
                },
            );
            for (half, first) in [("lo", 0), ("hi", 2)] {
                suite.lanes(
                    format!("dp2a.{half}.{a_type}.{b_type} d, a, b, c;"),
                    &signature,
                    &rows,
                    move |[a, b, c]| {
                        let product = |i| field(a_type, a, 16, i) * field(b_type, b, 8, first + i);
                        (value(sum, c) + product(0) + product(1)) as u64
                    },
                );
            }
        }
    }
}

/// Two halves of 16 bits.
fn packed(suite: &mut Suite) {
    suite.target("sm_90");
    type Half = fn(i128, i128) -> i128;
    for ty in ["u16", "s16"] {
        let mut operations: Vec<(&str, Half)> = vec![
            ("add", |a, b| a + b),
            ("min", std::cmp::min),
            ("max", std::cmp::max),
        ];
        if ty == "s16" {
            operations.push(("min.relu", |a, b| a.min(b).max(0)));
            operations.push(("max.relu", |a, b| a.max(b).max(0)));
        }
        for (name, f) in operations {
            let mut rows = random::<2>(16, 128, 32);
            let edges = integers(16);
            rows.extend(
                pairs(&edges)
                    .into_iter()
                    .map(|[a, b]| [a << 16 | b, b << 16 | a]),
            );
            rows.extend(edges.iter().map(|&x| [x << 16 | 0xffff, x << 16 | 1]));
            suite.lanes(
                format!("{name}.{ty}x2 d, a, b;"),
                "b32 b32 -> b32",
                &rows,
                move |[a, b]| {
                    let half = |shift| f(value(ty, a >> shift), value(ty, b >> shift)) as u64;
                    low(half(16), 16) << 16 | low(half(0), 16)
                },
            );
        }
    }
    suite.target("sm_80");
}

/// Numbers of two words, added and multiplied with the carry flag between them.
fn carries(suite: &mut Suite) {
    for ty in ["u32", "s32", "u64", "s64"] {
        let width = width(ty);
        let (few, full) = (integers(width), random::<4>(9, 256, width));
        let mut rows: Vec<[u64; 4]> = pairs(&few)
            .into_iter()
            .flat_map(|[a, b]| [[a, b, 0, 0], [a, b, u64::MAX, 0], [a, b, 1, u64::MAX]])
            .map(|row| row.map(|x| low(x, width)))
            .collect();
        rows.extend(full);
        let whole = move |low: u64, high: u64| u128::from(low) | u128::from(high) << width;
        let words = move |x: u128| [low(x as u64, width), low((x >> width) as u64, width)];
        for (first, second, f) in [
            ("add", "addc", u128::wrapping_add as fn(u128, u128) -> u128),
            ("sub", "subc", u128::wrapping_sub),
        ] {
            // The flag that the upper word leaves is looked at too.
            let last = if first == "add" {
                ("addc", 1)
            } else {
                ("subc", -1i64 as u64)
            };
            suite.lanes(
                format!(
                    "{first}.cc.{ty} d, a, c;\n{second}.cc.{ty} g, b, e;\n{}.{ty} h, 0, 0;",
                    last.0
                ),
                &format!("{ty} {ty} {ty} {ty} -> {ty} {ty} {ty}"),
                &rows,
                move |[a, b, c, e]| {
                    let (x, y) = (whole(a, b), whole(c, e));
                    let [d, g] = words(f(x, y));
                    let bits = 2 * width;
                    let carries = match first {
                        "add" if bits == 128 => x.checked_add(y).is_none(),
                        "add" => (x + y) >> bits != 0,
                        _ => x < y,
                    };
                    [d, g, if carries { last.1 } else { 0 }]
                },
            );
        }
        let v = move |x: u64| value(ty, x);
        for half in ["lo", "hi"] {
            suite.lanes(
                format!(
                    "mad.{half}.cc.{ty} d, a, b, c;\nmadc.{half}.cc.{ty} g, a, e, c;\n\
                     madc.{half}.{ty} h, 1, 0, 0;"
                ),
                &format!("{ty} {ty} {ty} {ty} -> {ty} {ty} {ty}"),
                &rows,
                move |[a, b, c, e]| {
                    let part = |x, y| {
                        let bits = product(v(x), v(y)) >> if half == "hi" { width } else { 0 };
                        u128::from(low(bits as u64, width))
                    };
                    let first = part(a, b) + u128::from(c);
                    let second = part(a, e) + u128::from(c) + (first >> width);
                    [
                        low(first as u64, width),
                        low(second as u64, width),
                        (second >> width) as u64,
                    ]
                },
            );
        }
    }
}
