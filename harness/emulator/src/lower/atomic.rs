//! `atom` and `red`. PTX ISA 9.7.13.

use super::memory::{address, reads_of, space};
use super::names::Names;
use super::{Lowered, Outcome, Reader};
use crate::alu::Operands;
use crate::program::{Atomic, AtomicOp, Operation, Space};
use crate::syntax::ast::Type;

/// An atomic operation, which `returns` what memory held before or not.
pub(super) fn lower(mut reader: Reader, names: &mut Names, returns: bool) -> Outcome {
    let ty = reader.ty()?;
    reader.take_any(&["relaxed", "acquire", "release", "acq_rel"]);
    reader.take_any(&["cta", "cluster", "gpu", "sys"]);
    let space = space(&mut reader)?;
    if !matches!(space, Space::Global | Space::Shared | Space::Generic) {
        return Err(reader.wrong("it does not reach this state space"));
    }
    let Some(op) = reader.take_word(AtomicOp::from_name) else {
        return Err(reader.wrong("its operation is not known"));
    };
    reader.done()?;
    use AtomicOp as Op;
    let is_known = match op {
        Op::Exch | Op::Cas => returns && matches!(ty, Type::B32 | Type::B64),
        Op::And | Op::Or | Op::Xor => matches!(ty, Type::B32 | Type::B64),
        Op::Inc | Op::Dec => ty == Type::U32,
        Op::Min | Op::Max => matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64),
        Op::Add => matches!(
            ty,
            Type::U32 | Type::S32 | Type::U64 | Type::F32 | Type::F64
        ),
    };
    if !is_known {
        return Err(reader.wrong("it does not take this type"));
    }
    let operands = reader.instruction.operands.as_slice();
    let values = if op == AtomicOp::Cas { 2 } else { 1 };
    let first = usize::from(returns);
    if operands.len() != first + 1 + values {
        let count = first + 1 + values;
        return Err(reader.wrong(format!("it takes {count} operands, not {}", operands.len())));
    }
    let destination = match returns {
        true => Some(names.destination(&operands[0], ty)?),
        false => None,
    };
    let address = address(&reader, names, first + 1, &operands[first], space)?;
    let sources = operands[first + 1..]
        .iter()
        .map(|operand| names.source(operand, ty))
        .collect::<Result<Vec<_>, _>>()?;
    let reads = [reads_of(address), sources.clone()].concat();
    let atomic = Atomic {
        space,
        op,
        ty,
        destination,
        address,
        sources,
    };
    Ok(Lowered::new(Operation::Atomic(atomic))
        .reading(reads)
        .writing(destination))
}
