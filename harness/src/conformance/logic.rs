//! Logic, shifts, byte permutation and moves. PTX ISA 9.7.8 and 9.7.9.

use crate::conformance::inputs::{cube, grid, integers, low, pairs, random, singles};
use crate::conformance::integer::value;
use crate::conformance::suite::Suite;

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
    let two = format!("b{width} b{width} -> b{width}");
    let one = format!("b{width} -> b{width}");
    let mut rows = pairs(&integers(width));
    rows.extend(random::<2>(6, 64, width));
    let mut binary = |name: &str, f: fn(u64, u64) -> u64| {
        suite.lanes(
            format!("{name}.b{width} d, a, b;"),
            &two,
            &rows,
            move |[a, b]| f(a, b),
        );
    };
    binary("and", |a, b| a & b);
    binary("or", |a, b| a | b);
    binary("xor", |a, b| a ^ b);
    let rows = singles(&integers(width));
    suite.lanes(format!("not.b{width} d, a;"), &one, &rows, |[a]| !a);
    suite.lanes(format!("cnot.b{width} d, a;"), &one, &rows, |[a]| {
        u64::from(a == 0)
    });

    // Shifts by more than the width clear the register, or leave only signs.
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
        u32::MAX.into(),
    ];
    let rows = grid(&integers(width), &amounts);
    let signature = |ty: char| format!("{ty}{width} b32 -> {ty}{width}");
    suite.lanes(
        format!("shl.b{width} d, a, b;"),
        &signature('b'),
        &rows,
        |[a, b]| {
            if b > 63 { 0 } else { a << b }
        },
    );
    for ty in ['b', 'u', 's'] {
        suite.lanes(
            format!("shr.{ty}{width} d, a, b;"),
            &signature(ty),
            &rows,
            move |[a, b]| {
                let name = format!("{}{width}", if ty == 's' { 's' } else { 'u' });
                (value(&name, a) >> b.min(100)) as u64
            },
        );
    }
    for ty in ['b', 'u', 's'] {
        let rows = random::<3>(7, 64, width).map_third(|x| x & 1);
        suite.lanes(
            format!("selp.{ty}{width} d, a, b, c;"),
            &format!("{ty}{width} {ty}{width} pred -> {ty}{width}"),
            &rows,
            |[a, b, c]| if c == 1 { a } else { b },
        );
    }
}

/// Changes the third of each three.
trait MapThird {
    fn map_third(self, f: impl Fn(u64) -> u64) -> Self;
}

impl MapThird for Vec<[u64; 3]> {
    fn map_third(self, f: impl Fn(u64) -> u64) -> Self {
        self.into_iter().map(|[a, b, c]| [a, b, f(c)]).collect()
    }
}

fn predicates(suite: &mut Suite) {
    let rows = pairs(&[0, 1]);
    suite.lanes("and.pred d, a, b;", "pred pred -> pred", &rows, |[a, b]| {
        a & b
    });
    suite.lanes("or.pred d, a, b;", "pred pred -> pred", &rows, |[a, b]| {
        a | b
    });
    suite.lanes("xor.pred d, a, b;", "pred pred -> pred", &rows, |[a, b]| {
        a ^ b
    });
    suite.lanes(
        "not.pred d, a;",
        "pred -> pred",
        &singles(&[0, 1]),
        |[a]| a ^ 1,
    );
    suite.lanes("mov.pred d, a;", "pred -> pred", &singles(&[0, 1]), |[a]| a);
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
    rows.extend([
        [0; 3],
        [0xffff_ffff; 3],
        [0xf0, 0xcc, 0xaa],
        [0xf0f0_f0f0, 0xcccc_cccc, 0xaaaa_aaaa],
    ]);
    for table in 0..256 {
        let text = format!("lop3.b32 d, a, b, c, {table:#x};");
        suite.lanes(text, "b32 b32 b32 -> b32", &rows, move |[a, b, c]| {
            apply(table, a, b, c)
        });
    }
    let rows: Vec<[u64; 4]> = rows
        .iter()
        .flat_map(|&[a, b, c]| [[a, b, c, 0], [a, b, c, 1]])
        .collect();
    for (operation, combine) in [
        ("or", (|p, q| p | q) as fn(bool, bool) -> bool),
        ("and", |p, q| p & q),
    ] {
        for (sign, is_negated) in [("", false), ("!", true)] {
            for table in [0x00, 0x01, 0x80, 0x96, 0xe8, 0xff] {
                suite.target("sm_80");
                suite.lanes(
                    format!("lop3.{operation}.b32 d|g, a, b, c, {table:#x}, {sign}e;"),
                    "b32 b32 b32 pred -> b32 pred",
                    &rows,
                    move |[a, b, c, e]| {
                        let d = apply(table, a, b, c);
                        [d, u64::from(combine(d != 0, (e == 1) != is_negated))]
                    },
                );
            }
        }
    }
}

