//! Every opcode, and every combination of modifiers that the emulator accepts, has a row.

use crate::conformance::forms;
use mxlab_harness::conformance::chapters;
use ptx_emulator::launch::Kernels;
use ptx_emulator::lower::instructions;
use std::collections::BTreeSet;

/// Opcodes with modifiers in the text of all rows.
fn covered() -> BTreeSet<String> {
    let mut heads = BTreeSet::new();
    for chapter in chapters() {
        for row in &chapter.rows {
            for statement in row.text().split([';', '\n']) {
                let mut words = statement.split_whitespace();
                let first = words.next().unwrap_or_default();
                let head = match first.starts_with('@') {
                    true => words.next().unwrap_or_default(),
                    false => first,
                };
                heads.insert(head.to_owned());
            }
        }
    }
    heads
}

#[test]
fn every_opcode_has_a_row() {
    assert!(instructions().is_sorted());
    let heads = covered();
    let opcodes: BTreeSet<&str> = heads
        .iter()
        .filter_map(|head| head.split('.').next())
        .collect();
    let missing: Vec<_> = instructions()
        .filter(|opcode| !opcodes.contains(opcode))
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn every_form_of_lane_local_instructions_has_a_row() {
    let heads = covered();
    let mut missing = BTreeSet::new();
    for (text, _) in forms::accepted() {
        let head = text.split(' ').next().unwrap_or_default();
        // `.relu` and `.satfinite` may stand in either order.
        let other = match head.contains(".satfinite.relu") {
            true => head.replace(".satfinite.relu", ".relu.satfinite"),
            false => head.replace(".relu.satfinite", ".satfinite.relu"),
        };
        if !heads.contains(head) && !heads.contains(&other) {
            missing.insert(head.to_owned());
        }
    }
    assert!(missing.is_empty(), "no row for {missing:#?}");
}

/// Opcodes with slots of modifiers, as in [`forms`], and operands that are tried with them.
const OTHERS: &[(&str, &str)] = &[
    (
        "ld ?.global.shared.shared::cta.local.const ?.v2.v4.v8 T",
        "LOAD",
    ),
    ("ld param T", "LOAD"),
    (
        "st ?.global.shared.shared::cta.local.const.param ?.v2.v4.v8 T",
        "STORE",
    ),
    (
        "atom ?.global.shared.shared::cta and.or.xor.add.min.max.inc.dec.exch.cas T",
        "ATOM",
    ),
    (
        "red ?.global.shared.shared::cta and.or.xor.add.min.max.inc.dec.exch.cas T",
        "RED",
    ),
    (
        "cvta ?.to global.shared.shared::cta.local.const.param u32.u64",
        "w, w",
    ),
    ("shfl sync up.down.bfly.idx T", "r, r, r, r, r"),
    ("vote sync all.any.uni.ballot T", "VOTE"),
    ("match any.all sync T", "MATCH"),
    ("redux sync add.min.max.and.or.xor T", "r, r, r"),
    (
        "ldmatrix sync aligned m8n8 ?.x1.x2.x4 ?.trans shared.shared::cta b8.b16.b32",
        "LOAD",
    ),
    (
        "stmatrix sync aligned m8n8 ?.x1.x2.x4 ?.trans shared.shared::cta b8.b16.b32",
        "STORE",
    ),
    ("movmatrix sync aligned m8n8 ?.trans b8.b16.b32", "r, r"),
    (
        "mma sync aligned m16n8k4.m16n8k8.m16n8k16.m16n8k32 row col f16.f32.s32 M M f16.f32.s32",
        "MMA",
    ),
];

const MMA_TYPES: &str = "f16.bf16.tf32.e4m3.e5m2.s8.u8.s4.u4";

/// Operands of every length that an instruction may take.
fn operands(kind: &str) -> Vec<String> {
    let list = |register: &str, count: usize| match count {
        0 => register.to_owned(),
        count => format!("{{{}}}", vec![register; count].join(", ")),
    };
    let both = |count: usize| ["r", "w"].map(|register| list(register, count));
    let lists: Vec<String> = [0, 1, 2, 4, 8].into_iter().flat_map(both).collect();
    let each = |f: &dyn Fn(&String) -> String| lists.iter().map(f).collect();
    match kind {
        "LOAD" => each(&|list| format!("{list}, [w]")),
        "STORE" => each(&|list| format!("[w], {list}")),
        "ATOM" => ["r, [w], r", "r, [w], r, r", "w, [w], w", "w, [w], w, w"]
            .map(String::from)
            .into(),
        "RED" => ["[w], r", "[w], r, r", "[w], w", "[w], w, w"]
            .map(String::from)
            .into(),
        "VOTE" => ["p, p, r", "r, p, r"].map(String::from).into(),
        "MATCH" => ["r, r, r", "r, w, r"].map(String::from).into(),
        "MMA" => {
            let of = |d, a, b| {
                format!(
                    "{0}, {1}, {2}, {0}",
                    list("r", d),
                    list("r", a),
                    list("r", b)
                )
            };
            [2, 4]
                .into_iter()
                .flat_map(|d| [(2, 1), (4, 2), (1, 1)].map(|(a, b)| of(d, a, b)))
                .collect()
        }
        plain => vec![plain.to_owned()],
    }
}

#[test]
fn every_form_of_the_other_instructions_has_a_row() {
    let heads = covered();
    let mut missing = BTreeSet::new();
    let mut accepted = 0;
    for (rule, kind) in OTHERS {
        let rule = rule.replace('M', MMA_TYPES);
        for head in forms::heads_of(&rule) {
            let is_accepted = operands(kind).iter().any(|operands| {
                let text = format!(
                    ".version 8.8\n.target sm_100a\n.address_size 64\n.visible .entry k() {{\n\
                     .reg .pred p; .reg .b32 r; .reg .b64 w;\n{head} {operands};\n}}\n"
                );
                Kernels::load(&text).is_ok()
            });
            accepted += usize::from(is_accepted);
            if is_accepted && !heads.contains(&head) {
                missing.insert(head);
            }
        }
    }
    assert!(accepted > 300, "only {accepted} forms are accepted");
    assert!(missing.is_empty(), "no row for {missing:#?}");
}
