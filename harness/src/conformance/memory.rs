//! Loads and stores, in all state spaces. PTX ISA 9.7.9.8 and following.

use crate::conformance::inputs::{low, random};
use crate::conformance::integer::value;
use crate::conformance::suite::{Expected, INPUTS, OUTPUTS, Outcome, Suite};

pub const TYPES: [&str; 14] = [
    "b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64",
];

pub fn bits(ty: &str) -> u32 {
    crate::conformance::suite::register_bits(ty)
}

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    for ty in TYPES {
        scalar(&mut suite, ty);
        vectors(&mut suite, ty);
        variables(&mut suite, ty);
    }
    wide_vectors(&mut suite);
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
                elements,
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
                elements,
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
        let sources = [register.as_str(); 4].join(" ");
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
