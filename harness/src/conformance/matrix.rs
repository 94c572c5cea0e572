//! Tensor cores: `ldmatrix`, `stmatrix`, `movmatrix`, `mma`. PTX ISA 9.7.14.5.

use crate::conformance::float::both;
use crate::conformance::inputs::{Random, random};
use crate::conformance::integer::value;
use crate::conformance::numbers::{BF16, E4M3, E5M2, F16, F32, Format};
use crate::conformance::suite::{Expected, INPUTS, OUTPUTS, Suite, blocks};
use crate::tensor_core::{Operand, Sums, Term, Terms};

pub fn rows() -> Suite {
    let mut suite = Suite::new();
    matrices(&mut suite);
    transposed(&mut suite);
    for (target, product) in products() {
        suite.target(target);
        multiply(&mut suite, product);
    }
    suite
}

/// Matrices of 8x8 halves: lane `8 m + r` gives the address of row `r` of matrix `m`.
fn matrices(suite: &mut Suite) {
    for space in ["shared", "shared::cta"] {
        for count in [1usize, 2, 4] {
            for is_transposed in [false, true] {
                let trans = if is_transposed { ".trans" } else { "" };
                let list = |names: &[&str]| names[..count].join(", ");
                // Each thread has written its 16 bytes: eight elements.
                let rows = random::<2>(50, 32, 64);
                let half =
                    |row: &[u64; 2], column: usize| row[column / 4] >> (16 * (column % 4)) & 0xffff;
                // Element (i, j) of a fragment is in lane 4 i + j / 2, in its half j % 2.
                let place = move |lane: usize, k: usize| match is_transposed {
                    false => (lane / 4, 2 * (lane % 4) + k),
                    true => (2 * (lane % 4) + k, lane / 4),
                };
                suite.target("sm_80");
                suite.blocks(
                    format!(
                        "st.shared.v2.b64 [cell], {{a, b}};\nbar.warp.sync 0xffffffff;\n\
                         ldmatrix.sync.aligned.m8n8.x{count}{trans}.{space}.b16 {{{}}}, [cell];",
                        list(&OUTPUTS)
                    ),
                    &format!("b64 b64 -> {}", vec!["b32"; count].join(" ")),
                    &rows,
                    move |warp, lane| {
                        let fragment = |m: usize| {
                            let [x, y] = [0, 1].map(|k| {
                                let (row, column) = place(lane, k);
                                half(&warp[8 * m + row], column)
                            });
                            Expected::Bits(x | y << 16)
                        };
                        (0..count).map(fragment).collect::<Vec<_>>()
                    },
                );
                // And back: each thread reads the row whose address it gave.
                suite.target("sm_90");
                let rows = random::<4>(51, 32, 32);
                suite.blocks(
                    format!(
                        "st.shared.v2.b64 [cell], {{0, 0}};\nbar.warp.sync 0xffffffff;\n\
                         stmatrix.sync.aligned.m8n8.x{count}{trans}.{space}.b16 [cell], {{{}}};\n\
                         bar.warp.sync 0xffffffff;\nld.shared.v4.b32 {{d, g, h, i}}, [cell];",
                        list(&INPUTS)
                    ),
                    "b32 b32 b32 b32 -> b32 b32 b32 b32",
                    &rows,
                    move |warp, lane| {
                        let (m, row) = (lane / 8, lane % 8);
                        if m >= count {
                            return [0; 4];
                        }
                        [0, 1, 2, 3].map(|word| {
                            let element = |column: usize| {
                                let (i, j) = match is_transposed {
                                    false => (row, column),
                                    true => (column, row),
                                };
                                warp[4 * i + j / 2][m] >> (16 * (j % 2)) & 0xffff
                            };
                            element(2 * word) | element(2 * word + 1) << 16
                        })
                    },
                );
            }
        }
    }
    suite.target("sm_80");
}

/// Rows become columns among registers.
fn transposed(suite: &mut Suite) {
    suite.target("sm_80");
    blocks! { suite, &random::<1>(52, 32, 32);
        "movmatrix.sync.aligned.m8n8.trans.b16 d, a;", "b32 -> b32", |warp, lane| {
            let half = |row: usize, column: usize| {
                warp[4 * row + column / 2][0] >> (16 * (column % 2)) & 0xffff
            };
            let (row, column) = (2 * (lane % 4), lane / 4);
            [half(row, column) | half(row + 1, column) << 16]
        };
    }
}

