//! Logic, shifts, byte permutation and moves. PTX ISA 9.7.8 and 9.7.9.

use crate::conformance::inputs::{cube, grid, integers, low, pairs, random, singles};
use crate::conformance::integer::{value, width};
use crate::conformance::suite::{Suite, lanes};

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for width in [16, 32, 64] {
        logic(&mut suite, width);
    }
    predicates(&mut suite);
    tables(&mut suite);
    funnels(&mut suite);
    permutations(&mut suite);
    moves(&mut suite);
    suite
}

fn logic(suite: &mut Suite, width: u32) {
    let mut rows = pairs(&integers(width));
    rows.extend(random::<2>(6, 64, width));
    lanes! { suite, &rows;
        "and.b{width}", "b{width} b{width} -> b{width}", |[a, b]| a & b;
        "or.b{width}", "b{width} b{width} -> b{width}", |[a, b]| a | b;
        "xor.b{width}", "b{width} b{width} -> b{width}", |[a, b]| a ^ b;
    }
    lanes! { suite, &singles(&integers(width));
        "not.b{width}", "b{width} -> b{width}", |[a]| !a;
        "cnot.b{width}", "b{width} -> b{width}", |[a]| a == 0;
    }
    // Shifts by more than the width clear the register, or leave only signs.
    let max = u64::from(u32::MAX);
    let amounts = [
        0,
        1,
        5,
        15,
        16,
        17,
        31,
        32,
        33,
        63,
        64,
        65,
        255,
        256,
        1 << 31,
        max,
    ];
    let rows = grid(&integers(width), &amounts);
    lanes! { suite, &rows;
        "shl.b{width}", "b{width} b32 -> b{width}", |[a, b]| if b > 63 { 0 } else { a << b };
    }
    for (ty, number) in [('b', 'u'), ('u', 'u'), ('s', 's')] {
        let number = format!("{number}{width}");
        lanes! { suite, &rows;
            "shr.{ty}{width}", "{ty}{width} b32 -> {ty}{width}",
                |[a, b]| value(&number, a) >> b.min(100);
        }
    }
    for ty in ['b', 'u', 's'] {
        select(suite, &format!("{ty}{width}"));
    }
}

/// `selp`: the first where the predicate holds.
fn select(suite: &mut Suite, ty: &str) {
    let rows = random::<3>(7, 64, width(ty))
        .into_iter()
        .map(|[a, b, c]| [a, b, c & 1]);
    lanes! { suite, &rows.collect::<Vec<_>>();
        "selp.{ty}", "{ty} {ty} pred -> {ty}", |[a, b, c]| if c == 1 { a } else { b };
    }
}

fn predicates(suite: &mut Suite) {
    lanes! { suite, &pairs(&[0, 1]);
        "and.pred", "pred pred -> pred", |[a, b]| a & b;
        "or.pred", "pred pred -> pred", |[a, b]| a | b;
        "xor.pred", "pred pred -> pred", |[a, b]| a ^ b;
    }
    lanes! { suite, &singles(&[0, 1]);
        "not.pred", "pred -> pred", |[a]| a ^ 1;
        "mov.pred", "pred -> pred", |[a]| a;
    }
}

/// All tables of `lop3`: bit `4 a + 2 b + c` of the table for each bit.
fn tables(suite: &mut Suite) {
    let apply = |table: u64, a: u64, b: u64, c: u64| {
        (0..32).fold(0, |d, i| {
            let index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
            d | (table >> index & 1) << i
        })
    };
    let mut rows = random::<3>(8, 28, 32);
    rows.extend([[0; 3], [0xffff_ffff; 3], [0xf0, 0xcc, 0xaa]]);
    rows.push([0xf0f0_f0f0, 0xcccc_cccc, 0xaaaa_aaaa]);
    for table in 0..256 {
        lanes! { suite, &rows;
            "lop3.b32 d, a, b, c, {table:#x};", "b32 b32 b32 -> b32",
                |[a, b, c]| apply(table, a, b, c);
        }
    }
    let with_predicate = |&[a, b, c]: &[u64; 3]| [[a, b, c, 0], [a, b, c, 1]];
    let rows: Vec<[u64; 4]> = rows.iter().flat_map(with_predicate).collect();
    for operation in ["or", "and"] {
        for (sign, negated) in [("", 0), ("!", 1)] {
            for table in [0x00, 0x01, 0x80, 0x96, 0xe8, 0xff] {
                lanes! { suite, &rows;
                    "lop3.{operation}.b32 d|g, a, b, c, {table:#x}, {sign}e;",
                    "b32 b32 b32 pred -> b32 pred", |[a, b, c, e]| {
                        let d = apply(table, a, b, c);
                        let (p, q) = (u64::from(d != 0), e ^ negated);
                        [d, if operation == "or" { p | q } else { p & q }]
                    };
                }
            }
        }
    }
}

fn funnels(suite: &mut Suite) {
    let amounts = [0, 1, 4, 16, 31, 32, 33, 64, 255, u64::from(u32::MAX)];
    let few: Vec<u64> = integers(32).into_iter().step_by(2).collect();
    for mode in ["clamp", "wrap"] {
        let amount = move |c: u64| if mode == "clamp" { c.min(32) } else { c & 31 };
        let both = |a, b| u128::from(b) << 32 | u128::from(a);
        lanes! { suite, &cube(&few, &few, &amounts);
            "shf.l.{mode}.b32", "b32 b32 b32 -> b32", |[a, b, c]| both(a, b) << amount(c) >> 32;
            "shf.r.{mode}.b32", "b32 b32 b32 -> b32", |[a, b, c]| both(a, b) >> amount(c);
        }
    }
}

