//! Fences, parameters, and generic addresses. PTX ISA 6, 9.7.9.20 and 9.7.13.

use crate::conformance::inputs::random;
use crate::conformance::memory::{TYPES, bits};
use crate::conformance::suite::{Expected, OUTPUTS, Suite, lanes};

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    orders(&mut suite);
    parameters(&mut suite);
    addresses(&mut suite);
    suite
}

/// Fences change no value.
fn orders(suite: &mut Suite) {
    let rows = random::<1>(25, 32, 32);
    for fence in [
        "membar.cta",
        "membar.gl",
        "membar.sys",
        "fence.acq_rel.cta",
        "fence.acq_rel.gpu",
        "fence.acq_rel.sys",
        "fence.sc.cta",
        "fence.sc.gpu",
        "fence.sc.sys",
        "nanosleep.u32 20",
        "prefetch.global.L1 [src]",
        "prefetch.global.L2 [src]",
        "prefetch.L1 [src]",
        "prefetchu.L1 [src]",
    ] {
        lanes! { suite, &rows;
            "st.global.b32 [tmp], a;\n{fence};\nld.global.b32 d, [tmp];", "b32 -> b32", |[a]| a;
        }
    }
    suite.target("sm_90");
    lanes! { suite, &rows;
        "griddepcontrol.wait;\nmov.b32 d, a;", "b32 -> b32", |[a]| a;
        "griddepcontrol.launch_dependents;\nmov.b32 d, a;", "b32 -> b32", |[a]| a;
    }
    suite.target("sm_80");
}

/// A parameter is what the launch gives: here the place of the inputs, of which each type sees a
/// part. It is compared with what a store to memory makes of the same bits.
fn parameters(suite: &mut Suite) {
    let rows = random::<1>(26, 32, 64);
    lanes! { suite, &rows;
        ".reg .b64 first;\nld.param::entry.b64 first, [p_src];\n\
         mad.wide.u32 first, at, 8, first;\nld.global.b64 d, [first];", "b64 -> b64", |[a]| a;
    }
    for ty in TYPES {
        let (register, compared, equal) = match bits(ty) {
            _ if ty.starts_with('f') => (ty.to_owned(), ty.to_owned(), "equ"),
            8 => ("b16".to_owned(), "b16".to_owned(), "eq"),
            bits => (ty.to_owned(), format!("b{bits}"), "eq"),
        };
        for count in [1, 2, 4].into_iter().filter(|count| count * bits(ty) <= 64) {
            let count = count as usize;
            let list = |name: &str| {
                let all: Vec<String> = (0..count).map(|k| format!("{name}{k}")).collect();
                if count == 1 {
                    all[0].clone()
                } else {
                    format!("{{{}}}", all.join(", "))
                }
            };
            let (stored, loaded) = (list("x"), list("y"));
            let vector = if count == 1 {
                String::new()
            } else {
                format!(".v{count}")
            };
            let compare =
                |k: usize| format!("setp.{equal}.{compared} {}, x{k}, y{k};\n", OUTPUTS[k]);
            let compares: String = (0..count).map(compare).collect();
            let results = vec!["pred"; count].join(" ");
            lanes! { suite, &rows;
                ".reg .b64 whole;\n.reg .{register} x<4>;\n\
                 ld.param.b64 whole, [p_src];\nst.global.b64 [tmp], whole;\n\
                 ld.global{vector}.{ty} {stored}, [tmp];\n\
                 .reg .{register} y<4>;\nld.param{vector}.{ty} {loaded}, [p_src];\n{compares}",
                "b64 -> {results}",
                    |_| (0..count).map(|_| Expected::Bits(1)).collect::<Vec<_>>();
            }
        }
    }
}

/// Generic addresses of each space, and back.
fn addresses(suite: &mut Suite) {
    let rows = random::<1>(27, 32, 64);
    lanes! { suite, &rows;
        ".reg .b64 at64, back;\ncvta.to.global.u64 at64, tmp;\nst.global.b64 [at64], a;\n\
         cvta.global.u64 back, at64;\nld.b64 d, [back];\nsub.s64 g, back, tmp;",
        "b64 -> b64 b64", |[a]| [a, 0];
    }
    for space in ["shared", "shared::cta"] {
        lanes! { suite, &rows;
            ".reg .b64 at64, back;\ncvt.u64.u32 at64, cell;\ncvta.{space}.u64 back, at64;\n\
             st.b64 [back+8], a;\nld.{space}.b64 d, [cell+8];\ncvta.to.{space}.u64 back, back;\n\
             sub.s64 g, back, at64;",
            "b64 -> b64 b64", |[a]| [a, 0];
        }
    }
    lanes! { suite, &rows;
        ".local .align 8 .b8 mine[16];\n.reg .b64 at64, back;\nmov.u64 at64, mine;\n\
         cvta.local.u64 back, at64;\nst.b64 [back+8], a;\nld.local.b64 d, [mine+8];\n\
         cvta.to.local.u64 back, back;\nsub.s64 g, back, at64;",
        "b64 -> b64 b64", |[a]| [a, 0];
        // A variable with an offset is an operand.
        ".local .align 8 .b8 mine[16];\n.reg .b64 at64;\nst.local.b64 [mine+8], a;\n\
         mov.u64 at64, mine+8;\nld.local.b64 d, [at64];", "b64 -> b64", |[a]| a;
        // The inputs lie where a parameter says, whose address is a generic one too.
        ".reg .b64 place, back;\ncvta.param.u64 place, p_src;\nld.b64 back, [place];\n\
         cvta.to.param.u64 place, place;\nld.param.b64 place, [place];\nsub.s64 g, back, place;\n\
         mad.wide.u32 back, at, 8, back;\nld.b64 d, [back];",
        "b64 -> b64 b64", |[a]| [a, 0];
        ".reg .b64 at64, back;\nmov.u64 at64, table;\ncvta.const.u64 back, at64;\n\
         cvta.to.const.u64 back, back;\nsub.s64 d, back, at64;",
        "b64 -> b64", |_| 0u64;
        ".reg .b64 at64;\nmov.u64 at64, table;\ncvta.const.u64 at64, at64;\nld.b32 d, [at64+4];\n\
         ld.const.b32 g, [table+8];\nld.const.v4.u32 {{d, g, h, i}}, [table];\n\
         ld.b32 d, [at64+4];",
        "b64 -> b32 b32 b32 b32", |_| [22u64, 22, 33, 44];
    }
}
