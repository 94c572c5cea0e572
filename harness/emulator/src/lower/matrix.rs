//! Matrices spread over the lanes of a warp: `ldmatrix`, `stmatrix`, `movmatrix`, `mma`. PTX ISA
//! 9.7.14.

use super::memory::{address, elements, reads_of, wide};
use super::names::Names;
use super::{Lowered, Outcome, Reader};
use crate::alu::{LowerError, Operands};
use crate::program::{Matrices, Mma, MmaType, Operation, Space};
use crate::registers::Register;
use crate::syntax::ast::{Operand, Type};

pub(super) fn lower(reader: Reader, names: &mut Names) -> Result<Option<Lowered>, LowerError> {
    let lowered = match reader.instruction.opcode.as_str() {
        "ldmatrix" => matrix(reader, names, true)?,
        "stmatrix" => matrix(reader, names, false)?,
        "movmatrix" => transposed(reader, names)?,
        "mma" => mma(reader, names)?,
        _ => return Ok(None),
    };
    Ok(Some(lowered))
}

/// `ldmatrix` and `stmatrix` of 8x8 matrices of 16-bit elements.
fn matrix(mut reader: Reader, names: &mut Names, is_load: bool) -> Outcome {
    if reader.ty()? != Type::B16 {
        return Err(reader.wrong("only .b16 matrices are known"));
    }
    if !(reader.take("sync") && reader.take("aligned") && reader.take("m8n8")) {
        return Err(reader.wrong("`.sync.aligned.m8n8` is expected"));
    }
    let count = match reader.take_any(&["x1", "x2", "x4"]) {
        Some("x1") => 1,
        Some("x2") => 2,
        Some(_) => 4,
        None => return Err(reader.wrong("`.x1`, `.x2` or `.x4` is expected")),
    };
    let is_transposed = reader.take("trans");
    if !(reader.take("shared") || reader.take("shared::cta")) {
        return Err(reader.wrong("only matrices in .shared are known"));
    }
    reader.done()?;
    let [first, second] = reader.operands()?;
    let (list, place, numbers) = if is_load {
        (first, second, [1, 2])
    } else {
        (second, first, [2, 1])
    };
    let registers = elements(&reader, numbers[0], list, count)?
        .iter()
        .map(|operand| wide(names, operand, Type::B32, is_load))
        .collect::<Result<Vec<_>, _>>()?;
    let address = address(&reader, names, numbers[1], place, Space::Shared)?;
    let moved = registers.clone();
    let matrices = Matrices {
        registers,
        address,
        is_transposed,
    };
    let lowered = match is_load {
        true => Lowered::new(Operation::LoadMatrix(matrices)).writing(moved),
        false => Lowered::new(Operation::StoreMatrix(matrices)).reading(moved),
    };
    Ok(lowered.reading(reads_of(address)))
}

/// `movmatrix` of an 8x8 matrix of 16-bit elements.
fn transposed(mut reader: Reader, names: &mut Names) -> Outcome {
    if reader.ty()? != Type::B16 {
        return Err(reader.wrong("only .b16 matrices are known"));
    }
    let parts = ["sync", "aligned", "m8n8", "trans"];
    if !parts.into_iter().all(|part| reader.take(part)) {
        return Err(reader.wrong("`.sync.aligned.m8n8.trans` is expected"));
    }
    reader.done()?;
    let [to, from] = reader.operands()?;
    let destination = names.destination(to, Type::B32)?;
    let source = names.source(from, Type::B32)?;
    let operation = Operation::MoveMatrix {
        destination,
        source,
    };
    Ok(Lowered::new(operation)
        .reading([source])
        .writing([destination]))
}

fn mma(mut reader: Reader, names: &mut Names) -> Outcome {
    let parts = reader.rest.clone();
    reader.rest.clear();
    let ["sync", "aligned", shape, "row", "col", types @ ..] = parts.as_slice() else {
        return Err(reader.wrong("`.sync.aligned.<shape>.row.col` is expected"));
    };
    let types = match types {
        ["satfinite", ..] => return Err(reader.wrong("saturation is not known")),
        types => types,
    };
    let [d, a, b, c] = types else {
        return Err(reader.wrong("four types are expected"));
    };
    let (Some(a), Some(b)) = (MmaType::from_name(a), MmaType::from_name(b)) else {
        return Err(reader.wrong("its operand types are not known"));
    };
    let accumulator = match (*d, *c) {
        ("f32", "f32") => Type::F32,
        ("s32", "s32") => Type::S32,
        ("f16", "f16") => Type::F16,
        _ => return Err(reader.wrong("C and D are both .f32, .s32 or .f16")),
    };
    use MmaType as T;
    let k = match (*shape, a, b, accumulator) {
        ("m16n8k8", T::F16, T::F16, Type::F32 | Type::F16) => 8,
        ("m16n8k8", T::Bf16, T::Bf16, Type::F32) => 8,
        ("m16n8k16", T::F16, T::F16, Type::F32 | Type::F16) => 16,
        ("m16n8k16", T::Bf16, T::Bf16, Type::F32) => 16,
        ("m16n8k16", T::S8 | T::U8, T::S8 | T::U8, Type::S32) => 16,
        ("m16n8k32", T::S8 | T::U8, T::S8 | T::U8, Type::S32) => 32,
        ("m16n8k32", T::E4m3 | T::E5m2, T::E4m3 | T::E5m2, Type::F32) => 32,
        _ => return Err(reader.wrong("this shape does not go with these types")),
    };
    let element_bytes = if matches!(a, T::F16 | T::Bf16) { 2 } else { 1 };
    let per_register = 4 / element_bytes;
    let counts = [
        if accumulator == Type::F16 { 2 } else { 4 },
        16 * k / 32 / per_register,
        8 * k / 32 / per_register,
        if accumulator == Type::F16 { 2 } else { 4 },
    ];
    let operands: &[Operand; 4] = reader.operands()?;
    let value_type = match accumulator {
        Type::F16 => Type::B32,
        other => other,
    };
    let mut lists: [Vec<Register>; 4] = Default::default();
    for (index, operand) in operands.iter().enumerate() {
        let ty = if matches!(index, 1 | 2) {
            Type::B32
        } else {
            value_type
        };
        let list = elements(&reader, index + 1, operand, counts[index])?.iter();
        let registers = list.map(|operand| match index {
            0 => names.destination(operand, ty),
            _ => names.source(operand, ty),
        });
        lists[index] = registers.collect::<Result<_, _>>()?;
    }
    let (writes, reads) = (lists[0].clone(), lists[1..].concat());
    let [d_registers, a_registers, b_registers, c_registers] = lists;
    let operation = Operation::Mma(Mma {
        k,
        a,
        b,
        accumulator,
        d_registers,
        a_registers,
        b_registers,
        c_registers,
    });
    Ok(Lowered::new(operation).reading(reads).writing(writes))
}
