//! Draws random problems. Most have exact sums, so that a single wrong bit of an operand shows.

use super::problems::{Matrix, Sizes};
use super::{MatmulVariant, bytes};
use crate::format::{ElementFormat, FloatType, ScaleFormat};
use crate::fragment::bits::StoredBits;
use crate::fragment::{CHUNK, OperandType, TILE};
use crate::registry::{Entry, Problem, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How scales are spread.
#[derive(Clone, Copy)]
enum Spread {
    /// Within a few binades.
    Narrow,
    /// Over all that the format has.
    Wide,
}

/// The style of x.
#[derive(Clone, Copy)]
enum Style {
    /// Small integers times a power of two: sums are exact under narrow scales.
    Integers,
    /// One column alone.
    One,
    /// Few columns, any binade.
    Sparse,
    /// Normal-like, all columns.
    Dense,
}

/// A problem of about `elements` weights.
pub(super) fn problem(variant: &MatmulVariant, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
    let shape = variant.regime().shape();
    let (block_rows, block_tokens) = (variant.block_rows() as usize, shape.tokens() as usize);
    let cols = match rng.random_range(0..8) {
        // Every warp goes through the main loop and has chunks left.
        0 => CHUNK * 32 * rng.random_range(1..=2) + rng.random_range(1..=5 * CHUNK),
        1 => rng.random_range(1..=4096),
        2 | 3 => CHUNK * rng.random_range(1..=8),
        _ => rng.random_range(1..=5 * CHUNK),
    };
    // Few at a time, or about what a thread block or two have.
    let is_large = cols <= 5 * CHUNK && rng.random_ratio(1, 3);
    // One in three has more than one thread block.
    let about = |rng: &mut ChaCha8Rng, block: usize, more: usize| {
        let least = if rng.random_ratio(1, 3) { block + 1 } else { 1 };
        rng.random_range(least..=block + more)
    };
    let matrices = variant.matrices();
    let rows = match is_large {
        true => about(rng, block_rows / matrices.len(), 16),
        false => rng.random_range(1..=(2 * elements / cols).clamp(1, 40)),
    };
    // Two matrices have whole tiles.
    let rows = match matrices.len() {
        1 => rows,
        _ => rows.next_multiple_of(TILE),
    };
    let tokens = match is_large || shape.stages == 0 {
        true => about(rng, block_tokens, 8),
        false => rng.random_range(1..=8),
    };
    let parts = match variant.regime().splits() {
        true => [1, 1, 2, 3, 5][rng.random_range(0..5)],
        false => 1,
    };
    let has_bias = rng.random_ratio(1, 3);
    let has_residual = variant.output().takes_residual() && rng.random_ratio(1, 3);
    let operand = variant.weights().operand();
    let step = 128 / operand.bits() as usize;
    let src_stride = cols.next_multiple_of(CHUNK) + step * rng.random_range(0..3);
    let dst_stride = rows + rng.random_range(0..3);
    let mut problem = Problem::new(
        [
            ("rows", rows),
            ("cols", cols),
            ("tokens", tokens),
            ("src_stride", src_stride),
            ("dst_stride", dst_stride),
            ("in_place", usize::from(has_residual && rng.random())),
            ("parts", parts),
        ],
        [],
    );
    let Problem { sizes, tensors } = &mut problem;
    let mut insert = |name: &str, tensor| tensors.insert(name.to_owned(), tensor);
    for &matrix in matrices {
        weights(variant, matrix, rng, [rows, cols], &mut insert);
    }
    if operand != OperandType::Bf16 {
        let place = [tokens, cols, src_stride];
        let stride = bytes::draw(variant, operand, rng, place, &mut insert);
        sizes.insert("src_scales_stride".to_owned(), stride as u64);
    } else {
        bf16_source(variant, rng, [tokens, cols, src_stride], &mut insert);
    }
    let dense = |rng: &mut ChaCha8Rng, len: usize| {
        let value = |_| 2f32.powi(rng.random_range(-8..8)) * rng.random_range(-1.0..1.0);
        let values: Vec<f32> = (0..len).map(value).collect();
        Tensor::of_values(&values, FloatType::Bf16)
    };
    for matrix in matrices.iter().filter(|_| has_bias) {
        insert(&matrix.name("bias"), dense(rng, rows));
    }
    if has_residual {
        insert("residual", dense(rng, (tokens - 1) * dst_stride + rows));
    }
    problem
}

/// Draws x in bf16: [tokens, cols, elements from row to row].
fn bf16_source(
    variant: &MatmulVariant,
    rng: &mut ChaCha8Rng,
    [tokens, cols, src_stride]: [usize; 3],
    insert: &mut impl FnMut(&str, Tensor) -> Option<Tensor>,
) {
    let style = [
        Style::Integers,
        Style::Integers,
        Style::One,
        Style::Sparse,
        Style::Dense,
    ];
    let style = style[rng.random_range(0..5)];
    let mut x = vec![f32::NAN; src_len(variant, tokens, src_stride, cols)];
    for row in x.chunks_mut(src_stride).take(tokens) {
        row.fill(0.0);
        activations(rng, style, &mut row[..cols]);
        // Padding meets weights of zero: it must only be finite.
        row[cols..].fill(rng.random_range(-100.0..100.0));
    }
    insert("src", Tensor::of_values(&x, FloatType::Bf16));
}

/// Elements of x's buffer.
pub(super) fn src_len(variant: &MatmulVariant, tokens: usize, stride: usize, cols: usize) -> usize {
    let shape = variant.regime().shape();
    let read = match shape.stages {
        0 => tokens,
        _ => tokens.next_multiple_of(shape.tokens() as usize),
    };
    (read - 1) * stride + cols.next_multiple_of(CHUNK)
}

/// Draws a matrix of W.
fn weights(
    variant: &MatmulVariant,
    matrix: Matrix,
    rng: &mut ChaCha8Rng,
    [rows, cols]: [usize; 2],
    insert: &mut impl FnMut(&str, Tensor) -> Option<Tensor>,
) {
    let mut insert = |name, tensor| insert(&matrix.name(name), tensor);
    let Some(format) = variant.format() else {
        let exponents = if rng.random() { -2..3 } else { -40..40 };
        let value = |_| {
            let integer = rng.random_range(-15i32..=15) as f32;
            integer * 2f32.powi(rng.random_range(exponents.clone()))
        };
        let values: Vec<f32> = (0..rows * cols).map(value).collect();
        insert("weights", Tensor::of_values(&values, FloatType::Bf16));
        return;
    };
    let element = format.element();
    let known: Vec<u8> = element
        .codes()
        .filter(|&code| is_known(element, code))
        .collect();
    let mut codes = Vec::new();
    for _ in 0..rows {
        let row: Vec<u8> = (0..cols)
            .map(|_| known[rng.random_range(0..known.len())])
            .collect();
        let start = codes.len();
        codes.resize(start + element.layout().bytes(cols), 0);
        element.layout().pack(&row, &mut codes[start..]);
    }
    insert("codes", Tensor::of_bytes(&codes));
    let spread = if rng.random_ratio(2, 3) {
        Spread::Narrow
    } else {
        Spread::Wide
    };
    let center = scale_code(rng, format.scale(), Spread::Wide, 0);
    let count = rows * format.blocks_per_row(cols);
    let bits = (0..count)
        .map(|_| scale_code(rng, format.scale(), spread, center))
        .collect();
    let element = format.scale().into();
    insert("scales", Tensor { element, bits });
    if format.has_tensor_scale() {
        let scale = 2f32.powi(rng.random_range(-20..20)) * rng.random_range(1.0..2.0);
        insert("tensor_scale", Tensor::of_values(&[scale], FloatType::F32));
    }
}

/// Whether weights may have the code: a finite value that quantisers make.
fn is_known(element: ElementFormat, code: u8) -> bool {
    StoredBits::of(element).place(element, code).is_some() && element.decode(code).is_finite()
}

/// A scale near `center`, or any that keeps results in range.
fn scale_code(rng: &mut ChaCha8Rng, scale: ScaleFormat, spread: Spread, center: u32) -> u32 {
    let (least, most) = match scale {
        // 2^-100 to 2^40; fewer bits have less.
        ScaleFormat::E8M0 { .. } => {
            let limit = scale.exponent_limit().unwrap_or(0);
            (
                (limit - limit.min(100)) as u32,
                (limit + limit.min(40)) as u32,
            )
        }
        ScaleFormat::Unsigned { .. } => (0, scale.max_code()),
        ScaleFormat::Fp16 => (0, 0x7BFF),
        ScaleFormat::Bf16 => (0x2000, 0x5000),
        ScaleFormat::Fp32 => (0x2000_0000, 0x5000_0000),
    };
    match spread {
        Spread::Wide => rng.random_range(least..=most),
        Spread::Narrow => {
            // A binade or two.
            let width = match scale {
                ScaleFormat::E8M0 { .. } => 2,
                ScaleFormat::Unsigned { mantissa_bits, .. } => 1 << mantissa_bits,
                ScaleFormat::Fp16 => 1 << 4,
                ScaleFormat::Bf16 => 1 << 6,
                ScaleFormat::Fp32 => 1 << 4,
            };
            center.saturating_add(rng.random_range(0..=width)).min(most)
        }
    }
}

fn activations(rng: &mut ChaCha8Rng, style: Style, x: &mut [f32]) {
    let unit = 2f32.powi(rng.random_range(-10..10));
    match style {
        Style::Integers => {
            let value = |x: &mut f32| *x = unit * rng.random_range(-3i32..=3) as f32;
            x.iter_mut().for_each(value);
        }
        Style::One => {
            x[rng.random_range(0..x.len())] = unit * rng.random_range(1.0..2.0);
        }
        Style::Sparse => {
            for _ in 0..x.len().div_ceil(16) {
                x[rng.random_range(0..x.len())] =
                    2f32.powi(rng.random_range(-40..40)) * rng.random_range(-2.0..2.0);
            }
        }
        Style::Dense => {
            let value = |x: &mut f32| *x = unit * rng.random_range(-1.0f32..1.0).powi(3);
            x.iter_mut().for_each(value);
        }
    }
}

/// Fewer rows, tokens or columns, and less around them.
pub(super) fn smaller(variant: &MatmulVariant, problem: &Problem) -> Vec<Problem> {
    let Ok(sizes) = Sizes::of(problem) else {
        return Vec::new();
    };
    let mut problems: Vec<Problem> = Vec::new();
    let mut push = |rows: std::ops::Range<usize>, tokens: std::ops::Range<usize>, cols: usize| {
        let is_smaller =
            rows.len() < sizes.rows || tokens.len() < sizes.tokens || cols < sizes.cols;
        let is_whole = variant.matrices().len() == 1 || rows.len().is_multiple_of(TILE);
        if is_smaller && is_whole && !rows.is_empty() && !tokens.is_empty() && cols > 0 {
            problems.extend(cut(variant, problem, &sizes, rows, tokens, cols));
        }
    };
    let (rows, tokens, cols) = (sizes.rows, sizes.tokens, sizes.cols);
    for (rows, tokens, cols) in [
        (0..rows / 2, 0..tokens, cols),
        (rows / 2..rows, 0..tokens, cols),
        (0..rows, 0..tokens / 2, cols),
        (0..rows, tokens / 2..tokens, cols),
        (0..rows, 0..tokens, cols / 2 / CHUNK * CHUNK),
        (0..rows, 0..tokens, cols.saturating_sub(1) / CHUNK * CHUNK),
        (0..1, 0..tokens, cols),
        (1..rows, 0..tokens, cols),
        (0..TILE.min(rows), 0..tokens, cols),
        (0..rows, 0..1, cols),
        (0..rows, 1..tokens, cols),
    ] {
        push(rows, tokens, cols);
    }
    if sizes.parts > 1 {
        let mut whole = problem.clone();
        whole.sizes.insert("parts".to_owned(), 1);
        problems.push(whole);
    }
    let biases = variant.matrices().iter().map(|matrix| matrix.name("bias"));
    for names in [biases.collect(), vec!["residual".to_owned()]] {
        let mut without = problem.clone();
        let removed = names.iter().filter_map(|name| without.tensors.remove(name));
        if removed.count() > 0 {
            without.sizes.insert("in_place".to_owned(), 0);
            problems.push(without);
        }
    }
    problems.sort_by_key(|problem| variant.elements(problem));
    problems
}

/// Some rows of W, some tokens, the first columns; `cols` ends a chunk.
fn cut(
    variant: &MatmulVariant,
    problem: &Problem,
    sizes: &Sizes,
    rows: std::ops::Range<usize>,
    tokens: std::ops::Range<usize>,
    cols: usize,
) -> Option<Problem> {
    let mut smaller = problem.clone();
    let (src_stride, dst_stride) = (sizes.src_stride, sizes.dst_stride);
    for (name, size) in [
        ("rows", rows.len()),
        ("cols", cols),
        ("tokens", tokens.len()),
    ] {
        smaller.sizes.insert(name.to_owned(), size as u64);
    }
    let mut pick = |name: &str, starts: &mut dyn Iterator<Item = usize>, count: usize| {
        let tensor = smaller.tensors.get_mut(name)?;
        let bits = starts
            .flat_map(|start| start..start + count)
            .map(|i| tensor.bits.get(i).copied());
        tensor.bits = bits.collect::<Option<Vec<u32>>>()?;
        Some(())
    };
    for matrix in variant.matrices() {
        let mut pick_rows = |name: &str, row: usize, part: usize| {
            let mut starts = rows.clone().map(|r| r * row);
            pick(&matrix.name(name), &mut starts, part)
        };
        match variant.format() {
            None => pick_rows("weights", sizes.cols, cols)?,
            Some(format) => {
                let row_bytes = |cols| format.row_code_bytes(cols);
                pick_rows("codes", row_bytes(sizes.cols), row_bytes(cols))?;
                let (row, part) = (
                    format.blocks_per_row(sizes.cols),
                    format.blocks_per_row(cols),
                );
                pick_rows("scales", row, part)?;
            }
        }
        let bias = matrix.name("bias");
        if problem.tensors.contains_key(&bias) {
            pick(&bias, &mut std::iter::once(rows.start), rows.len())?;
        }
    }
    if problem.tensors.contains_key("residual") {
        let first = tokens.start * dst_stride + rows.start;
        pick(
            "residual",
            &mut std::iter::once(first),
            (tokens.len() - 1) * dst_stride + rows.len(),
        )?;
    }
    let src = &mut smaller.tensors.get_mut("src")?.bits;
    src.drain(..tokens.start * src_stride);
    let nan = match variant.weights().operand() {
        OperandType::Bf16 => FloatType::Bf16.to_bits(f32::NAN),
        OperandType::E4m3 | OperandType::S8 => bytes::NAN,
    };
    src.resize(src_len(variant, tokens.len(), src_stride, cols), nan);
    if let Some(scales) = smaller.tensors.get_mut("src_scales") {
        scales.bits.rotate_left(tokens.start);
    }
    Some(smaller)
}
