//! Operations over threads: shuffles, votes, matches, reductions, barriers. PTX ISA 9.7.9.6,
//! 9.7.13.

use crate::conformance::inputs::{Random, low, random};
use crate::conformance::integer::value;
use crate::conformance::suite::{Expected, Suite, blocks};

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    shuffles(&mut suite);
    votes(&mut suite);
    matches(&mut suite);
    reductions(&mut suite);
    elections(&mut suite);
    barriers(&mut suite);
    suite
}

const ALL: u64 = 0xffff_ffff;

/// The lane `distance` away from another, of the warp as a whole.
fn away(mode: &str, lane: usize, distance: i64) -> i64 {
    let lane = lane as i64;
    match mode {
        "up" => lane - distance,
        "down" => lane + distance,
        "bfly" => lane ^ distance,
        _ => distance,
    }
}

/// Every mode, for each width of segments and every distance.
fn shuffles(suite: &mut Suite) {
    let rows = random::<1>(40, 32, 32);
    let distances: Vec<[u64; 2]> = (0..32).map(|i| [1000 + i, (i * 7 + 3) % 32]).collect();
    for mode in ["up", "down", "bfly", "idx"] {
        // Segments are those lanes whose upper bits agree; what is clamped to is the first lane of
        // one when going up, else the last.
        let clamp = if mode == "up" { 0 } else { 31 };
        let within = move |lane: usize, width: usize, distance: usize| {
            let first = lane / width * width;
            let from = match mode {
                "idx" => (first + distance % width) as i64,
                _ => away(mode, lane, distance as i64),
            };
            let is_inside = match mode {
                "up" => from >= first as i64,
                _ => from < (first + width) as i64,
            };
            is_inside.then_some(from as usize)
        };
        for width in [1, 2, 4, 8, 16, 32] {
            for distance in 0..32 {
                let control = (32 - width) << 8 | clamp;
                blocks! { suite, &rows;
                    "shfl.sync.{mode}.b32 d|g, a, {distance}, {control:#x}, 0xffffffff;",
                    "b32 -> b32 pred",
                        |warp, lane| {
                            let from = within(lane, width, distance);
                            [warp[from.unwrap_or(lane)][0], u64::from(from.is_some())]
                        };
                }
            }
        }
        // Distances that differ from lane to lane, and a clamp inside the segment.
        blocks! { suite, &distances;
            "shfl.sync.{mode}.b32 d|g, a, b, 0x000c, 0xffffffff;", "b32 b32 -> b32 pred",
                |warp, lane| {
                    let from = away(mode, lane, warp[lane][1] as i64);
                    let is_inside = if mode == "up" { from >= 12 } else { from <= 12 };
                    let from = if is_inside { from as usize } else { lane };
                    [warp[from][0], u64::from(is_inside)]
                };
        }
        let control = 0x1c << 8 | clamp;
        blocks! { suite, &distances;
            "mov.b32 d, a;\nshfl.sync.{mode}.b32 d, a, 1, {control:#x}, 0xffffffff;",
            "b32 b32 -> b32",
                |warp, lane| warp[within(lane, 4, 1).unwrap_or(lane)][0];
        }
    }
    // Only the even lanes, and a mask that is computed.
    let rows = random::<1>(41, 32, 32);
    blocks! { suite, &rows;
        ".reg .pred even;\n.reg .b32 bit, mask;\nand.b32 bit, tid, 1;\nsetp.eq.u32 even, bit, 0;\n\
         mov.b32 mask, 0x55555555;\nmov.b32 d, 7;\n\
         @even shfl.sync.bfly.b32 d, a, 2, 0x1f, mask;", "b32 -> b32",
            |warp, lane| if lane % 2 == 0 { warp[lane ^ 2][0] } else { 7 };
    }
}

/// Whether a lane is in a mask.
fn has(mask: u64, lane: usize) -> bool {
    mask >> lane & 1 == 1
}

/// The lanes of a mask.
fn lanes_of(mask: u64) -> impl Iterator<Item = usize> {
    (0..32).filter(move |&lane| has(mask, lane))
}

/// Masks, each lane of which takes part; the others do not reach the instruction.
const MASKS: [u64; 4] = [ALL, 1, 0x8000_0001, 0x00ff_0f05];

