//! Integer arithmetic. PTX ISA 9.7.1 and 9.7.2.

use crate::conformance::inputs::{cube, integers, low, pairs, random, singles};
use crate::conformance::suite::{Expected, Suite, lanes};

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
    let (width, v) = (width(ty), move |x: u64| value(ty, x));
    // Division by zero and of the smallest number by -1 are not defined.
    let divided = move |a, b, f: fn(i128, i128) -> i128| match (v(a), v(b)) {
        (_, 0) => Expected::open(),
        (a, -1) if a == range(ty).0 => Expected::open(),
        (a, b) => Expected::Bits(f(a, b) as u64),
    };
    let mut rows = pairs(&integers(width));
    rows.extend(random::<2>(1, 64, width));
    lanes! { suite, &rows;
        "add.{ty}", "{ty} {ty} -> {ty}", |[a, b]| v(a) + v(b);
        "sub.{ty}", "{ty} {ty} -> {ty}", |[a, b]| v(a) - v(b);
        "min.{ty}", "{ty} {ty} -> {ty}", |[a, b]| v(a).min(v(b));
        "max.{ty}", "{ty} {ty} -> {ty}", |[a, b]| v(a).max(v(b));
        "mul.lo.{ty}", "{ty} {ty} -> {ty}", |[a, b]| product(v(a), v(b));
        "mul.hi.{ty}", "{ty} {ty} -> {ty}", |[a, b]| product(v(a), v(b)) >> width;
        "div.{ty}", "{ty} {ty} -> {ty}", |[a, b]| divided(a, b, |a, b| a / b);
        "rem.{ty}", "{ty} {ty} -> {ty}", |[a, b]| divided(a, b, |a, b| a % b);
    }
    if ty.starts_with('s') {
        lanes! { suite, &singles(&integers(width));
            "abs.{ty}", "{ty} -> {ty}", |[a]| v(a).abs();
            "neg.{ty}", "{ty} -> {ty}", |[a]| -v(a);
        }
    }
    lanes! { suite, &three(width);
        "mad.lo.{ty}", "{ty} {ty} {ty} -> {ty}",
            |[a, b, c]| product(v(a), v(b)).wrapping_add(v(c) as u128);
        "mad.hi.{ty}", "{ty} {ty} {ty} -> {ty}",
            |[a, b, c]| (product(v(a), v(b)) >> width).wrapping_add(v(c) as u128);
        "sad.{ty}", "{ty} {ty} {ty} -> {ty}", |[a, b, c]| v(c) + (v(a) - v(b)).abs();
    }
    let wide = match ty {
        "u16" => "u32",
        "s16" => "s32",
        "u32" => "u64",
        "s32" => "s64",
        _ => return,
    };
    lanes! { suite, &pairs(&integers(width));
        "mul.wide.{ty}", "{ty} {ty} -> {wide}", |[a, b]| v(a) * v(b);
    }
    let few: Vec<u64> = integers(width).into_iter().step_by(2).collect();
    lanes! { suite, &cube(&few, &few, &integers(2 * width));
        "mad.wide.{ty}", "{ty} {ty} {wide} -> {wide}", |[a, b, c]| v(a) * v(b) + value(wide, c);
    }
}

fn saturating(suite: &mut Suite) {
    let v = |x: u64| value("s32", x);
    let clamp = |x: i128| x.clamp(range("s32").0, range("s32").1);
    let rows = pairs(&integers(32));
    lanes! { suite, &rows;
        "add.sat.s32", "s32 s32 -> s32", |[a, b]| clamp(v(a) + v(b));
        "sub.sat.s32", "s32 s32 -> s32", |[a, b]| clamp(v(a) - v(b));
    }
    lanes! { suite, &three(32);
        "mad.hi.sat.s32", "s32 s32 s32 -> s32", |[a, b, c]| clamp(((v(a) * v(b)) >> 32) + v(c));
    }
    suite.target("sm_90");
    lanes! { suite, &rows;
        "min.relu.s32", "s32 s32 -> s32", |[a, b]| v(a).min(v(b)).max(0);
        "max.relu.s32", "s32 s32 -> s32", |[a, b]| v(a).max(v(b)).max(0);
    }
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
    let mut rows = pairs(&integers(24));
    rows.extend(random::<2>(24, 128, 32));
    let product = |ty: &str, a, b| low24(ty, a) * low24(ty, b);
    for ty in ["u32", "s32"] {
        for (half, shift) in [("lo", 0), ("hi", 16)] {
            lanes! { suite, &rows;
                "mul24.{half}.{ty}", "{ty} {ty} -> {ty}", |[a, b]| product(ty, a, b) >> shift;
            }
            lanes! { suite, &three(32);
                "mad24.{half}.{ty}", "{ty} {ty} {ty} -> {ty}",
                    |[a, b, c]| (product(ty, a, b) >> shift) + value(ty, c);
            }
        }
    }
    // The upper 32 of 48 bits.
    let (smallest, largest) = range("s32");
    lanes! { suite, &three(32);
        "mad24.hi.sat.s32", "s32 s32 s32 -> s32", |[a, b, c]| {
            ((product("s32", a, b) >> 16) + value("s32", c)).clamp(smallest, largest)
        };
    }
}

