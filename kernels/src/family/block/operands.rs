//! The operands that follow from a problem.

use super::sizes::Sizes;
use super::{BlockOperation, BlockVariant};
use crate::registry::{ElementType, EntryError, Problem, Tensor, UNTOUCHED};

/// The workspace of a tensor scale before and after a launch.
pub(super) fn workspace() -> Tensor {
    Tensor {
        element: ElementType::U32,
        bits: vec![0; 2],
    }
}

/// The problem with its workspace, the number of thread blocks that it has at most, and codes where
/// they lie in their buffer.
pub(super) fn lower(variant: &BlockVariant, problem: &Problem) -> Result<Problem, EntryError> {
    let sizes = Sizes::of(problem)?;
    let mut lowered = problem.clone();
    match variant.operation() {
        BlockOperation::TensorScale => {
            let max_blocks = sizes.max_blocks as u64;
            lowered.sizes.insert("max_blocks".to_owned(), max_blocks);
            lowered.tensors.insert("workspace".to_owned(), workspace());
        }
        BlockOperation::Dequantize => {
            if let Some(codes) = lowered.tensors.get_mut("codes") {
                let before = std::iter::repeat_n(u32::from(UNTOUCHED), sizes.codes_offset);
                codes.bits.splice(0..0, before);
            }
        }
        _ => {}
    }
    Ok(lowered)
}
