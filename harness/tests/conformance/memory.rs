//! Loads and stores, in all state spaces. PTX ISA 9.7.9.8 and following.

use crate::inputs::{low, random};
use crate::integer::value;
use crate::suite::{INPUTS, OUTPUTS, Suite};

const TYPES: [&str; 14] = [
    "b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64",
];

fn bits(ty: &str) -> u32 {
    crate::suite::register_bits(ty)
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for ty in TYPES {
        scalar(&mut suite, ty);
        vectors(&mut suite, ty);
        variables(&mut suite, ty);
    }
    orders(&mut suite);
    wide_vectors(&mut suite);
    parameters(&mut suite);
    addresses(&mut suite);
    suite
}

/// A register for a type, as wide as it or wider.
fn registers(ty: &str) -> Vec<String> {
    let class = if ty.starts_with('f') { 'f' } else { 'b' };
    let widths = [16, 32, 64].into_iter().filter(|&width| width >= bits(ty));
    match class {
        'f' => vec![ty.to_owned()],
        _ => widths.map(|width| format!("b{width}")).collect(),
    }
}

/// What a register of at least the type's width holds of loaded bits.
fn extended(ty: &str, loaded: u64) -> u64 {
    let bits = bits(ty);
    if ty.starts_with('s') {
        value(&format!("s{bits}"), loaded) as u64
    } else {
        low(loaded, bits)
    }
}

fn scalar(suite: &mut Suite, ty: &'static str) {
    let rows = random::<1>(20, 32, 64);
    for register in registers(ty) {
        let signature = format!("b64 -> {register}");
        let mut load = |text: String| {
            suite.lanes(text, &signature, &rows, move |[a]| extended(ty, a));
        };
        // Each of the spaces and the cache operators.
        for middle in [
            "",
            ".global",
            ".global.nc",
            ".volatile.global",
            ".relaxed.gpu.global",
            ".acquire.sys.global",
            ".weak.global",
        ] {
            load(format!("ld{middle}.{ty} d, [src];"));
        }
        for hint in ["ca", "cg", "cs", "lu", "cv"] {
            load(format!("ld.global.{hint}.{ty} d, [src];"));
        }
        load(format!("ldu.global.{ty} d, [src];"));
        load(format!("ld.global.L1::no_allocate.{ty} d, [src];"));
        load(format!(
            "ld.global.nc.L1::evict_last.L2::128B.{ty} d, [src];"
        ));
        load(format!(
            "st.shared.b64 [cell], a;\nld.shared.{ty} d, [cell];"
        ));
        load(format!(
            "st.volatile.shared.b64 [cell], a;\nld.volatile.shared.{ty} d, [cell];"
        ));
        load(format!(
            ".local .align 8 .b8 mine[8];\nst.local.b64 [mine], a;\nld.local.{ty} d, [mine];"
        ));

        // A store changes its own bytes only.
        let signature = format!("{register} b64 -> b64");
        let rows = random::<2>(21, 32, 64);
        let mut store = |text: String| {
            suite.lanes(text, &signature, &rows, move |[a, b]| {
                let mask = u64::MAX >> (64 - bits(ty));
                b & !mask | a & mask
            });
        };
        for middle in [
            "",
            ".global",
            ".volatile.global",
            ".relaxed.gpu.global",
            ".release.gpu.global",
            ".weak.global",
            ".global.wb",
            ".global.cg",
            ".global.cs",
            ".global.wt",
            ".global.L1::evict_first",
        ] {
            let ordered = middle.contains("re");
            let [first, last] = [if ordered { ".relaxed.gpu" } else { "" }; 2];
            store(format!(
                "st{first}.global.b64 [tmp], b;\nst{middle}.{ty} [tmp], a;\nld{last}.global.b64 d, [tmp];"
            ));
        }
        store(format!(
            "st.shared.b64 [cell], b;\nst.shared.{ty} [cell], a;\nld.shared.b64 d, [cell];"
        ));
        store(format!(
            ".local .align 8 .b8 mine[8];\nst.local.b64 [mine], b;\nst.local.{ty} [mine], a;\n\
             ld.local.b64 d, [mine];"
        ));
    }
}

