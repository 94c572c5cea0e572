//! Counts of bits, bit fields and masks. PTX ISA 9.7.1.

use crate::conformance::inputs::{cube, grid, integers, low, pairs, singles};
use crate::conformance::suite::Suite;

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for width in [32, 64] {
        counts(&mut suite, width);
        fields(&mut suite, width);
    }
    masks(&mut suite);
    suite
}

fn counts(suite: &mut Suite, width: u32) {
    let mut values = integers(width);
    values.extend((0..width).map(|i| 1 << i));
    values.extend((0..width).map(|i| low(u64::MAX, width) >> i));
    let rows = singles(&values);
    let signature = format!("b{width} -> b32");
    // The bits, the lowest first.
    let bits = move |x: u64| (0..width).map(move |i| x >> i & 1);
    suite.lanes(
        format!("popc.b{width} d, a;"),
        &signature,
        &rows,
        move |[a]| bits(a).sum::<u64>(),
    );
    suite.lanes(
        format!("clz.b{width} d, a;"),
        &signature,
        &rows,
        move |[a]| bits(a).rev().take_while(|&bit| bit == 0).count() as u64,
    );
    suite.lanes(
        format!("brev.b{width} d, a;"),
        &format!("b{width} -> b{width}"),
        &rows,
        move |[a]| bits(a).fold(0, |reversed, bit| reversed << 1 | bit),
    );
    for ty in ['u', 's'] {
        // The highest bit that is not a sign.
        let place = move |a: u64| {
            let sign = if ty == 's' { a >> (width - 1) & 1 } else { 0 };
            (0..width).rev().find(|&i| a >> i & 1 != sign)
        };
        let signature = format!("{ty}{width} -> u32");
        suite.lanes(
            format!("bfind.{ty}{width} d, a;"),
            &signature,
            &rows,
            move |[a]| place(a).map_or(u64::MAX, u64::from),
        );
        suite.lanes(
            format!("bfind.shiftamt.{ty}{width} d, a;"),
            &signature,
            &rows,
            move |[a]| place(a).map_or(u64::MAX, |i| u64::from(width - 1 - i)),
        );
    }
}

/// Positions and lengths: their low eight bits count.
const PLACES: [u64; 12] = [0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 255, 0x105];

fn fields(suite: &mut Suite, width: u32) {
    let values = integers(width);
    for ty in ['u', 's'] {
        suite.lanes(
            format!("bfe.{ty}{width} d, a, b, c;"),
            &format!("{ty}{width} b32 b32 -> {ty}{width}"),
            &cube(&values, &PLACES, &PLACES),
            move |[a, b, c]| {
                // As the ISA writes it: bit by bit, with the sign above.
                let (position, length) = (b & 255, c & 255);
                let top = u64::from(width - 1);
                let sign = if ty == 'u' || length == 0 {
                    0
                } else {
                    a >> (position + length - 1).min(top) & 1
                };
                (0..=top).fold(0, |d, i| {
                    let inside = i < length && position + i <= top;
                    let bit = if inside {
                        a >> (position + i) & 1
                    } else {
                        sign
                    };
                    d | bit << i
                })
            },
        );
    }
    let rows: Vec<[u64; 4]> = pairs(&values)
        .into_iter()
        .step_by(5)
        .flat_map(|[a, b]| pairs(&PLACES).into_iter().map(move |[c, e]| [a, b, c, e]))
        .collect();
    suite.lanes(
        format!("bfi.b{width} d, a, b, c, e;"),
        &format!("b{width} b{width} b32 b32 -> b{width}"),
        &rows,
        move |[a, b, c, e]| {
            let (position, length) = (c & 255, e & 255);
            (0..u64::from(width)).fold(0, |d, i| {
                let inside = i >= position && i < position + length;
                let bit = if inside { a >> (i - position) } else { b >> i } & 1;
                d | bit << i
            })
        },
    );
}

fn masks(suite: &mut Suite) {
    let places = [0, 1, 5, 31, 32, 33, 63, 64, 1000, u64::from(u32::MAX)];
    for mode in ["clamp", "wrap"] {
        let limit = move |x: u64| if mode == "clamp" { x.min(32) } else { x & 31 };
        suite.lanes(
            format!("bmsk.{mode}.b32 d, a, b;"),
            "b32 b32 -> b32",
            &pairs(&places),
            move |[a, b]| {
                let (first, count) = (limit(a), limit(b));
                (0..32)
                    .filter(|i| (first..first + count).contains(i))
                    .map(|i| 1u64 << i)
                    .sum::<u64>()
            },
        );
        for ty in ["u32", "s32"] {
            suite.lanes(
                format!("szext.{mode}.{ty} d, a, b;"),
                &format!("{ty} b32 -> {ty}"),
                &grid(&integers(32), &places),
                move |[a, b]| {
                    let count = limit(b);
                    // The sign of no bits at all is bit 31, as the ISA's index of -1 & 31 says.
                    let sign = ty == "s32" && a >> (count.wrapping_sub(1) & 31) & 1 == 1;
                    (0..32).fold(0, |d, i| {
                        let bit = if i < count {
                            a >> i & 1
                        } else {
                            u64::from(sign)
                        };
                        d | bit << i
                    })
                },
            );
        }
    }
    // From bit `b` on: the c-th one upwards, or downwards when negative.
    let counts: Vec<u64> = (-5i64..=5).chain([32, -32, 33]).map(|x| x as u64).collect();
    suite.lanes(
        "fns.b32 d, a, b, c;",
        "b32 b32 s32 -> b32",
        &cube(&integers(32), &[0, 1, 4, 15, 16, 30, 31], &counts),
        |[a, b, c]| {
            let is_one = |&i: &u64| a >> i & 1 == 1;
            let found = match c as i32 {
                0 => Some(b).filter(is_one),
                n if n > 0 => (b..32).filter(is_one).nth(n as usize - 1),
                n => (0..=b)
                    .rev()
                    .filter(is_one)
                    .nth(n.unsigned_abs() as usize - 1),
            };
            found.unwrap_or(u64::MAX)
        },
    );
}
