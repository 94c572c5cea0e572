//! Cuts problems to smaller ones of the same kind.

use super::sizes::Sizes;
use super::{Addressing, BlockVariant};
use crate::registry::{Entry, Problem};

/// Parts of a problem, and the problem with plainer sizes, the smallest first.
pub(super) fn smaller(variant: &BlockVariant, problem: &Problem) -> Vec<Problem> {
    let Ok(sizes) = Sizes::of(problem) else {
        return Vec::new();
    };
    let k = variant.format().block_size();
    let mut problems = Vec::new();
    let mut shapes = Vec::new();
    for part in [2, 4] {
        shapes.push((0, sizes.rows / part, 0, sizes.cols));
        shapes.push((
            sizes.rows - sizes.rows / part,
            sizes.rows / part,
            0,
            sizes.cols,
        ));
    }
    shapes.extend((0..sizes.rows.min(8)).map(|row| (row, 1, 0, sizes.cols)));
    let blocks = sizes.cols.div_ceil(k);
    shapes.extend((0..blocks.min(8)).map(|b| (0, sizes.rows, b * k, k.min(sizes.cols - b * k))));
    if variant.addressing() == Addressing::Ragged && sizes.cols <= k {
        shapes.extend((1..sizes.cols).map(|cols| (0, sizes.rows, 0, cols)));
    }
    for (row, rows, col, cols) in shapes {
        let is_smaller = rows * cols < sizes.rows * sizes.cols;
        if is_smaller && rows * cols > 0 {
            problems.extend(cut(
                variant,
                problem,
                &sizes,
                row..row + rows,
                col..col + cols,
            ));
        }
    }
    for name in [
        "src_offset",
        "dst_offset",
        "codes_offset",
        "first_row",
        "seed",
    ] {
        let is_offset = name == "src_offset" || name == "dst_offset";
        if problem.sizes.get(name).is_some_and(|&size| size != 0) && !is_offset {
            let mut smaller = problem.clone();
            smaller.sizes.insert(name.to_owned(), 0);
            problems.push(smaller);
        }
    }
    problems.sort_by_key(|problem| variant.elements(problem));
    problems
}

/// The part of a problem in these rows and columns, of which the first begins a block.
fn cut(
    variant: &BlockVariant,
    problem: &Problem,
    sizes: &Sizes,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
) -> Option<Problem> {
    let format = variant.format();
    let mut part = problem.clone();
    let mut set = |name: &str, size: usize| part.sizes.insert(name.to_owned(), size as u64);
    set("rows", rows.len());
    set("cols", cols.len());
    set("src_stride", cols.len() + sizes.src.stride - sizes.cols);
    set("dst_stride", cols.len() + sizes.dst.stride - sizes.cols);
    if let Some(src) = part.tensors.get_mut("src") {
        let mut bits = src.bits[..sizes.src.offset].to_vec();
        for row in rows.clone() {
            let first = sizes.src.offset + row * sizes.src.stride;
            if row > rows.start {
                let gap = src.bits[first + sizes.cols - sizes.src.stride..first].iter();
                bits.extend(gap);
            }
            bits.extend(&src.bits[first + cols.start..first + cols.end]);
        }
        src.bits = bits;
    }
    if let Some(codes) = part.tensors.get_mut("codes") {
        let layout = format.element().layout();
        let (row_bytes, first) = (layout.bytes(sizes.cols), layout.place(cols.start).0);
        let count = layout.bytes(cols.len());
        let row = |row| &codes.bits[row * row_bytes + first..][..count];
        codes.bits = rows.clone().flat_map(row).copied().collect();
    }
    if let Some(scales) = part.tensors.get_mut("scales") {
        let blocks = format.blocks_per_row(sizes.cols);
        let (first, count) = (
            cols.start / format.block_size(),
            format.blocks_per_row(cols.len()),
        );
        let row = |row| &scales.bits[row * blocks + first..][..count];
        scales.bits = rows.clone().flat_map(row).copied().collect();
    }
    Some(part)
}