/// A shape of `mma` with its types: depth, A, B, C and D, and what it needs.
#[derive(Clone, Copy)]
struct Product {
    k: usize,
    a: &'static str,
    b: &'static str,
    /// Of C and D.
    c: &'static str,
}

/// Shapes by their target.
fn products() -> Vec<(&'static str, Product)> {
    let mut all = Vec::new();
    let mut add = |target, k, c, a: &[&'static str], b: &[&'static str]| {
        let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (*a, *b)));
        all.extend(pairs.map(|(a, b)| (target, Product { k, a, b, c })));
    };
    for k in [8, 16] {
        add("sm_80", k, "f32", &["f16"], &["f16"]);
        add("sm_80", k, "f16", &["f16"], &["f16"]);
        add("sm_80", k, "f32", &["bf16"], &["bf16"]);
    }
    for k in [16, 32] {
        add("sm_80", k, "s32", &["s8", "u8"], &["s8", "u8"]);
    }
    add("sm_89", 32, "f32", &["e4m3", "e5m2"], &["e4m3", "e5m2"]);
    all
}

/// The format of an element that is no integer.
fn format(ty: &str) -> Option<Format> {
    Some(match ty {
        "f16" => F16,
        "bf16" => BF16,
        "e4m3" => E4M3,
        "e5m2" => E5M2,
        "f32" => F32,
        _ => return None,
    })
}

fn element_bits(ty: &str) -> usize {
    format(ty).map_or(8, |format| format.bits() as usize)
}

/// The number that an element is.
fn number(ty: &str, code: u64) -> f64 {
    match format(ty) {
        Some(format) => format.value(code & (2 * format.sign() - 1)),
        None => value(ty, code) as f64,
    }
}

/// Registers of A, B and C in a lane.
fn counts(p: Product) -> [usize; 3] {
    let bits = element_bits(p.a);
    [
        16 * p.k * bits / 1024,
        8 * p.k * bits / 1024,
        if p.c == "f16" { 2 } else { 4 },
    ]
}

/// The matrices that the lanes of a warp hold, by the figures of the ISA: a group of four lanes
/// holds a row of A and of C, and a column of B.
struct Operands {
    a: Vec<[f64; 32]>,
    b: Vec<[f64; 32]>,
    c: Vec<[f64; 8]>,
}

fn gather(p: Product, warp: &[[u64; 10]]) -> Operands {
    let [in_a, in_b, in_c] = counts(p);
    let bits = element_bits(p.a);
    let each = 32 / bits;
    let mut all = Operands {
        a: vec![[0.0; 32]; 16],
        b: vec![[0.0; 32]; 8],
        c: vec![[0.0; 8]; 16],
    };
    for (lane, words) in warp.iter().enumerate() {
        let (group, thread) = (lane / 4, lane % 4);
        for i in 0..in_a * each {
            // Elements of a register are neighbours in a row; registers alternate between the
            // upper and the lower rows, then go to the right half of the columns.
            let (register, within) = (i / each, i % each);
            let row = group + 8 * (register % 2);
            let column = each * thread + within + 4 * each * (register / 2);
            all.a[row][column] = number(p.a, words[register] >> (bits * within));
        }
        for i in 0..in_b * each {
            let (register, within) = (i / each, i % each);
            let row = each * thread + within + 4 * each * register;
            all.b[group][row] = number(p.b, words[in_a + register] >> (bits * within));
        }
        for i in 0..4 {
            let (row, column) = (group + 8 * (i / 2), 2 * thread + i % 2);
            let word = words[in_a + in_b + if in_c == 2 { i / 2 } else { i }];
            let code = if in_c == 2 {
                word >> (16 * (i % 2)) & 0xffff
            } else {
                word
            };
            all.c[row][column] = number(p.c, code);
        }
    }
    all
}