/// Vectors of two and four elements of up to 16 bytes.
fn vectors(suite: &mut Suite, ty: &'static str) {
    let register = registers(ty).remove(0);
    for count in [2usize, 4] {
        let bytes = bits(ty) as usize / 8;
        if count * bytes > 16 {
            continue;
        }
        // Element `k` of what lies in two words of 64 bits.
        let element = move |words: [u64; 2], k: usize| {
            let whole = u128::from(words[0]) | u128::from(words[1]) << 64;
            extended(ty, (whole >> (8 * bytes * k)) as u64)
        };
        let list = |names: &[&str]| names[..count].join(", ");
        let rows = random::<2>(22, 32, 64);
        let results = vec![register.as_str(); count].join(" ");
        for middle in [
            ".global",
            ".global.nc",
            ".global.cg",
            ".volatile.global",
            "",
        ] {
            suite.lanes(
                format!("ld{middle}.v{count}.{ty} {{{}}}, [src];", list(&OUTPUTS)),
                &format!("b64 b64 -> {results}"),
                &rows,
                move |words| {
                    crate::suite::Outcome(
                        (0..count)
                            .map(|k| crate::suite::Expected::Bits(element(words, k)))
                            .collect(),
                    )
                },
            );
        }
        // Stores: four elements from as many registers, over what was there.
        let rows = random::<4>(23, 32, 64);
        let sources = vec![register.as_str(); 4].join(" ");
        for (space, place) in [(".global", "tmp"), (".shared", "cell"), ("", "tmp")] {
            let other = if space.is_empty() { ".global" } else { space };
            suite.lanes(
                format!(
                    "st{other}.b64 [{place}], 0;\nst{other}.b64 [{place}+8], 0;\n\
                     st{space}.v{count}.{ty} [{place}], {{{}}};\n\
                     ld{other}.v2.b64 {{d, g}}, [{place}];",
                    list(&INPUTS)
                ),
                &format!("{sources} -> b64 b64"),
                &rows,
                move |row| {
                    let all = row[..count].iter().rev();
                    let whole = all.fold(0u128, |whole, &x| {
                        whole.checked_shl(8 * bytes as u32).unwrap_or(0)
                            | u128::from(low(x, bits(ty)))
                    });
                    [whole as u64, (whole >> 64) as u64]
                },
            );
        }
    }
}

/// Constants with initial values, and addresses of variables with offsets.
fn variables(suite: &mut Suite, ty: &'static str) {
    // The table holds 11, 22, 33 and 44 as words of 32 bits.
    let bytes: Vec<u8> = [11u32, 22, 33, 44]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let size = bits(ty) as usize / 8;
    let element = move |at: usize| {
        let bytes = bytes[at..at + size].iter().rev();
        extended(ty, bytes.fold(0, |all, &byte| all << 8 | u64::from(byte)))
    };
    for register in registers(ty) {
        let element = element.clone();
        suite.lanes(
            format!(
                ".reg .b64 at64;\nmov.u64 at64, table;\nld.const.{ty} d, [table+8];\n\
                 ld.const.{ty} g, [at64];"
            ),
            &format!("-> {register} {register}"),
            &[[]; 32],
            move |[]| [element(8), element(0)],
        );
    }
}

