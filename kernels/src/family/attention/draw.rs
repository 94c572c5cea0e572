//! Draws random problems. Most have weights of 1 or 0, so that a single wrong key or value shows.

use super::problems::{Sequence, Sizes};
use super::{AttentionRegime, AttentionVariant, ScoreForm};
use crate::format::FloatType;
use crate::registry::sums::lowest_bit;
use crate::registry::{ElementType, Problem, Tensor};
use rand::Rng;
use rand::seq::IndexedRandom;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

/// The style of queries.
#[derive(Clone, Copy)]
enum Style {
    /// Scores so far apart that only the greatest count.
    Sharp,
    /// The same score for all keys.
    Flat,
    /// Weights of any size.
    Soft,
}

/// A problem of about `elements` keys and values, or of as many as take several steps.
pub(super) fn problem(
    variant: &AttentionVariant,
    rng: &mut ChaCha8Rng,
    elements: usize,
) -> Problem {
    let most = variant.max_head_dim();
    let head_dim = match rng.random_range(0..4) {
        0 | 1 => 2 * rng.random_range(1..=most / 2),
        2 => most - 16 * rng.random_range(0..=3),
        _ => most,
    };
    let is_decode = variant.regime() == AttentionRegime::Decode;
    // Warps go round their loop, or many parts have keys; some tens of keys; or few.
    let is_long = is_decode && rng.random_ratio(1, 4);
    let is_short = !is_long && rng.random_ratio(3, 4);
    let count = if is_long { 1 } else { rng.random_range(1..=3) };
    let kv_heads = rng.random_range(1..=if is_short { 2 } else { 1 });
    let group = *[1, 2, 3, 4, 7, 8, 9].choose(rng).expect("a choice");
    let splits: usize = match (is_decode, rng.random_range(0..8)) {
        (false, _) | (true, 0 | 1) => 1,
        (true, 2 | 3) => 2,
        (true, 4) => 17,
        // One or two rounds of parts, whole and not.
        (true, _) => rng.random_range(3..=9),
    };
    let step = variant.step_keys();
    let longest = match (is_long, is_short) {
        (true, _) => {
            // Every part has keys.
            let steps = (19 / splits).max(1);
            let steps = splits * rng.random_range(steps.div_ceil(2)..=steps);
            steps * step - rng.random_range(0..step)
        }
        (_, true) => rng.random_range(1..=(elements / (head_dim * kv_heads * count)).clamp(2, 40)),
        // Some steps that all see, some that some do.
        _ if !is_decode => rng.random_range(1..=4 * step),
        _ => rng.random_range(1..=100),
    };
    let mut sequences: Vec<Sequence> = Vec::new();
    let slots = count + rng.random_range(0..2);
    for slot in sample(rng, slots, count) {
        let keys = match is_long {
            true => longest,
            false => rng.random_range(1..=longest),
        };
        // Half of them end with a step of the kernel, or beside its end.
        let keys = match rng.random() {
            true => keys.next_multiple_of(step) + rng.random_range(0..3) - 1,
            false => keys,
        };
        let tokens = match is_decode {
            _ if !sequences.is_empty() && rng.random_ratio(1, 8) => 0,
            true => rng.random_range(1..=keys.min(2)),
            // Warps whose last keys are some steps apart.
            false => rng.random_range(1..=keys.min(160 / group.min(4))),
        };
        sequences.push(Sequence {
            first: sequences.iter().map(|sequence| sequence.tokens).sum(),
            tokens,
            slot,
            past: keys - tokens,
        });
    }
    let tokens = sequences.iter().map(|sequence| sequence.tokens).sum();
    let keys = sequences
        .iter()
        .map(|s| s.past + s.tokens)
        .max()
        .unwrap_or(1);
    let sizes = Sizes {
        tokens,
        kv_heads,
        group,
        head_dim,
        slots,
        capacity: keys + rng.random_range(0..3),
        splits,
        dst_stride: kv_heads * group * head_dim + 2 * rng.random_range(0..3),
        scale: match rng.random_range(0..3) {
            0 => 1.0,
            _ => 1.0 / (head_dim as f32).sqrt(),
        },
        window: ScoreForm::NO_WINDOW,
        cap: 0.0,
    };
    let sizes = with_form(variant, rng, sizes, keys);
    let mut problem = Problem::new(
        [
            ("tokens", tokens),
            ("kv_heads", kv_heads),
            ("group", group),
            ("head_dim", head_dim),
            ("slots", slots),
            ("capacity", sizes.capacity),
            ("splits", sizes.splits),
            ("dst_stride", sizes.dst_stride),
            ("scale_bits", sizes.scale.to_bits() as usize),
        ],
        [],
    );
    if variant.form().has_window() {
        problem
            .sizes
            .insert("window".to_owned(), sizes.window as u64);
    }
    if variant.form().has_cap() {
        let bits = u64::from(sizes.cap.to_bits());
        problem.sizes.insert("cap_bits".to_owned(), bits);
    }
    let words = sequences
        .iter()
        .flat_map(|s| [s.first, s.tokens, s.slot, s.past].map(|n| n as u32));
    let table = Tensor {
        element: ElementType::U32,
        bits: words.collect(),
    };
    problem.tensors.insert("sequences".to_owned(), table);
    let exists = |row: usize| {
        let (slot, position) = (row / sizes.capacity / kv_heads, row % sizes.capacity);
        let mut sequences = sequences.iter();
        sequences.any(|s| s.slot == slot && position < s.past + s.tokens)
    };
    if variant.keeps_first() {
        let exact = match rng.random() {
            true => rng.random_range(1..=3),
            // About a step of the kernel.
            false => rng.random_range(1..=step + 1),
        };
        problem.sizes.insert("exact".to_owned(), exact as u64);
    }
    let mut known = [Vec::new(), Vec::new()];
    for (side, known) in variant.sides().into_iter().zip(&mut known) {
        side.draw(rng, &sizes, exists, &mut problem);
        if side.codes == "keys" && rng.random() {
            side.repeat(rng, &sizes, exists, &mut problem);
        }
        side.draw_exact(rng, &sizes, exists, &mut problem);
        let operands = side
            .operands(&problem, head_dim, 0..sizes.rows())
            .unwrap_or_default();
        let rows = operands.chunks(head_dim).enumerate();
        *known = rows
            .filter(|(row, _)| exists(*row))
            .flat_map(|(_, row)| row.to_vec())
            .collect();
    }
    // Of scores before a cap.
    let causal = variant.with_form(ScoreForm::Causal);
    let factor = causal.score_factor(sizes.scale);
    let src = queries(rng, &sizes, &known[0], f64::from(factor), variant);
    problem.tensors.insert("src".to_owned(), src);
    if rng.random_ratio(1, 8) {
        let [keys, _] = variant.sides();
        let seen: Vec<usize> = (0..sizes.rows()).filter(|&row| exists(row)).collect();
        if let Some(&row) = seen.choose(rng) {
            keys.spoil(rng, row, head_dim, &mut problem);
        }
    }
    problem
}

