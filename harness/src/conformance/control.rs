//! Branches, ends, asynchronous copies, special registers. PTX ISA 9.7.9.25, 9.7.12 and 10.

use crate::conformance::inputs::{integers, pairs, random};
use crate::conformance::suite::{Expected, Suite, lanes};

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    branches(&mut suite);
    copies(&mut suite);
    specials(&mut suite);
    suite
}

fn branches(suite: &mut Suite) {
    let rows = pairs(&integers(32));
    lanes! { suite, &rows;
        ".reg .pred less;\nsetp.lt.u32 less, a, b;\n@less bra smaller;\nmov.b32 d, b;\n\
         bra.uni after;\nsmaller:\nmov.b32 d, a;\nafter:", "u32 u32 -> b32", |[a, b]| a.min(b);
        ".reg .pred less;\nsetp.lt.u32 less, a, b;\n@less mov.b32 d, a;\n@!less mov.b32 d, b;",
        "u32 u32 -> b32", |[a, b]| a.min(b);
    }
    // A loop that each lane leaves by itself: Euclid's algorithm.
    let small: Vec<[u64; 2]> = rows.iter().map(|row| row.map(|x| x % 1000 + 1)).collect();
    lanes! { suite, &small;
        ".reg .pred done;\n.reg .u32 rest;\nagain:\nrem.u32 rest, a, b;\nmov.u32 a, b;\n\
         mov.u32 b, rest;\nsetp.ne.u32 done, b, 0;\n@done bra again;\nmov.u32 d, a;",
        "u32 u32 -> u32", |[mut a, mut b]| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        };
    }
    // What a thread stored before it ended stays; the others go on. A trap that no thread
    // reaches does nothing.
    let rows = random::<1>(70, 64, 32);
    for end in ["exit", "ret"] {
        lanes! { suite, &rows;
            ".reg .pred odd;\n.reg .u32 bit;\nand.b32 bit, a, 1;\nsetp.eq.u32 odd, bit, 1;\n\
             mov.u32 d, 1;\nst.global.u32 [dst], d;\n@odd {end};\nmov.u32 d, 2;",
            "u32 -> u32", |[a]| if a % 2 == 1 { 1u64 } else { 2 };
        }
    }
    lanes! { suite, &rows;
        ".reg .pred odd;\nsetp.ne.u32 odd, a, a;\n@odd trap;\n@odd ret.uni;\nmov.u32 d, 2;\n\
         st.global.u32 [dst], d;", "u32 -> u32", |_| 2u64;
    }
    // Blocks open scopes of names.
    lanes! { suite, &random::<1>(71, 32, 32);
        "{{\n.reg .u32 x;\nadd.u32 x, a, 1;\nmov.u32 d, x;\n}}\n\
         {{\n.reg .u32 x;\nadd.u32 x, a, 2;\nmov.u32 g, x;\n}}",
        "u32 -> u32 u32", |[a]| [a + 1, a + 2];
    }
}

/// Copies to shared memory that are waited for.
fn copies(suite: &mut Suite) {
    let rows = random::<2>(72, 32, 64);
    for (cache, bytes) in [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)] {
        let load = match bytes {
            4 => {
                "mov.b64 g, 0;\n.reg .b32 half;\nld.shared.b32 half, [cell];\ncvt.u64.u32 d, half;"
            }
            8 => "mov.b64 g, 0;\nld.shared.b64 d, [cell];",
            _ => "ld.shared.v2.b64 {d, g}, [cell];",
        };
        let kept = |[a, b]: [u64; 2], count: u32| {
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
            lanes! { suite, &rows;
                "{copy};\ncp.async.wait_all;\n{load}", "b64 b64 -> b64 b64", |row| kept(row, bytes);
                "{copy};\ncp.async.commit_group;\ncp.async.wait_group 0;\n{load}",
                "b64 b64 -> b64 b64", |row| kept(row, bytes);
                "{copy};\ncp.async.commit_group;\ncp.async.commit_group;\n\
                 cp.async.wait_group 1;\n{load}", "b64 b64 -> b64 b64", |row| kept(row, bytes);
            }
            // Of fewer bytes the rest is zeros; of none nothing is read.
            for count in [0, 1, bytes / 2, bytes] {
                lanes! { suite, &rows;
                    "{copy}, {count};\ncp.async.wait_all;\n{load}", "b64 b64 -> b64 b64",
                        |row| kept(row, count);
                }
            }
        }
    }
}

fn specials(suite: &mut Suite) {
    suite.block(64);
    let sizes = [[]; 192];
    // By the number of the thread in its block.
    type Value = fn(u64) -> u64;
    let registers: [(&str, Value); 18] = [
        ("%tid.x", |thread| thread),
        ("%tid.y", |_| 0),
        ("%tid.z", |_| 0),
        ("%ntid.x", |_| 64),
        ("%ntid.y", |_| 1),
        ("%ntid.z", |_| 1),
        ("%nctaid.x", |_| 3),
        ("%nctaid.y", |_| 1),
        ("%nctaid.z", |_| 1),
        ("%ctaid.y", |_| 0),
        ("%ctaid.z", |_| 0),
        ("%laneid", |thread| thread % 32),
        ("%lanemask_eq", |thread| 1 << (thread % 32)),
        ("%lanemask_lt", |thread| (1 << (thread % 32)) - 1),
        ("%lanemask_le", |thread| (2 << (thread % 32)) - 1),
        ("%lanemask_gt", |thread| !((2 << (thread % 32)) - 1)),
        ("%lanemask_ge", |thread| !((1 << (thread % 32)) - 1)),
        ("%dynamic_smem_size", |_| 0),
    ];
    for (name, f) in registers {
        let text = format!("mov.u32 d, {name};\nmov.u32 g, at;");
        suite.blocks(text, "-> u32 u32", &sizes, move |_, thread| {
            vec![Expected::Bits(f(thread as u64)), Expected::open()]
        });
    }
    // The number of a thread follows from that of its block.
    lanes! { suite, &sizes;
        "mov.u32 d, %ctaid.x;\nmad.lo.u32 d, d, 64, tid;\nsub.u32 d, d, at;", "-> u32", |[]| 0u64;
    }
    suite.block(32);
}