/// Words of a warp with elements of moderate size, so that sums stay in range.
fn operands(p: Product, seed: u64) -> Vec<[u64; 10]> {
    let mut random = Random(seed);
    let mut code = |ty: &str| match format(ty) {
        Some(format) => {
            let limit = if format == E4M3 || format == E5M2 {
                4.0
            } else {
                16.0
            };
            format.nearest((random.below(1 << 16) as f64 / 32768.0 - 1.0) * limit)
        }
        None => random.bits(),
    };
    let mut word = |ty: &str, bits: usize| {
        (0..32 / bits).fold(0, |word, i| {
            word | (code(ty) & (u64::MAX >> (64 - bits))) << (bits * i)
        })
    };
    let [in_a, in_b, in_c] = counts(p);
    (0..32)
        .map(|_| {
            std::array::from_fn(|k| match k {
                k if k < in_a => word(p.a, element_bits(p.a)),
                k if k < in_a + in_b => word(p.b, element_bits(p.b)),
                k if k < in_a + in_b + in_c => match p.c {
                    "f16" => word("f16", 16),
                    "f32" => word("f32", 32),
                    _ => word("s8", 32),
                },
                _ => 0,
            })
        })
        .collect()
}

fn multiply(suite: &mut Suite, p: Product) {
    let [in_a, in_b, in_c] = counts(p);
    let list = |names: &[&str]| names.join(", ");
    let (a, rest) = INPUTS.split_at(in_a);
    let (b, rest) = rest.split_at(in_b);
    let text = format!(
        "mma.sync.aligned.m16n8k{}.row.col.{}.{}.{}.{} {{{}}}, {{{}}}, {{{}}}, {{{}}};",
        p.k,
        p.c,
        p.a,
        p.b,
        p.c,
        list(&OUTPUTS[..in_c]),
        list(a),
        list(b),
        list(&rest[..in_c])
    );
    let register = match p.c {
        "f32" => "f32",
        "s32" => "s32",
        _ => "b32",
    };
    let mut types = ["b32"; 10];
    types[in_a + in_b..in_a + in_b + in_c].fill(register);
    let signature = format!("{} -> {}", types.join(" "), vec![register; in_c].join(" "));
    let rows: Vec<[u64; 10]> = (0..16).flat_map(|seed| operands(p, 60 + seed)).collect();
    suite.blocks(text, &signature, &rows, move |warp, lane| {
        let all = gather(p, warp);
        let at = |i: usize| {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let operands = (0..p.k).map(move |k| [(row, k), (column, k)]);
            let operands = operands.map(|[(i, k), (j, _)]| [all.a[i][k], all.b[j][k]]);
            (operands.collect::<Vec<_>>(), all.c[row][column])
        };
        match p.c {
            // Modulo 2^32; the sum is exact in f64.
            "s32" => (0..4)
                .map(|i| {
                    let (operands, c) = at(i);
                    let sum: f64 = operands.iter().map(|[a, b]| a * b).sum();
                    Expected::Bits((sum + c) as i64 as u64)
                })
                .collect(),
            "f32" => (0..4).map(|i| near(F32, at(i), p)).collect::<Vec<_>>(),
            _ => {
                let half = |i| near(F16, at(i), p);
                (0..2)
                    .map(|r| both(half(2 * r), half(2 * r + 1), 16))
                    .collect()
            }
        }
    });
}

/// A sum of products and C, as every chip may give it; see [`crate::tensor_core`].
fn near(result: Format, (operands, c): (Vec<[f64; 2]>, f64), p: Product) -> Expected {
    let least = [p.a, p.b].map(|ty| operand(ty).least_power());
    let products = operands.into_iter().map(|pair| Term::product(pair, least));
    let (sums, carried) = match p.c {
        "f16" => (
            Sums::F16,
            Term::product([c, 1.0], [operand("f16").least_power(), 1.0]),
        ),
        _ if element_bits(p.a) == 8 => (Sums::Fp8, Term::carried(c)),
        _ => (Sums::F32, Term::carried(c)),
    };
    let terms: Terms = products.chain([carried]).collect();
    let bound = terms.bound(sums, p.k, 0);
    let what = format!("{} +- {:e}", bound.exact, bound.error);
    Expected::matching(what, move |code| bound.accepts(result.value(code)))
}

/// The type of an operand that is no integer.
fn operand(ty: &str) -> Operand {
    match ty {
        "f16" => Operand::F16,
        "bf16" => Operand::Bf16,
        "e4m3" => Operand::E4m3,
        "e5m2" => Operand::E5m2,
        other => panic!("{other} is no floating-point operand"),
    }
}