/// The sizes with a window and a cap as the form has them, beside `keys` keys of the longest
/// sequence.
fn with_form(variant: &AttentionVariant, rng: &mut ChaCha8Rng, sizes: Sizes, keys: usize) -> Sizes {
    let step = variant.step_keys();
    if !variant.form().has_window() {
        return sizes;
    }
    let window = match rng.random_range(0..8) {
        0 => ScoreForm::NO_WINDOW,
        1 => rng.random_range(1..=3),
        // A step of the kernel, or beside its end.
        2..4 => step * rng.random_range(1..=3) + rng.random_range(0..3) - 1,
        _ => rng.random_range(1..=keys + 1),
    };
    let cap = match variant.form().has_cap() {
        true => 2f32.powi(rng.random_range(-1..6)) * rng.random_range(1.0..2.0),
        false => 0.0,
    };
    Sizes {
        window,
        cap,
        ..sizes
    }
}

/// Queries against keys, whose values are `keys`.
fn queries(
    rng: &mut ChaCha8Rng,
    sizes: &Sizes,
    keys: &[f64],
    factor: f64,
    variant: &AttentionVariant,
) -> Tensor {
    let factor = factor * crate::format::pow2(-variant.keys().excess());
    let style = *[
        Style::Sharp,
        Style::Sharp,
        Style::Sharp,
        Style::Flat,
        Style::Soft,
    ]
    .choose(rng)
    .expect("a choice");
    let nonzero = keys.iter().filter(|key| **key != 0.0);
    let unit = nonzero
        .clone()
        .map(|&key| lowest_bit(key))
        .fold(1.0, f64::min);
    let magnitude = nonzero.map(|key| key.abs()).fold(unit, f64::max);
    let mut values = Vec::new();
    for _ in 0..sizes.tokens * sizes.heads() {
        let start = values.len();
        values.resize(start + sizes.padded(), 0.0f32);
        let query = &mut values[start..][..sizes.head_dim];
        match style {
            Style::Flat => {}
            Style::Sharp => {
                // Scores are multiples of 256 and more.
                let q = (256.0 / (unit * factor)).log2().ceil().exp2() as f32;
                // Some features, or most.
                let (count, most): (usize, i32) = match rng.random_ratio(1, 3) {
                    true => (query.len(), 1),
                    false => (rng.random_range(1..=3), 3),
                };
                for _ in 0..count {
                    let at = rng.random_range(0..query.len());
                    query[at] = q * rng.random_range(-most..=most) as f32;
                }
            }
            Style::Soft => {
                let spread = 8.0 / (magnitude * factor * (query.len() as f64).sqrt());
                for q in query {
                    *q = (spread * rng.random_range(-1.0..1.0)) as f32;
                }
            }
        }
    }
    Tensor::of_values(&values, FloatType::Bf16)
}

/// Fewer sequences, or fewer parts.
pub(super) fn smaller(problem: &Problem) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(table) = problem.tensors.get("sequences") {
        let count = table.bits.len() / 4;
        for sequence in (0..count).filter(|_| count > 1) {
            let mut less = problem.clone();
            if let Some(table) = less.tensors.get_mut("sequences") {
                table.bits.drain(4 * sequence..4 * sequence + 4);
            }
            problems.push(less);
        }
    }
    if problem
        .sizes
        .get("splits")
        .is_some_and(|&splits| splits > 1)
    {
        let mut whole = problem.clone();
        whole.sizes.insert("splits".to_owned(), 1);
        problems.push(whole);
    }
    problems
}
