//! Draws random problems, biased to where kernels err.

use super::edges::{scale_on_edge, seed_on_edge};
use super::sizes::{Sizes, View};
use super::values::{dense_bits, scale_code};
use super::{Addressing, BlockOperation, BlockVariant};
use crate::format::ScaleRule;
use crate::reference::tensor_scale;
use crate::registry::{ElementType, Problem, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A problem of about `elements` elements.
pub(super) fn problem(variant: &BlockVariant, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
    let k = variant.format().block_size();
    let is_ragged = variant.addressing() == Addressing::Ragged;
    let cols = match is_ragged {
        // Often about where a row has one block more.
        true if rng.random() => k * rng.random_range(1..=3) + rng.random_range(0..3) - 1,
        true => rng.random_range(1..=elements.clamp(1, 5 * k)),
        false => k * rng.random_range(1..=(elements / k).clamp(1, 8)),
    };
    let rows = rng.random_range(1..=2 * (elements / cols).max(1));
    let is_in_place = variant.operation() == BlockOperation::FakeQuantize && rng.random_ratio(1, 3);
    let mut up_to = |most: usize| match is_ragged {
        true => rng.random_range(0..=most),
        false => 0,
    };
    let (src_stride, src_offset) = (cols + up_to(5), up_to(3));
    let (dst_stride, dst_offset) = match is_in_place {
        true => (src_stride, src_offset),
        false => (cols + up_to(5), up_to(3)),
    };
    let codes_offset = up_to(5);
    // Products with cols on both sides of 2^32.
    let first_row = rng.random::<u32>() as usize >> rng.random_range(4..32);
    let max_blocks = match variant.operation() {
        BlockOperation::TensorScale => rng.random_range(0..4),
        _ => 0,
    };
    let sizes = [
        ("rows", rows),
        ("cols", cols),
        ("src_stride", src_stride),
        ("src_offset", src_offset),
        ("dst_stride", dst_stride),
        ("dst_offset", dst_offset),
        ("codes_offset", codes_offset),
        ("first_row", first_row),
        ("seed", rng.random::<u32>() as usize),
        ("max_blocks", max_blocks),
        ("in_place", usize::from(is_in_place)),
    ];
    let mut problem = Problem::new(sizes, []);
    let src = View {
        offset: src_offset,
        stride: src_stride,
    };
    fill(variant, rng, &mut problem, rows, cols, src);
    if variant.operation() == BlockOperation::TensorScale && rng.random() {
        leave_one(variant, rng, &mut problem);
    }
    if rng.random() {
        scale_on_edge(variant, rng, &mut problem);
    }
    if rng.random_ratio(7, 8) {
        seed_on_edge(variant, rng, &mut problem);
    }
    problem
}

/// Draws the tensors.
fn fill(
    variant: &BlockVariant,
    rng: &mut ChaCha8Rng,
    problem: &mut Problem,
    rows: usize,
    cols: usize,
    src: View,
) {
    let format = variant.format();
    let (code_bytes, _) = format.packed_bytes(rows, cols);
    let blocks_per_row = format.blocks_per_row(cols);
    let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
    let mut scale_bits = Vec::new();
    // What the elements of each block are divided by, where that is known already.
    let mut divisors = Vec::new();
    let mut tensor_scale_given = match rng.random_range(0..4) {
        0 => Some(1.0),
        1 => Some(f32::from_bits(rng.random_range(0x0080_0000..0x7F80_0000))),
        2 => Some(2f32.powi(rng.random_range(-20..20)) * rng.random_range(1.0..2.0)),
        _ => None,
    };
    let is_tried = variant.reads_tensor_scale() && format.rule() == ScaleRule::FourOverSix;
    if variant.operation().reads_scales() {
        tensor_scale_given = tensor_scale_given.or(Some(1.0));
        let tensor_scale = match variant.reads_tensor_scale() {
            true => f64::from(tensor_scale_given.unwrap_or(1.0)),
            false => 1.0,
        };
        for _ in 0..rows * blocks_per_row {
            let code = scale_code(rng, format.scale());
            scale_bits.push(code);
            divisors.push(Some(f64::from(format.scale().decode(code)) * tensor_scale));
        }
        let scales = Tensor {
            element: variant.scale_element(),
            bits: scale_bits,
        };
        insert("scales", scales);
    } else {
        divisors.resize_with(rows * blocks_per_row, || {
            // Two scales under the tensor's have the same error at numbers that depend on it.
            let tensor_scale = tensor_scale_given.filter(|_| is_tried)?;
            let scale = format.scale().decode(scale_code(rng, format.scale()));
            Some(f64::from(scale) * f64::from(tensor_scale))
        });
    }
    let mut values = Vec::new();
    if variant.reads_dense() {
        // What lies between rows would be seen in the results of a kernel that reads it.
        let poison = variant.dense().to_bits(f32::NAN);
        let mut bits = vec![poison; src.offset];
        for row in 0..rows {
            let gap = if row == 0 { 0 } else { src.stride - cols };
            bits.extend(std::iter::repeat_n(poison, gap));
            let divisors = &divisors[row * blocks_per_row..][..blocks_per_row];
            bits.extend(dense_bits(rng, cols, divisors, format, variant.dense()));
        }
        let src = Tensor {
            element: variant.dense().into(),
            bits,
        };
        values = src.values();
        insert("src", src);
    } else {
        let bytes: Vec<u8> = (0..code_bytes).map(|_| rng.random()).collect();
        insert("codes", Tensor::of_bytes(&bytes));
    }
    if variant.reads_tensor_scale() {
        let scale = tensor_scale_given.unwrap_or_else(|| tensor_scale(&values, format));
        let scale = Tensor {
            element: ElementType::F32,
            bits: vec![scale.to_bits()],
        };
        insert("tensor_scale", scale);
    }
}

/// Makes all elements of a tensor as small as they can be, zero or not finite, but for one, if
/// any, so that its scale depends on that alone.
fn leave_one(variant: &BlockVariant, rng: &mut ChaCha8Rng, problem: &mut Problem) {
    let Ok(sizes) = Sizes::of(problem) else {
        return;
    };
    let dense = variant.dense();
    let chunks_per_row =
        variant.format().blocks_per_row(sizes.cols) as u32 * variant.lanes_per_block();
    let positions: Vec<usize> = sizes.positions(sizes.src).collect();
    // Elements of the first and last threads of blocks.
    let mut outer = Vec::new();
    for (n, &position) in positions.iter().enumerate() {
        let (row, col) = ((n / sizes.cols) as u32, (n % sizes.cols) as u32);
        let thread = (row * chunks_per_row + col / 8 + 1) % variant.block_threads();
        if thread <= 1 {
            outer.push(position);
        }
    }
    let any = |rng: &mut ChaCha8Rng, of: &[usize]| of[rng.random_range(0..of.len())];
    let one = match rng.random_range(0..8) {
        0 => None,
        1 => positions.last().copied(),
        2..5 if !outer.is_empty() => Some(any(rng, &outer)),
        _ => Some(any(rng, &positions)),
    };
    let most = rng.random_range(1..6);
    let infinity = dense.to_bits(f32::INFINITY);
    let smallest = if rng.random_ratio(1, 4) { infinity } else { 0 };
    if let Some(src) = problem.tensors.get_mut("src") {
        for i in positions {
            if Some(i) != one {
                let sign = dense.to_bits(if rng.random() { 0.0 } else { -0.0 });
                src.bits[i] = sign | (smallest + rng.random_range(0..most));
            }
        }
    }
}
