//! Problems of a shape, as models have them.

use super::{BlockOperation, BlockVariant};
use crate::registry::{EntryError, Problem, Shape, Tensor, Typical};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Rows close together, at the start of their buffers.
pub(super) fn problem_of(
    variant: &BlockVariant,
    rng: &mut ChaCha8Rng,
    shape: Shape,
) -> Result<Problem, EntryError> {
    let Shape { rows, cols, .. } = shape.check()?;
    let (format, dense) = (variant.format(), variant.dense());
    let sizes = [
        ("rows", rows),
        ("cols", cols),
        ("src_stride", cols),
        ("src_offset", 0),
        ("dst_stride", cols),
        ("dst_offset", 0),
        ("codes_offset", 0),
        ("first_row", 0),
        ("seed", rng.random::<u32>() as usize),
        ("max_blocks", 0),
        ("in_place", 0),
    ];
    let mut problem = Problem::new(sizes, []);
    let typical = Typical::draw(rng, rows, cols);
    let mut insert = |name: &str, tensor: Tensor| problem.tensors.insert(name.to_owned(), tensor);
    if variant.reads_dense() {
        insert("src", typical.dense(dense, cols));
    }
    if variant.operation().reads_scales() || variant.reads_tensor_scale() {
        let packed = typical.packed(format, dense)?;
        if variant.operation() == BlockOperation::Dequantize {
            insert("codes", packed.packed_codes());
        }
        if variant.operation().reads_scales() {
            insert("scales", packed.scales()?);
        }
        if variant.reads_tensor_scale() {
            insert("tensor_scale", packed.tensor_scale());
        }
    }
    Ok(problem)
}