fn permutations(suite: &mut Suite) {
    let mut rows = random::<3>(10, 512, 32);
    rows.extend((0..16).map(|i| [0x8070_6050, 0x0403_8201, i * 0x1111]));
    // The byte of `b:a` that goes to each place.
    let bytes = |a: u64, b: u64, place: &dyn Fn(u64) -> u64| {
        (0..4).fold(0, |d, i| {
            d | ((b << 32 | a) >> (8 * place(i)) & 0xff) << (8 * i)
        })
    };
    lanes! { suite, &rows;
        "prmt.b32", "b32 b32 b32 -> b32", |[a, b, c]| {
            let chosen = bytes(a, b, &|i| c >> (4 * i) & 7);
            (0..4).fold(0, |d, i| {
                let byte = chosen >> (8 * i) & 0xff;
                let is_sign = c >> (4 * i + 3) & 1 == 1;
                d | if is_sign { 0xff * (byte >> 7) } else { byte } << (8 * i)
            })
        };
    }
    // The byte that goes to place `i` when the low bits of c are `s`.
    type Mode = fn(u64, u64) -> u64;
    let modes: [(&str, Mode); 6] = [
        // A window forwards over the eight bytes, and one backwards.
        ("f4e", |s, i| (s + i) % 8),
        ("b4e", |s, i| (s + 8 - i) % 8),
        // A byte four times.
        ("rc8", |s, _| s),
        // Clamped from the left and from the right.
        ("ecl", |s, i| i.max(s)),
        ("ecr", |s, i| i.min(s)),
        // A half twice.
        ("rc16", |s, i| 2 * (s % 2) + i % 2),
    ];
    for (name, place) in modes {
        lanes! { suite, &rows;
            "prmt.b32.{name}", "b32 b32 b32 -> b32",
                |[a, b, c]| bytes(a, b, &|i| place(c & 3, i));
        }
    }
}

fn moves(suite: &mut Suite) {
    for ty in [
        "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64",
    ] {
        lanes! { suite, &singles(&integers(width(ty)));
            "mov.{ty}", "{ty} -> {ty}", |[a]| a;
        }
    }
    for ty in ["f32", "f64"] {
        select(suite, ty);
    }
    // Constants in every notation.
    for (text, ty, bits) in [
        ("mov.u32 d, 0xdeadBEEF;", "u32", 0xdead_beefu64),
        ("mov.s32 d, -1;", "s32", 0xffff_ffff),
        ("mov.u32 d, 017;", "u32", 15),
        ("mov.u32 d, 0b1011;", "u32", 11),
        ("mov.u32 d, 42U;", "u32", 42),
        (
            "mov.u64 d, 0x0123456789abcdef;",
            "u64",
            0x0123_4567_89ab_cdef,
        ),
        ("mov.f32 d, 0f3f800000;", "f32", 0x3f80_0000),
        ("mov.f32 d, 1.5;", "f32", 0x3fc0_0000),
        (
            "mov.f64 d, 0d3ff0000000000000;",
            "f64",
            0x3ff0_0000_0000_0000,
        ),
        ("mov.f64 d, -2.5e-1;", "f64", 0xbfd0_0000_0000_0000),
        ("mov.b32 d, (1 << 4) + 3 * 2;", "b32", 22),
    ] {
        suite.lanes(text, &format!("-> {ty}"), &[[]; 32], move |[]| bits);
    }
    // Packing: the first part is the lowest. Bytes lie in registers of 8 bits, which only
    // conversions and memory reach otherwise.
    let pack = |parts: &[u64], bits: u32| {
        parts
            .iter()
            .rev()
            .fold(0, |whole, &part| whole << bits | low(part, bits))
    };
    lanes! { suite, &random::<4>(11, 64, 64);
        "mov.b32 d, {{a, b}};", "b16 b16 b16 b16 -> b32", |row| pack(&row[..2], 16);
        "mov.b64 d, {{a, b, c, e}};", "b16 b16 b16 b16 -> b64", |row| pack(&row, 16);
        "mov.b32 d, {{a, b, c, e}};", "b8 b8 b8 b8 -> b32", |row| pack(&row, 8);
    }
    lanes! { suite, &random::<2>(12, 64, 64);
        "mov.b64 d, {{a, b}};", "b32 b32 -> b64", |row| pack(&row, 32);
        "mov.b64 {{d, g}}, a;", "b64 b64 -> b32 b32", |[a, _]| [a, a >> 32];
        "mov.b64 {{_, d}}, a;", "b64 b64 -> b32", |[a, _]| a >> 32;
        "mov.b32 {{d, g}}, a;", "b32 b64 -> b16 b16", |[a, _]| [a, a >> 16];
        "mov.b64 {{d, g, h, i}}, a;", "b64 b64 -> b16 b16 b16 b16",
            |[a, _]| [0, 16, 32, 48].map(|shift| a >> shift);
        "mov.b32 d, {{a, b, a, b}};", "b8 b8 -> b32", |[a, b]| pack(&[a, b, a, b], 8);
        "mov.b32 {{d, g, h, i}}, a;", "b32 b64 -> b8 b8 b8 b8",
            |[a, _]| [0, 8, 16, 24].map(|shift| a >> shift);
        "mov.b16 d, {{a, b}};", "b8 b8 -> b16", |row| pack(&row, 8);
        "mov.b16 {{d, g}}, a;", "b16 b64 -> b8 b8", |[a, _]| [a, a >> 8];
    }
}