/// Runs `text` for the lanes of a mask, and leaves 7 with the others.
fn masked(mask: u64, text: &str, prepare: &str) -> String {
    format!(
        ".reg .pred inside;\n.reg .b32 bit;\nmov.b32 bit, 1;\nshl.b32 bit, bit, tid;\n\
         and.b32 bit, bit, {mask:#x};\nsetp.ne.b32 inside, bit, 0;\n{prepare}\n\
         @!inside bra after;\n{text}\nafter:"
    )
}

fn votes(suite: &mut Suite) {
    let mut random = Random(42);
    for mask in MASKS {
        let some = random.bits();
        for ballot in [0, ALL, some, 1 << 31, mask, !mask] {
            let rows: Vec<[u64; 1]> = (0..32).map(|lane| [ballot >> lane & 1]).collect();
            for (sign, negation) in [("", 0), ("!", ALL)] {
                let votes = (ballot ^ negation) & mask;
                for (mode, outcome) in [
                    ("all", votes == mask),
                    ("any", votes != 0),
                    ("uni", votes == mask || votes == 0),
                ] {
                    let text = format!("vote.sync.{mode}.pred d, {sign}a, {mask:#x};");
                    let prepare = "setp.ne.b32 d, 0, 0;";
                    let text = masked(mask, &text, prepare);
                    suite.blocks(text, "pred -> pred", &rows, move |_, lane| {
                        has(mask, lane) && outcome
                    });
                }
                let text = format!("vote.sync.ballot.b32 d, {sign}a, {mask:#x};");
                let text = masked(mask, &text, "mov.b32 d, 7;");
                suite.blocks(text, "pred -> b32", &rows, move |_, lane| {
                    if has(mask, lane) { votes } else { 7 }
                });
            }
        }
        let text = masked(mask, "activemask.b32 d;", "mov.b32 d, 7;");
        suite.blocks(text, "-> b32", &[[]; 32], move |_, lane| {
            if has(mask, lane) { mask } else { 7 }
        });
    }
}

fn matches(suite: &mut Suite) {
    for (ty, bits) in [("b32", 32), ("b64", 64)] {
        for kinds in [1, 3, 32] {
            let mut random = Random(43);
            // Values that differ in their upper bits alone.
            let rows: Vec<[u64; 1]> = (0..32)
                .map(|_| [low(5 | random.below(kinds) << (bits - 6), bits)])
                .collect();
            for mask in MASKS {
                let equal = move |warp: &[[u64; 1]], lane: usize| {
                    let same = lanes_of(mask).filter(|&other| warp[other] == warp[lane]);
                    same.fold(0u64, |lanes, other| lanes | 1 << other)
                };
                let text = format!("match.any.sync.{ty} d, a, {mask:#x};");
                let text = masked(mask, &text, "mov.b32 d, 7;");
                suite.blocks(text, &format!("{ty} -> b32"), &rows, move |warp, lane| {
                    if has(mask, lane) {
                        equal(warp, lane)
                    } else {
                        7
                    }
                });
                for (result, signature) in [("d|g", "b32 pred"), ("d", "b32 b32")] {
                    let prepare = match result {
                        "d" => "mov.b32 d, 7;\nmov.b32 g, 0;",
                        _ => "mov.b32 d, 7;\nsetp.ne.b32 g, 0, 0;",
                    };
                    let text = format!("match.all.sync.{ty} {result}, a, {mask:#x};");
                    let text = masked(mask, &text, prepare);
                    let signature = format!("{ty} -> {signature}");
                    suite.blocks(text, &signature, &rows, move |warp, lane| {
                        let are_equal = equal(warp, lanes_of(mask).next().unwrap_or(0)) == mask;
                        match has(mask, lane) {
                            true => [
                                if are_equal { mask } else { 0 },
                                u64::from(are_equal && result != "d"),
                            ],
                            false => [7, 0],
                        }
                    });
                }
            }
        }
    }
}

