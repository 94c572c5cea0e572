//! Loads and stores, in all state spaces. PTX ISA 9.7.9.8 and following.

use crate::inputs::{low, random};
use crate::integer::value;
use crate::suite::{Expected, INPUTS, OUTPUTS, Outcome, Suite};

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
        for space in ["shared", "shared::cta"] {
            load(format!(
                "st.{space}.b64 [cell], a;\nld.{space}.{ty} d, [cell];"
            ));
        }
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
        for space in ["shared", "shared::cta"] {
            store(format!(
                "st.{space}.b64 [cell], b;\nst.{space}.{ty} [cell], a;\nld.{space}.b64 d, [cell];"
            ));
        }
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
        let elements = move |words| {
            Outcome(
                (0..count)
                    .map(|k| Expected::Bits(element(words, k)))
                    .collect(),
            )
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
                move |words| elements(words),
            );
        }
        let (mine, loads) = (".local .align 16 .b8 mine[16];", list(&OUTPUTS));
        for (space, place, prepare) in [
            ("shared", "cell", ""),
            ("shared::cta", "cell", ""),
            ("local", "mine", mine),
        ] {
            suite.lanes(
                format!(
                    "{prepare}st.{space}.v2.b64 [{place}], {{a, b}};\n\
                     ld.{space}.v{count}.{ty} {{{loads}}}, [{place}];"
                ),
                &format!("b64 b64 -> {results}"),
                &rows,
                move |words| elements(words),
            );
        }
        let table = [11 | 22 << 32, 33 | 44 << 32];
        suite.lanes(
            format!("ld.const.v{count}.{ty} {{{loads}}}, [table];"),
            &format!("-> {results}"),
            &[[]; 32],
            move |[]| elements(table),
        );
        // Stores: four elements from as many registers, over what was there.
        let rows = random::<4>(23, 32, 64);
        let sources = vec![register.as_str(); 4].join(" ");
        for (space, place, prepare) in [
            (".global", "tmp", ""),
            (".shared", "cell", ""),
            (".shared::cta", "cell", ""),
            (".local", "mine", mine),
            ("", "tmp", ""),
        ] {
            let other = if space.is_empty() { ".global" } else { space };
            suite.lanes(
                format!(
                    "{prepare}st{other}.b64 [{place}], 0;\nst{other}.b64 [{place}+8], 0;\n\
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
    let words = ".reg .b32 w<4>;\nmov.b64 {w0, w1}, a;\nmov.b64 {w2, w3}, e;";
    for middle in ["", ".global"] {
        for ty in ["b64", "u64", "s64", "f64"] {
            suite.lanes(
                format!(
                    "st{middle}.v4.{ty} [tmp], {{e, c, b, a}};\n\
                     ld{middle}.v4.{ty} {{d, g, h, i}}, [tmp];"
                ),
                &format!("{ty} {ty} {ty} {ty} -> {ty} {ty} {ty} {ty}"),
                &rows,
                |[a, b, c, e]| [e, c, b, a],
            );
        }
        for ty in ["b32", "u32", "s32", "f32"] {
            let declared = words.replace("b32", ty);
            suite.lanes(
                format!(
                    "{declared}\nst{middle}.v8.{ty} [tmp], {{w0, w1, w2, w3, w3, w2, w1, w0}};\n\
                     ld{middle}.v8.{ty} {{w0, d, w1, g, w2, h, w3, i}}, [tmp];"
                ),
                &format!("b64 b64 b64 b64 -> {ty} {ty} {ty} {ty}"),
                &rows,
                |[a, _, _, e]| [a >> 32, e >> 32, e, a],
            );
        }
    }
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

/// A parameter is what the launch gives: here the place of the inputs, of which each type sees a
/// part. It is compared with what a store to memory makes of the same bits.
fn parameters(suite: &mut Suite) {
    let rows = random::<1>(26, 32, 64);
    suite.lanes(
        ".reg .b64 first;\nld.param::entry.b64 first, [p_src];\n\
         mad.wide.u32 first, at, 8, first;\nld.global.b64 d, [first];",
        "b64 -> b64",
        &rows,
        |[a]| a,
    );
    for ty in TYPES {
        let register = match bits(ty) {
            8 => "b16".to_owned(),
            _ => ty.to_owned(),
        };
        for count in [1, 2, 4].into_iter().filter(|count| count * bits(ty) <= 64) {
            let stored: Vec<String> = (0..count).map(|k| format!("x{k}")).collect();
            let (vector, stored) = match count {
                1 => (String::new(), stored[0].clone()),
                _ => (format!(".v{count}"), format!("{{{}}}", stored.join(", "))),
            };
            let mut text = format!(
                ".reg .b64 whole;\n.reg .{register} x<4>;\n\
                 ld.param.b64 whole, [p_src];\nst.global.b64 [tmp], whole;\n\
                 ld.global{vector}.{ty} {stored}, [tmp];\n\
                 .reg .{register} y<4>;\nld.param{vector}.{ty} {}, [p_src];\n",
                stored.replace('x', "y")
            );
            let compared = if ty.starts_with('f') {
                ty.to_owned()
            } else {
                format!("b{}", bits(ty).max(16))
            };
            for k in 0..count as usize {
                let equal = if ty.starts_with('f') { "equ" } else { "eq" };
                text.push_str(&format!(
                    "setp.{equal}.{compared} {}, x{k}, y{k};\n",
                    OUTPUTS[k]
                ));
            }
            let signature = format!("b64 -> {}", vec!["pred"; count as usize].join(" "));
            suite.lanes(text, &signature, &rows, move |_| {
                Outcome((0..count).map(|_| Expected::Bits(1)).collect())
            });
        }
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
    // The inputs lie where a parameter says, whose address is a generic one too.
    suite.lanes(
        ".reg .b64 place, back;\ncvta.param.u64 place, p_src;\nld.b64 back, [place];\n\
         cvta.to.param.u64 place, place;\nld.param.b64 place, [place];\nsub.s64 g, back, place;\n\
         mad.wide.u32 back, at, 8, back;\nld.b64 d, [back];",
        "b64 -> b64 b64",
        &rows,
        |[a]| [a, 0],
    );
    suite.lanes(
        ".reg .b64 at64, back;\nmov.u64 at64, table;\ncvta.const.u64 back, at64;\n\
         cvta.to.const.u64 back, back;\nsub.s64 d, back, at64;",
        "b64 -> b64",
        &rows,
        |_| 0,
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
