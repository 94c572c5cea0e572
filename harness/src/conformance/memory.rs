//! Loads and stores, in all state spaces. PTX ISA 9.7.9.8 and following.

use crate::conformance::inputs::{low, random};
use crate::conformance::integer::value;
use crate::conformance::suite::{Expected, INPUTS, OUTPUTS, Suite, lanes};

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
    let widths = [16, 32, 64].into_iter().filter(|&width| width >= bits(ty));
    match ty.starts_with('f') {
        true => vec![ty.to_owned()],
        false => widths.map(|width| format!("b{width}")).collect(),
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

/// Local memory of a row.
const MINE: &str = ".local .align 16 .b8 mine[16];\n";
/// Spaces of which each thread has a part: the modifier, the place, and what declares it.
const OWN: [(&str, &str, &str); 3] = [
    (".shared", "cell", ""),
    (".shared::cta", "cell", ""),
    (".local", "mine", MINE),
];

fn scalar(suite: &mut Suite, ty: &'static str) {
    let (of_loads, of_stores) = (random::<1>(20, 32, 64), random::<2>(21, 32, 64));
    for register in registers(ty) {
        let mut load = |prepare: &str, load: &str, place: &str| {
            lanes! { suite, &of_loads;
                "{prepare}ld{load}.{ty} d, [{place}];", "b64 -> {register}", |[a]| extended(ty, a);
            }
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
            ".global.ca",
            ".global.cg",
            ".global.cs",
            ".global.lu",
            ".global.cv",
            "u.global",
            ".global.L1::no_allocate",
            ".global.nc.L1::evict_last.L2::128B",
        ] {
            load("", middle, "src");
        }
        let own = OWN.map(|(space, place, declare)| (space, place, declare.replace("16", "8")));
        for (space, place, declare) in &own {
            load(
                &format!("{declare}st{space}.b64 [{place}], a;\n"),
                space,
                place,
            );
        }
        load(
            "st.volatile.shared.b64 [cell], a;\n",
            ".volatile.shared",
            "cell",
        );

        // A store changes its own bytes only.
        let mask = u64::MAX >> (64 - bits(ty));
        let mut store = |first: &str, store: &str, last: &str, place: &str| {
            lanes! { suite, &of_stores;
                "{first}.b64 [{place}], b;\nst{store}.{ty} [{place}], a;\n\
                 ld{last}.b64 d, [{place}];",
                "{register} b64 -> b64", |[a, b]| b & !mask | a & mask;
            }
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
            let order = if middle.contains("re") {
                ".relaxed.gpu"
            } else {
                ""
            };
            store(
                &format!("st{order}.global"),
                middle,
                &format!("{order}.global"),
                "tmp",
            );
        }
        for (space, place, declare) in &own {
            store(&format!("{declare}st{space}"), space, space, place);
        }
    }
}

/// Vectors of two and four elements of up to 16 bytes.
fn vectors(suite: &mut Suite, ty: &'static str) {
    let register = registers(ty).remove(0);
    let sources = [register.as_str(); 4].join(" ");
    for count in [2usize, 4] {
        let bytes = bits(ty) as usize / 8;
        if count * bytes > 16 {
            continue;
        }
        // The elements that lie in two words of 64 bits.
        let elements = move |words: [u64; 2]| -> Vec<Expected> {
            let whole = u128::from(words[0]) | u128::from(words[1]) << 64;
            let element = |k| extended(ty, (whole >> (8 * bytes * k)) as u64);
            (0..count).map(|k| Expected::Bits(element(k))).collect()
        };
        let loads = OUTPUTS[..count].join(", ");
        let results = vec![register.as_str(); count].join(" ");
        let rows = random::<2>(22, 32, 64);
        for middle in [
            ".global",
            ".global.nc",
            ".global.cg",
            ".volatile.global",
            "",
        ] {
            lanes! { suite, &rows;
                "ld{middle}.v{count}.{ty} {{{loads}}}, [src];", "b64 b64 -> {results}",
                    |words| elements(words);
            }
        }
        for (space, place, declare) in OWN {
            lanes! { suite, &rows;
                "{declare}st{space}.v2.b64 [{place}], {{a, b}};\n\
                 ld{space}.v{count}.{ty} {{{loads}}}, [{place}];",
                "b64 b64 -> {results}", |words| elements(words);
            }
        }
        lanes! { suite, &[[]; 32];
            "ld.const.v{count}.{ty} {{{loads}}}, [table];", "-> {results}",
                |[]| elements([11 | 22 << 32, 33 | 44 << 32]);
        }
        // Stores: four elements from as many registers, over what was there.
        let stores = INPUTS[..count].join(", ");
        let spaces = [(".global", "tmp", ""), ("", "tmp", "")]
            .into_iter()
            .chain(OWN);
        for (space, place, declare) in spaces {
            let other = if space.is_empty() { ".global" } else { space };
            lanes! { suite, &random::<4>(23, 32, 64);
                "{declare}st{other}.b64 [{place}], 0;\nst{other}.b64 [{place}+8], 0;\n\
                 st{space}.v{count}.{ty} [{place}], {{{stores}}};\n\
                 ld{other}.v2.b64 {{d, g}}, [{place}];",
                "{sources} -> b64 b64", |row| {
                    let all = row[..count].iter().rev();
                    let whole = all.fold(0u128, |whole, &x| {
                        whole.checked_shl(8 * bytes as u32).unwrap_or(0)
                            | u128::from(low(x, bits(ty)))
                    });
                    [whole as u64, (whole >> 64) as u64]
                };
            }
        }
    }
}

/// Constants with initial values, and addresses of variables with offsets.
fn variables(suite: &mut Suite, ty: &'static str) {
    // The table holds 11, 22, 33 and 44 as words of 32 bits.
    let table = 11u128 | 22 << 32 | 33 << 64 | 44 << 96;
    for register in registers(ty) {
        lanes! { suite, &[[]; 32];
            ".reg .b64 at64;\nmov.u64 at64, table;\nld.const.{ty} d, [table+8];\n\
             ld.const.{ty} g, [at64];",
            "-> {register} {register}", |[]| [64, 0].map(|at| extended(ty, (table >> at) as u64));
        }
    }
}

/// 32 bytes at once, on sm_100 and later.
fn wide_vectors(suite: &mut Suite) {
    suite.target("sm_100a");
    let rows = random::<4>(24, 32, 64);
    for middle in ["", ".global"] {
        for ty in ["b64", "u64", "s64", "f64"] {
            lanes! { suite, &rows;
                "st{middle}.v4.{ty} [tmp], {{e, c, b, a}};\n\
                 ld{middle}.v4.{ty} {{d, g, h, i}}, [tmp];",
                "{ty} {ty} {ty} {ty} -> {ty} {ty} {ty} {ty}", |[a, b, c, e]| [e, c, b, a];
            }
        }
        for ty in ["b32", "u32", "s32", "f32"] {
            lanes! { suite, &rows;
                ".reg .{ty} w<4>;\nmov.b64 {{w0, w1}}, a;\nmov.b64 {{w2, w3}}, e;\n\
                 st{middle}.v8.{ty} [tmp], {{w0, w1, w2, w3, w3, w2, w1, w0}};\n\
                 ld{middle}.v8.{ty} {{w0, d, w1, g, w2, h, w3, i}}, [tmp];",
                "b64 b64 b64 b64 -> {ty} {ty} {ty} {ty}", |[a, _, _, e]| [a >> 32, e >> 32, e, a];
            }
        }
    }
    suite.target("sm_80");
}
