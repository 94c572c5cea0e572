//! A problem as the operands of a kernel.

use super::MatmulVariant;
use super::problems::Sizes;
use crate::format::FloatType;
use crate::fragment::TILE;
use crate::registry::{ElementType, EntryError, Problem, Tensor, check_elements};

/// The operands: W and bias in the order of fragments, counters of arrivals.
pub(super) fn of(variant: &MatmulVariant, problem: &Problem) -> Result<Problem, EntryError> {
    let sizes = Sizes::of(problem)?;
    variant.check_rows(sizes.rows)?;
    let matrices = variant.matrices().iter();
    let fragments = matrices.map(|&matrix| variant.fragments(matrix, &sizes, problem));
    let fragments = match fragments.collect::<Result<Vec<_>, _>>()?.as_slice() {
        [gate, up] => gate.interleaved(up),
        whole => whole[0].clone(),
    };
    let blocks = variant.blocks(fragments.rows, sizes.tokens);
    check_elements("arrivals", 1, blocks.max(1))?;
    let arrivals = Tensor {
        element: ElementType::U32,
        bits: vec![0; blocks],
    };
    let mut operands = Problem {
        sizes: problem.sizes.clone(),
        ..Problem::default()
    };
    let rows = fragments.rows as u64;
    operands.sizes.insert("rows".to_owned(), rows);
    let mut insert = |name: &str, tensor| operands.tensors.insert(name.to_owned(), tensor);
    insert("codes", Tensor::of_bytes(&fragments.codes));
    insert("scales", Tensor::of_bytes(&fragments.scales));
    let alphas = Tensor::of_values(&fragments.alphas, FloatType::F32);
    insert("alphas", alphas);
    insert("arrivals", arrivals);
    if let Some(bias) = bias(variant, problem) {
        insert("bias", bias);
    }
    for name in ["src", "src_scales", "src_factor", "residual"] {
        if let Some(tensor) = problem.tensors.get(name) {
            insert(name, tensor.clone());
        }
    }
    Ok(operands)
}

/// The bias in the order of the rows of W: two matrices alternate, 16 rows each.
fn bias(variant: &MatmulVariant, problem: &Problem) -> Option<Tensor> {
    let matrices = variant.matrices().iter();
    let tensors = matrices.filter_map(|matrix| problem.tensors.get(&matrix.name("bias")));
    let tensors: Vec<&Tensor> = tensors.collect();
    match tensors.as_slice() {
        [] => None,
        [whole] => Some((*whole).clone()),
        [gate, up, ..] => {
            let tiles = gate.bits.chunks(TILE).zip(up.bits.chunks(TILE));
            let bits = tiles.flat_map(|(gate, up)| [gate, up].concat()).collect();
            let element = gate.element;
            Some(Tensor { element, bits })
        }
    }
}
