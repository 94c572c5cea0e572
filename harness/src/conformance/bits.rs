//! Counts of bits, bit fields and masks. PTX ISA 9.7.1.

use crate::conformance::inputs::{cube, grid, integers, low, pairs, singles};
use crate::conformance::suite::{Suite, lanes};

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
    // The bits, the lowest first.
    let bits = move |x: u64| (0..width).map(move |i| x >> i & 1);
    lanes! { suite, &rows;
        "popc.b{width}", "b{width} -> b32", |[a]| bits(a).sum::<u64>();
        "clz.b{width}", "b{width} -> b32",
            |[a]| bits(a).rev().take_while(|&bit| bit == 0).count() as u64;
        "brev.b{width}", "b{width} -> b{width}",
            |[a]| bits(a).fold(0u64, |reversed, bit| reversed << 1 | bit);
    }
    for ty in ['u', 's'] {
        // The highest bit that is not a sign.
        let place = move |a: u64| {
            let sign = if ty == 's' { a >> (width - 1) & 1 } else { 0 };
            (0..width).rev().find(|&i| a >> i & 1 != sign)
        };
        lanes! { suite, &rows;
            "bfind.{ty}{width}", "{ty}{width} -> u32", |[a]| place(a).map_or(u64::MAX, u64::from);
            "bfind.shiftamt.{ty}{width}", "{ty}{width} -> u32",
                |[a]| place(a).map_or(u64::MAX, |i| u64::from(width - 1 - i));
        }
    }
}

/// Positions and lengths: their low eight bits count.
const PLACES: [u64; 12] = [0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 255, 0x105];

/// A number with these bits.
fn assemble(width: u64, bit: impl Fn(u64) -> u64) -> u64 {
    (0..width).fold(0, |d, i| d | (bit(i) & 1) << i)
}

fn fields(suite: &mut Suite, width: u32) {
    let (values, bits) = (integers(width), u64::from(width));
    for ty in ['u', 's'] {
        lanes! { suite, &cube(&values, &PLACES, &PLACES);
            "bfe.{ty}{width}", "{ty}{width} b32 b32 -> {ty}{width}", |[a, b, c]| {
                // As the ISA writes it: bit by bit, with the sign above.
                let (position, length) = (b & 255, c & 255);
                let sign = match ty == 'u' || length == 0 {
                    true => 0,
                    false => a >> (position + length - 1).min(bits - 1),
                };
                assemble(bits, |i| match i < length && position + i < bits {
                    true => a >> (position + i),
                    false => sign,
                })
            };
        }
    }
    let places = |[a, b]: [u64; 2]| pairs(&PLACES).into_iter().map(move |[c, e]| [a, b, c, e]);
    let rows = pairs(&values).into_iter().step_by(5).flat_map(places);
    lanes! { suite, &rows.collect::<Vec<_>>();
        "bfi.b{width}", "b{width} b{width} b32 b32 -> b{width}", |[a, b, c, e]| {
            let (position, length) = (c & 255, e & 255);
            assemble(bits, |i| match i >= position && i < position + length {
                true => a >> (i - position),
                false => b >> i,
            })
        };
    }
}

fn masks(suite: &mut Suite) {
    let places = [0, 1, 5, 31, 32, 33, 63, 64, 1000, u64::from(u32::MAX)];
    for mode in ["clamp", "wrap"] {
        let limit = move |x: u64| if mode == "clamp" { x.min(32) } else { x & 31 };
        lanes! { suite, &pairs(&places);
            "bmsk.{mode}.b32", "b32 b32 -> b32", |[a, b]| {
                let (first, count) = (limit(a), limit(b));
                assemble(32, |i| u64::from((first..first + count).contains(&i)))
            };
        }
        for ty in ["u32", "s32"] {
            lanes! { suite, &grid(&integers(32), &places);
                "szext.{mode}.{ty}", "{ty} b32 -> {ty}", |[a, b]| {
                    let count = limit(b);
                    // The sign of no bits at all is bit 31, as the ISA's index of -1 & 31 says.
                    let sign = if ty == "s32" { a >> (count.wrapping_sub(1) & 31) } else { 0 };
                    assemble(32, |i| if i < count { a >> i } else { sign })
                };
            }
        }
    }
    // From bit `b` on: the c-th one upwards, or downwards when negative.
    let counts: Vec<u64> = (-5i64..=5).chain([32, -32, 33]).map(|x| x as u64).collect();
    lanes! { suite, &cube(&integers(32), &[0, 1, 4, 15, 16, 30, 31], &counts);
        "fns.b32", "b32 b32 s32 -> b32", |[a, b, c]| {
            let is_one = |&i: &u64| a >> i & 1 == 1;
            let found = match c as i32 {
                0 => Some(b).filter(is_one),
                n if n > 0 => (b..32).filter(is_one).nth(n as usize - 1),
                n => (0..=b).rev().filter(is_one).nth(n.unsigned_abs() as usize - 1),
            };
            found.unwrap_or(u64::MAX)
        };
    }
}