/// 32 bytes at once, on sm_100 and later.
fn wide_vectors(suite: &mut Suite) {
    suite.target("sm_100a");
    let rows = random::<4>(24, 32, 64);
    suite.lanes(
        "ld.global.v4.b64 {d, g, h, i}, [src];",
        "b64 b64 b64 b64 -> b64 b64 b64 b64",
        &rows,
        |row| row,
    );
    suite.lanes(
        ".reg .b32 w<4>;\nld.global.v8.b32 {w0, d, w1, g, w2, h, w3, i}, [src];",
        "b64 b64 b64 b64 -> b32 b32 b32 b32",
        &rows,
        |row| row.map(|x| x >> 32),
    );
    suite.lanes(
        "st.global.v4.b64 [tmp], {e, c, b, a};\nld.global.v4.b64 {d, g, h, i}, [tmp];",
        "b64 b64 b64 b64 -> b64 b64 b64 b64",
        &rows,
        |[a, b, c, e]| [e, c, b, a],
    );
    suite.target("sm_80");
}

/// What orders accesses changes no value.
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
        let text = format!("st.global.b32 [tmp], a;\n{fence};\nld.global.b32 d, [tmp];");
        suite.lanes(text, "b32 -> b32", &rows, |[a]| a);
    }
    suite.target("sm_90");
    for wait in ["griddepcontrol.wait", "griddepcontrol.launch_dependents"] {
        suite.lanes(
            format!("{wait};\nmov.b32 d, a;"),
            "b32 -> b32",
            &rows,
            |[a]| a,
        );
    }
    suite.target("sm_80");
}

/// A parameter is what the launch gives: here the place of the inputs.
fn parameters(suite: &mut Suite) {
    let rows = random::<1>(26, 32, 64);
    for space in ["param", "param::entry"] {
        let text = format!(
            ".reg .b64 first;\n.reg .b32 parts<2>;\nld.{space}.v2.b32 {{parts0, parts1}}, [p_src];\n\
             mov.b64 first, {{parts0, parts1}};\nmad.wide.u32 first, tid, 8, first;\n\
             ld.global.b64 d, [first];\nld.{space}.b32 g, [p_src];\nld.{space}.b32 h, [p_src+4];\n\
             sub.u32 g, g, parts0;\nsub.u32 h, h, parts1;"
        );
        suite.lanes(text, "b64 -> b64 b32 b32", &rows, |[a]| [a, 0, 0]);
    }
}

/// Generic addresses of each space, and back.
fn addresses(suite: &mut Suite) {
    let rows = random::<1>(27, 32, 64);
    suite.lanes(
        ".reg .b64 at64, back;\ncvta.to.global.u64 at64, tmp;\nst.global.b64 [at64], a;\n\
         cvta.global.u64 back, at64;\nld.b64 d, [back];\nsub.s64 g, back, tmp;",
        "b64 -> b64 b64",
        &rows,
        |[a]| [a, 0],
    );
    for space in ["shared", "shared::cta"] {
        suite.lanes(
            format!(
                ".reg .b64 at64, back;\ncvt.u64.u32 at64, cell;\ncvta.{space}.u64 back, at64;\n\
                 st.b64 [back+8], a;\nld.{space}.b64 d, [cell+8];\ncvta.to.{space}.u64 back, back;\n\
                 sub.s64 g, back, at64;"
            ),
            "b64 -> b64 b64",
            &rows,
            |[a]| [a, 0],
        );
    }
    suite.lanes(
        ".local .align 8 .b8 mine[16];\n.reg .b64 at64, back;\nmov.u64 at64, mine;\n\
         cvta.local.u64 back, at64;\nst.b64 [back+8], a;\nld.local.b64 d, [mine+8];\n\
         cvta.to.local.u64 back, back;\nsub.s64 g, back, at64;",
        "b64 -> b64 b64",
        &rows,
        |[a]| [a, 0],
    );
    suite.lanes(
        ".reg .b64 at64;\nmov.u64 at64, table;\ncvta.const.u64 at64, at64;\nld.b32 d, [at64+4];\n\
         ld.const.b32 g, [table+8];\nld.const.v4.u32 {d, g, h, i}, [table];\n\
         ld.b32 d, [at64+4];",
        "b64 -> b32 b32 b32 b32",
        &rows,
        |_| [22, 22, 33, 44],
    );
}
