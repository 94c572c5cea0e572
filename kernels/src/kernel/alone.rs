//! Splits a problem into problems of one row each, by the signature.

use super::signature::{Access, OperandKind};
use super::{Extent, Signature, Sizes};
use crate::registry::Problem;

/// One problem for each row of a problem with several rows. An operand with an element or a row for
/// each of the size `rows` keeps that row only; every other operand is kept whole. Empty if there
/// is one row, or if a tensor is too short.
pub fn rows_alone(signature: &Signature, problem: &Problem) -> Vec<Problem> {
    match problem.size("rows") {
        Ok(rows @ 2..) => (0..rows)
            .filter_map(|row| row_alone(signature, problem, row))
            .collect(),
        _ => Vec::new(),
    }
}

fn row_alone(signature: &Signature, problem: &Problem, row: usize) -> Option<Problem> {
    let mut alone = problem.clone();
    alone.sizes.insert("rows".to_owned(), 1);
    for operand in signature.operands() {
        let OperandKind::Buffer(buffer) = &operand.kind else {
            continue;
        };
        if buffer.access != Access::In {
            continue;
        }
        let range = match &buffer.extent {
            Extent::Size("rows") => row..row + 1,
            Extent::Rows(shape) => {
                let [Extent::Size("rows"), Extent::Size(stride), cols] = shape.as_ref() else {
                    continue;
                };
                let mut sizes = Sizes::default();
                while let Some(name) = cols.missing(&sizes) {
                    sizes.set(name, problem.size(name).ok()?);
                }
                let first = row * problem.size(stride).ok()?;
                first..first + cols.value(&sizes)?
            }
            _ => continue,
        };
        let tensor = alone.tensors.get_mut(operand.name)?;
        tensor.bits = tensor.bits.get(range)?.to_vec();
    }
    Some(alone)
}
