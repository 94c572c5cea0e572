//! Splits a problem into rows, and places their results in those of the whole.

use super::BlockVariant;
use super::sizes::Sizes;
use crate::registry::{
    ElementType, Elements, Entry, EntryError, Place, Problem, ProblemError, Sampled,
};

/// The expected outputs of some rows.
pub(super) fn reference_at(
    variant: &BlockVariant,
    problem: &Problem,
    places: &[Place],
) -> Result<Sampled, EntryError> {
    let (sizes, format) = (Sizes::of(problem)?, variant.format());
    let row_bytes = format.row_code_bytes(sizes.cols);
    let blocks = format.blocks_per_row(sizes.cols);
    let mut sampled = Sampled::default();
    if variant.writes_codes() {
        let len = sizes.codes_offset + sizes.rows * row_bytes;
        sampled.insert("codes", Elements::exactly(len, ElementType::U8));
    }
    if variant.operation().stores_scales() {
        let len = sizes.rows * blocks;
        sampled.insert("scales", Elements::exactly(len, variant.scale_element()));
    }
    if variant.writes_dense() {
        let len = match sizes.is_in_place {
            true => problem.tensor("src")?.bits.len(),
            false => sizes.len(sizes.dst),
        };
        sampled.insert("dst", Elements::exactly(len, variant.dense().into()));
    }
    for &[row, _] in places {
        let expected = variant.reference(&row_of(variant, problem, &sizes, row)?)?;
        sampled.add_part(expected, |output| match output {
            "codes" => [sizes.codes_offset + row * row_bytes, 1],
            "scales" => [row * blocks, 1],
            _ => [sizes.dst.offset + row * sizes.dst.stride, 1],
        });
    }
    Ok(sampled)
}

/// A row as a problem.
fn row_of(
    variant: &BlockVariant,
    problem: &Problem,
    sizes: &Sizes,
    row: usize,
) -> Result<Problem, ProblemError> {
    let (format, cols) = (variant.format(), sizes.cols);
    let mut part = Problem {
        sizes: problem.sizes.clone(),
        ..Problem::default()
    };
    for (name, size) in [
        ("rows", 1),
        // What stochastic roundings draw depends on it.
        ("first_row", sizes.first_row + row),
        ("src_offset", 0),
        ("dst_offset", 0),
        ("codes_offset", 0),
    ] {
        part.sizes.insert(name.to_owned(), size as u64);
    }
    let mut take = |name: &str, range| {
        let tensor = problem.part(name, range)?;
        part.tensors.insert(name.to_owned(), tensor);
        Ok::<_, ProblemError>(())
    };
    match variant.reads_dense() {
        true => {
            let first = sizes.src.offset + row * sizes.src.stride;
            take("src", first..first + cols)?;
        }
        false => {
            let bytes = format.row_code_bytes(cols);
            take("codes", row * bytes..(row + 1) * bytes)?;
        }
    }
    if variant.operation().reads_scales() {
        let blocks = format.blocks_per_row(cols);
        take("scales", row * blocks..(row + 1) * blocks)?;
    }
    if problem.tensors.contains_key("tensor_scale") {
        take("tensor_scale", 0..1)?;
    }
    Ok(part)
}
