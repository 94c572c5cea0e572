//! Problems of a shape, as models have them.

use super::draw::src_len;
use super::{MatmulVariant, bytes};
use crate::format::FloatType;
use crate::fragment::{CHUNK, OperandType};
use crate::kernel::SplitLimits;
use crate::registry::{EntryError, Problem, Shape, Tensor, Typical, check_elements};
use rand_chacha::ChaCha8Rng;

/// Without bias and residual, split as for a device that `thread_blocks` fill.
pub(super) fn problem_of(
    variant: &MatmulVariant,
    rng: &mut ChaCha8Rng,
    shape: Shape,
    thread_blocks: usize,
) -> Result<Problem, EntryError> {
    let Shape { rows, cols, .. } = shape.check()?;
    let tokens = variant.tokens_of(shape);
    check_elements("tokens", tokens, rows)?;
    variant.check_rows(rows)?;
    let matrices = variant.matrices();
    let shape = [matrices.len() * rows, cols];
    let parts = variant.parts(&SplitLimits::new(thread_blocks), shape, tokens);
    let src_stride = cols.next_multiple_of(CHUNK);
    let read_tokens = src_len(variant, tokens, src_stride, cols) / src_stride;
    // Those of whole groups of tokens, whatever is read of x.
    let scales_stride = tokens.next_multiple_of(variant.regime().tokens() as usize);
    let src = Typical::draw(rng, read_tokens, cols);
    let operand = variant.weights().operand();
    let mut problem = Problem::new(
        [
            ("rows", rows),
            ("cols", cols),
            ("tokens", tokens),
            ("src_stride", src_stride),
            ("dst_stride", rows),
            ("in_place", 0),
            ("parts", parts),
        ],
        [],
    );
    if operand != OperandType::Bf16 {
        let stride = scales_stride as u64;
        problem.sizes.insert("src_scales_stride".to_owned(), stride);
    }
    let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
    if operand == OperandType::Bf16 {
        insert("src", src.dense(FloatType::Bf16, src_stride));
    } else {
        insert("src", src.bytes(|x| bytes::operand(operand, x), src_stride));
        let blocks = variant.source_blocks(cols.div_ceil(CHUNK));
        let scales = vec![1.0; blocks * scales_stride];
        insert("src_scales", Tensor::of_values(&scales, FloatType::F32));
        insert("src_factor", Tensor::of_values(&[1.0], FloatType::F32));
    }
    for matrix in matrices {
        let weights = Typical::draw(rng, rows, cols);
        let mut insert = |name, tensor| insert(&matrix.name(name), tensor);
        let Some(format) = variant.format() else {
            insert("weights", weights.dense(FloatType::Bf16, cols));
            continue;
        };
        let packed = weights.packed(&format, FloatType::Bf16)?;
        insert("codes", packed.packed_codes());
        insert("scales", packed.scales()?);
        if format.has_tensor_scale() {
            insert("tensor_scale", packed.tensor_scale());
        }
    }
    Ok(problem)
}