fn dot_products(suite: &mut Suite) {
    // Field `i` of a word cut into fields.
    let field = |ty: &str, word: u64, bits: u32, i: u32| {
        value(&format!("{}{bits}", &ty[..1]), word >> (bits * i))
    };
    let mut rows = random::<3>(4, 256, 32);
    rows.extend(cube(
        &integers(32),
        &integers(32),
        &[0, u64::from(u32::MAX)],
    ));
    for (x, y) in [
        ("u32", "u32"),
        ("u32", "s32"),
        ("s32", "u32"),
        ("s32", "s32"),
    ] {
        let sum = if x == y { x } else { "s32" };
        lanes! { suite, &rows;
            "dp4a.{x}.{y}", "{x} {y} {sum} -> {sum}", |[a, b, c]| {
                let products = (0..4).map(|i| field(x, a, 8, i) * field(y, b, 8, i));
                value(sum, c) + products.sum::<i128>()
            };
        }
        for (half, first) in [("lo", 0), ("hi", 2)] {
            lanes! { suite, &rows;
                "dp2a.{half}.{x}.{y}", "{x} {y} {sum} -> {sum}", |[a, b, c]| {
                    let product = |i| field(x, a, 16, i) * field(y, b, 8, first + i);
                    value(sum, c) + product(0) + product(1)
                };
            }
        }
    }
}

/// Two halves of 16 bits.
fn packed(suite: &mut Suite) {
    suite.target("sm_90");
    let edges = integers(16);
    let mut rows = random::<2>(16, 128, 32);
    rows.extend(
        pairs(&edges)
            .iter()
            .map(|[a, b]| [a << 16 | b, b << 16 | a]),
    );
    rows.extend(edges.iter().map(|&x| [x << 16 | 0xffff, x << 16 | 1]));
    for ty in ["u16", "s16"] {
        let halves = move |a: u64, b: u64, f: fn(i128, i128) -> i128| {
            let half = |shift| f(value(ty, a >> shift), value(ty, b >> shift)) as u64;
            low(half(16), 16) << 16 | low(half(0), 16)
        };
        lanes! { suite, &rows;
            "add.{ty}x2", "b32 b32 -> b32", |[a, b]| halves(a, b, |a, b| a + b);
            "min.{ty}x2", "b32 b32 -> b32", |[a, b]| halves(a, b, i128::min);
            "max.{ty}x2", "b32 b32 -> b32", |[a, b]| halves(a, b, i128::max);
        }
        if ty == "s16" {
            lanes! { suite, &rows;
                "min.relu.s16x2", "b32 b32 -> b32", |[a, b]| halves(a, b, |a, b| a.min(b).max(0));
                "max.relu.s16x2", "b32 b32 -> b32", |[a, b]| halves(a, b, |a, b| a.max(b).max(0));
            }
        }
    }
    suite.target("sm_80");
}

/// Numbers of two words, added and multiplied with the carry flag between them.
fn carries(suite: &mut Suite) {
    for ty in ["u32", "s32", "u64", "s64"] {
        let width = width(ty);
        let mut rows: Vec<[u64; 4]> = pairs(&integers(width))
            .into_iter()
            .flat_map(|[a, b]| [[a, b, 0, 0], [a, b, u64::MAX, 0], [a, b, 1, u64::MAX]])
            .map(|row| row.map(|x| low(x, width)))
            .collect();
        rows.extend(random::<4>(9, 256, width));
        let whole = move |low: u64, high: u64| u128::from(low) | u128::from(high) << width;
        let words =
            move |x: u128, last| [low(x as u64, width), low((x >> width) as u64, width), last];
        // The flag that the upper word leaves is looked at too.
        let carried = move |x: u128, y: u128| match width {
            64 => x.checked_add(y).is_none(),
            _ => (x + y) >> (2 * width) != 0,
        };
        lanes! { suite, &rows;
            "add.cc.{ty} d, a, c;\naddc.cc.{ty} g, b, e;\naddc.{ty} h, 0, 0;",
            "{ty} {ty} {ty} {ty} -> {ty} {ty} {ty}", |[a, b, c, e]| {
                let (x, y) = (whole(a, b), whole(c, e));
                words(x.wrapping_add(y), u64::from(carried(x, y)))
            };
            "sub.cc.{ty} d, a, c;\nsubc.cc.{ty} g, b, e;\nsubc.{ty} h, 0, 0;",
            "{ty} {ty} {ty} {ty} -> {ty} {ty} {ty}", |[a, b, c, e]| {
                let (x, y) = (whole(a, b), whole(c, e));
                words(x.wrapping_sub(y), if x < y { u64::MAX } else { 0 })
            };
        }
        for (half, shift) in [("lo", 0), ("hi", width)] {
            let part = move |x, y| {
                let bits = product(value(ty, x), value(ty, y)) >> shift;
                u128::from(low(bits as u64, width))
            };
            lanes! { suite, &rows;
                "mad.{half}.cc.{ty} d, a, b, c;\nmadc.{half}.cc.{ty} g, a, e, c;\n\
                 madc.{half}.{ty} h, 1, 0, 0;",
                "{ty} {ty} {ty} {ty} -> {ty} {ty} {ty}", |[a, b, c, e]| {
                    let first = part(a, b) + u128::from(c);
                    let second = part(a, e) + u128::from(c) + (first >> width);
                    [first, second, second >> width].map(|x| low(x as u64, width))
                };
            }
        }
    }
}