fn funnels(suite: &mut Suite) {
    let amounts = [0, 1, 4, 16, 31, 32, 33, 64, 255, u64::from(u32::MAX)];
    let few: Vec<u64> = integers(32).into_iter().step_by(2).collect();
    let rows = cube(&few, &few, &amounts);
    for mode in ["clamp", "wrap"] {
        let amount = move |c: u64| if mode == "clamp" { c.min(32) } else { c & 31 };
        let mut shift = |direction: &str, f: fn(u128, u64) -> u128| {
            suite.lanes(
                format!("shf.{direction}.{mode}.b32 d, a, b, c;"),
                "b32 b32 b32 -> b32",
                &rows,
                move |[a, b, c]| f(u128::from(b) << 32 | u128::from(a), amount(c)) as u64,
            );
        };
        shift("l", |both, amount| both << amount >> 32);
        shift("r", |both, amount| both >> amount);
    }
}

fn permutations(suite: &mut Suite) {
    let mut rows = random::<3>(10, 512, 32);
    rows.extend((0..16).map(|i| [0x8070_6050, 0x0403_8201, i * 0x1111]));
    let signature = "b32 b32 b32 -> b32";
    let byte = |a: u64, b: u64, i: u64| (b << 32 | a) >> (8 * i) & 0xff;
    suite.lanes(
        "prmt.b32 d, a, b, c;",
        signature,
        &rows,
        move |[a, b, c]| {
            (0..4).fold(0, |d, i| {
                let selector = c >> (4 * i) & 15;
                let chosen = byte(a, b, selector & 7);
                let filled = if selector & 8 == 0 {
                    chosen
                } else {
                    0xff * (chosen >> 7)
                };
                d | filled << (8 * i)
            })
        },
    );
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
        suite.lanes(
            format!("prmt.b32.{name} d, a, b, c;"),
            signature,
            &rows,
            move |[a, b, c]| (0..4).fold(0, |d, i| d | byte(a, b, place(c & 3, i)) << (8 * i)),
        );
    }
}

fn moves(suite: &mut Suite) {
    for ty in [
        "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64",
    ] {
        let signature = format!("{ty} -> {ty}");
        let rows = singles(&integers(crate::conformance::integer::width(ty)));
        suite.lanes(format!("mov.{ty} d, a;"), &signature, &rows, |[a]| a);
    }
    for ty in ["f32", "f64"] {
        let rows = random::<3>(7, 64, crate::conformance::integer::width(ty)).map_third(|x| x & 1);
        suite.lanes(
            format!("selp.{ty} d, a, b, c;"),
            &format!("{ty} {ty} pred -> {ty}"),
            &rows,
            |[a, b, c]| if c == 1 { a } else { b },
        );
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
    // Packing: the first part is the lowest.
    let rows = random::<4>(11, 64, 64);
    let halves = |[a, b, c, e]: [u64; 4]| [a, b, c, e].map(|x| low(x, 16));
    suite.lanes(
        "mov.b32 d, {a, b};",
        "b16 b16 b16 b16 -> b32",
        &rows,
        move |row| {
            let [a, b, ..] = halves(row);
            a | b << 16
        },
    );
    suite.lanes(
        "mov.b64 d, {a, b, c, e};",
        "b16 b16 b16 b16 -> b64",
        &rows,
        move |row| {
            let [a, b, c, e] = halves(row);
            a | b << 16 | c << 32 | e << 48
        },
    );
    let rows = random::<2>(12, 64, 64);
    suite.lanes("mov.b64 d, {a, b};", "b32 b32 -> b64", &rows, |[a, b]| {
        low(a, 32) | b << 32
    });
    suite.lanes(
        "mov.b64 {d, g}, a;",
        "b64 b64 -> b32 b32",
        &rows,
        |[a, _]| [a, a >> 32],
    );
    suite.lanes("mov.b64 {_, d}, a;", "b64 b64 -> b32", &rows, |[a, _]| {
        a >> 32
    });
    suite.lanes(
        "mov.b32 {d, g}, a;",
        "b32 b64 -> b16 b16",
        &rows,
        |[a, _]| [a, a >> 16],
    );
    suite.lanes(
        "mov.b64 {d, g, h, i}, a;",
        "b64 b64 -> b16 b16 b16 b16",
        &rows,
        |[a, _]| [0, 16, 32, 48].map(|shift| a >> shift),
    );
    // Bytes lie in registers of 8 bits, which only conversions and memory reach otherwise.
    suite.lanes(
        "mov.b32 d, {a, b, a, b};",
        "b8 b8 -> b32",
        &rows,
        |[a, b]| (low(a, 8) | low(b, 8) << 8) * 0x1_0001,
    );
    suite.lanes(
        "mov.b32 {d, g, h, i}, a;",
        "b32 b64 -> b8 b8 b8 b8",
        &rows,
        |[a, _]| [0, 8, 16, 24].map(|shift| a >> shift),
    );
    suite.lanes("mov.b16 d, {a, b};", "b8 b8 -> b16", &rows, |[a, b]| {
        low(a, 8) | low(b, 8) << 8
    });
    suite.lanes("mov.b16 {d, g}, a;", "b16 b64 -> b8 b8", &rows, |[a, _]| {
        [a, a >> 8]
    });
}
