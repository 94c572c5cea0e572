//! Splits a problem into rows, and places their results in those of the whole.

use super::RowVariant;
use crate::registry::{
    ElementType, Elements, Entry, EntryError, Place, Problem, ProblemError, Sampled,
};

/// The expected outputs of some rows.
pub(super) fn reference_at(
    variant: &RowVariant,
    problem: &Problem,
    places: &[Place],
) -> Result<Sampled, EntryError> {
    let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
    let dst_stride = problem.size("dst_stride")?;
    let (element, dst_bytes) = variant.dst(rows, cols, dst_stride);
    let mut sampled = Sampled::default();
    let dst = Elements::exactly(dst_bytes / element.bytes(), element);
    sampled.insert("dst", dst);
    let scales_stride = problem.size("dst_scales_stride")?;
    if variant.is_packed() {
        let bytes = variant.scale_bytes(rows, cols, scales_stride);
        let scales = Elements::exactly(bytes / 4, ElementType::F32);
        sampled.insert("dst_scales", scales);
    }
    for &[row, _] in places {
        let expected = variant.reference(&row_of(variant, problem, row, cols)?)?;
        sampled.add_part(expected, |output| match output {
            // A scale of each block, those of one block close together.
            "dst_scales" => [row, scales_stride],
            _ => [row * dst_stride, 1],
        });
    }
    Ok(sampled)
}

/// A row of a variant's problem, as a problem.
fn row_of(
    variant: &RowVariant,
    problem: &Problem,
    row: usize,
    cols: usize,
) -> Result<Problem, ProblemError> {
    let mut part = Problem {
        sizes: problem.sizes.clone(),
        ..Problem::default()
    };
    let parts = variant.operation().parts();
    for name in ["rows", "dst_scales_stride"] {
        part.sizes.insert(name.to_owned(), 1);
    }
    for name in problem.tensors.keys() {
        let range = match name.as_str() {
            "positions" => row..row + 1,
            name if parts.numbers.iter().any(|number| number.0 == name) => 0..1,
            name if parts.vectors.contains(&name) => 0..cols,
            name => {
                let stride = match parts.second {
                    Some([second, stride]) if second == name => stride,
                    _ => "src_stride",
                };
                let first = row * problem.size(stride)?;
                first..first + cols
            }
        };
        part.tensors
            .insert(name.clone(), problem.part(name, range)?);
    }
    Ok(part)
}