fn reductions(suite: &mut Suite) {
    type Reduce = fn(i128, i128) -> i128;
    let operations: [(&str, &[&str], Reduce); 6] = [
        ("add", &["u32", "s32"], |a, b| a + b),
        ("min", &["u32", "s32"], std::cmp::min),
        ("max", &["u32", "s32"], std::cmp::max),
        ("and", &["b32"], |a, b| a & b),
        ("or", &["b32"], |a, b| a | b),
        ("xor", &["b32"], |a, b| a ^ b),
    ];
    for (op, types, reduce) in operations {
        for &ty in types {
            for mask in MASKS {
                let rows = random::<1>(44 + mask, 64, 32);
                let text = format!("redux.sync.{op}.{ty} d, a, {mask:#x};");
                let text = masked(mask, &text, "mov.b32 d, 7;");
                let number = if ty == "b32" { "u32" } else { ty };
                suite.blocks(text, &format!("{ty} -> {ty}"), &rows, move |warp, lane| {
                    let values = lanes_of(mask).map(|lane| value(number, warp[lane][0]));
                    let reduced = values.reduce(reduce).expect("some lanes");
                    if has(mask, lane) { reduced as u64 } else { 7 }
                });
            }
        }
    }
}

/// One lane of the mask is elected, the same for all.
fn elections(suite: &mut Suite) {
    suite.target("sm_90");
    for mask in MASKS {
        let text = format!(
            "elect.sync d|g, {mask:#x};\n.reg .b32 votes;\nvote.sync.ballot.b32 h, g, {mask:#x};"
        );
        let text = masked(
            mask,
            &text,
            "mov.b32 d, 7;\nsetp.ne.b32 g, 0, 0;\nmov.b32 h, 0;",
        );
        suite.blocks(text, "-> b32 pred b32", &[[]; 32], move |_, lane| {
            let is_inside = has(mask, lane);
            // PTX leaves open which one it is.
            let is_one = move |d: u64| match is_inside {
                true => d < 32 && mask >> d & 1 == 1,
                false => d == 7,
            };
            vec![
                Expected::matching("a lane of the mask", is_one),
                Expected::matching("a predicate", move |g| g == 0 || is_inside && g == 1),
                Expected::matching("one lane of the mask", move |votes| match is_inside {
                    true => votes.count_ones() == 1 && votes & mask == votes,
                    false => votes == 0,
                }),
            ]
        });
    }
    suite.target("sm_80");
}

/// What one thread writes before a barrier, another reads after it.
fn barriers(suite: &mut Suite) {
    suite.block(128);
    let rows = random::<1>(46, 128, 32);
    let next = |distance: u32| {
        format!(
            ".reg .b32 other;\nadd.u32 other, tid, {distance};\nand.b32 other, other, 127;\n\
             mul.lo.u32 other, other, 32;\n.reg .b32 from;\nmov.b32 from, tile;\n\
             add.u32 other, other, from;\nst.shared.b32 [cell], a;"
        )
    };
    for wait in [
        "bar.sync 0;",
        "bar.sync 1, 128;",
        "bar.cta.sync 15;",
        "barrier.sync 2;",
        "barrier.cta.sync 3, 128;",
        "barrier.sync.aligned 4;",
        "barrier.cta.sync.aligned 5, 128;",
    ] {
        let text = format!("{}\n{wait}\nld.shared.b32 d, [other];", next(33));
        suite.blocks(text, "b32 -> b32", &rows, |block, thread| {
            block[(thread + 33) % 128][0]
        });
    }
    // The first two warps write and arrive; the others wait and read.
    for arrive in [
        "bar.arrive",
        "barrier.arrive",
        "barrier.cta.arrive",
        "barrier.arrive.aligned",
    ] {
        let wait = if arrive.contains("aligned") || arrive == "bar.arrive" {
            "bar.sync"
        } else {
            "barrier.sync"
        };
        let text = format!(
            "{}\n.reg .pred first;\nsetp.lt.u32 first, tid, 64;\nmov.b32 d, 0;\n\
             @first bra arrives;\n{wait} 6, 128;\nld.shared.b32 d, [other];\nbra.uni after;\n\
             arrives:\n{arrive} 6, 128;\nafter:",
            next(64)
        );
        suite.blocks(text, "b32 -> b32", &rows, |block, thread| {
            match thread < 64 {
                true => 0,
                false => block[thread - 64][0],
            }
        });
    }
    suite.block(32);
    let text = ".reg .b32 other;\nxor.b32 other, cell, 32;\nst.shared.b32 [cell], a;\n\
                bar.warp.sync 0xffffffff;\nld.shared.b32 d, [other];";
    let rows = random::<1>(47, 32, 32);
    suite.blocks(text, "b32 -> b32", &rows, |warp, lane| warp[lane ^ 1][0]);
}
