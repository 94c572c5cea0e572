//! Branches, ends, asynchronous copies, special registers. PTX ISA 9.7.9.25, 9.7.12 and 10.

use crate::conformance::inputs::{integers, pairs, random};
use crate::conformance::suite::Suite;

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    branches(&mut suite);
    copies(&mut suite);
    specials(&mut suite);
    suite
}

fn branches(suite: &mut Suite) {
    let rows = pairs(&integers(32));
    suite.lanes(
        ".reg .pred less;\nsetp.lt.u32 less, a, b;\n@less bra smaller;\nmov.b32 d, b;\n\
         bra.uni after;\nsmaller:\nmov.b32 d, a;\nafter:",
        "u32 u32 -> b32",
        &rows,
        |[a, b]| a.min(b),
    );
    suite.lanes(
        ".reg .pred less;\nsetp.lt.u32 less, a, b;\n@less mov.b32 d, a;\n@!less mov.b32 d, b;",
        "u32 u32 -> b32",
        &rows,
        |[a, b]| a.min(b),
    );
    // A loop that each lane leaves by itself: Euclid's algorithm.
    let small: Vec<[u64; 2]> = rows.iter().map(|row| row.map(|x| x % 1000 + 1)).collect();
    suite.lanes(
        ".reg .pred done;\n.reg .u32 rest;\nagain:\nrem.u32 rest, a, b;\nmov.u32 a, b;\n\
         mov.u32 b, rest;\nsetp.ne.u32 done, b, 0;\n@done bra again;\nmov.u32 d, a;",
        "u32 u32 -> u32",
        &small,
        |[mut a, mut b]| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        },
    );
    // What a thread stored before it ended stays; the others go on. A trap that no thread
    // reaches does nothing.
    for end in ["exit", "ret", "ret.uni"] {
        let end = if end == "ret.uni" {
            ".reg .pred odd;\nsetp.ne.u32 odd, a, a;\n@odd trap;\n@odd ret.uni;\nmov.u32 d, 2;\nst.global.u32 [dst], d;".to_owned()
        } else {
            format!(
                ".reg .pred odd;\n.reg .u32 bit;\nand.b32 bit, a, 1;\nsetp.eq.u32 odd, bit, 1;\n\
                 mov.u32 d, 1;\nst.global.u32 [dst], d;\n@odd {end};\nmov.u32 d, 2;"
            )
        };
        let ends = end.contains("bit");
        suite.lanes(end, "u32 -> u32", &random::<1>(70, 64, 32), move |[a]| {
            if ends && a % 2 == 1 { 1 } else { 2 }
        });
    }
    // Blocks open scopes of names.
    suite.lanes(
        "{\n.reg .u32 x;\nadd.u32 x, a, 1;\nmov.u32 d, x;\n}\n{\n.reg .u32 x;\nadd.u32 x, a, 2;\n\
         mov.u32 g, x;\n}",
        "u32 -> u32 u32",
        &random::<1>(71, 32, 32),
        |[a]| [a + 1, a + 2],
    );
}

/// Copies to shared memory that are waited for.
fn copies(suite: &mut Suite) {
    let rows = random::<2>(72, 32, 64);
    let forms = [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)];
    for (cache, bytes) in forms {
        let load = match bytes {
            4 => {
                "mov.b64 g, 0;\n.reg .b32 half;\nld.shared.b32 half, [cell];\ncvt.u64.u32 d, half;"
            }
            8 => "mov.b64 g, 0;\nld.shared.b64 d, [cell];",
            _ => "ld.shared.v2.b64 {d, g}, [cell];",
        };
        let kept = move |[a, b]: [u64; 2], count: u32| {
            let whole = u128::from(a) | u128::from(b) << 64;
            let whole = if count == 16 {
                whole
            } else {
                whole & ((1 << (8 * count)) - 1)
            };
            [whole as u64, (whole >> 64) as u64]
        };
        for (space, hint) in [("shared", ""), ("shared::cta", ".L2::128B")] {
            let copy = format!("cp.async.{cache}.{space}.global{hint} [cell], [src], {bytes}");
            for wait in [
                "cp.async.wait_all;",
                "cp.async.commit_group;\ncp.async.wait_group 0;",
                "cp.async.commit_group;\ncp.async.commit_group;\ncp.async.wait_group 1;",
            ] {
                suite.lanes(
                    format!("{copy};\n{wait}\n{load}"),
                    "b64 b64 -> b64 b64",
                    &rows,
                    move |row| kept(row, bytes),
                );
            }
            // Of fewer bytes the rest is zeros; of none nothing is read.
            for count in [0, 1, bytes / 2, bytes] {
                suite.lanes(
                    format!("{copy}, {count};\ncp.async.wait_all;\n{load}"),
                    "b64 b64 -> b64 b64",
                    &rows,
                    move |row| kept(row, count),
                );
            }
        }
    }
}

fn specials(suite: &mut Suite) {
    suite.block(64);
    let sizes = [[]; 192];
    let mut special = |name: &str, f: fn(u64, u64) -> u64| {
        let text = format!("mov.u32 d, {name};\nmov.u32 g, at;");
        suite.blocks(text, "-> u32 u32", &sizes, move |_, thread| {
            crate::conformance::suite::Outcome(vec![
                crate::conformance::suite::Expected::Bits(f(thread as u64, thread as u64 % 32)),
                crate::conformance::suite::Expected::open(),
            ])
        });
    };
    special("%tid.x", |thread, _| thread);
    special("%tid.y", |_, _| 0);
    special("%tid.z", |_, _| 0);
    special("%ntid.x", |_, _| 64);
    special("%ntid.y", |_, _| 1);
    special("%ntid.z", |_, _| 1);
    special("%nctaid.x", |_, _| 3);
    special("%nctaid.y", |_, _| 1);
    special("%nctaid.z", |_, _| 1);
    special("%ctaid.y", |_, _| 0);
    special("%ctaid.z", |_, _| 0);
    special("%laneid", |_, lane| lane);
    special("%lanemask_eq", |_, lane| 1 << lane);
    special("%lanemask_lt", |_, lane| (1 << lane) - 1);
    special("%lanemask_le", |_, lane| (2 << lane) - 1);
    special("%lanemask_gt", |_, lane| !((2 << lane) - 1));
    special("%lanemask_ge", |_, lane| !((1 << lane) - 1));
    special("%dynamic_smem_size", |_, _| 0);
    // The number of a thread follows from that of its block.
    suite.lanes(
        "mov.u32 d, %ctaid.x;\nmad.lo.u32 d, d, 64, tid;\nsub.u32 d, d, at;",
        "-> u32",
        &sizes,
        |[]| 0,
    );
    suite.block(32);
}
