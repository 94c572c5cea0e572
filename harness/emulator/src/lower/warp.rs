//! Control flow, barriers, and what the lanes of a warp do together.

use super::names::Names;
use super::{Lowered, Reader};
use crate::alu::{LowerError, Operands};
use crate::program::{AtomicOp, Collective, Mma, MmaType, Operation, ShuffleMode, VoteMode};
use crate::registers::Register;
use crate::syntax::ast::{Instruction, Operand, Type};

pub(super) fn lower(
    instruction: &Instruction,
    names: &mut Names,
) -> Result<Option<Lowered>, LowerError> {
    let reader = Reader::new(instruction);
    let lowered = match instruction.opcode.as_str() {
        "exit" | "ret" => plain(reader, Operation::Exit)?,
        "trap" => plain(reader, Operation::Trap)?,
        "nanosleep" => sleep(reader, names)?,
        "bar" | "barrier" => barrier(reader, names)?,
        "shfl" => shuffle(reader, names)?,
        "vote" => vote(reader, names)?,
        "match" => matching(reader, names)?,
        "redux" => redux(reader, names)?,
        "elect" => elect(reader, names)?,
        "activemask" => active_mask(reader, names)?,
        "mma" => mma(reader, names)?,
        _ => return Ok(None),
    };
    Ok(Some(lowered))
}

fn plain(mut reader: Reader, operation: Operation) -> Result<Lowered, LowerError> {
    if reader.instruction.opcode == "ret" {
        reader.take("uni");
    }
    reader.done()?;
    reader.operands::<0>()?;
    Ok(Lowered::new(operation))
}

/// There is no time to let pass.
fn sleep(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    if reader.ty()? != Type::U32 {
        return Err(reader.wrong("it takes .u32"));
    }
    reader.done()?;
    let [time] = reader.operands()?;
    Ok(Lowered {
        reads: vec![names.source(time, Type::U32)?],
        ..Lowered::new(Operation::Nothing)
    })
}

fn barrier(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    if reader.take("warp") {
        if !reader.take("sync") {
            return Err(reader.wrong("`bar.warp.sync` is expected"));
        }
        reader.done()?;
        let [mask] = reader.operands()?;
        let mask = names.source(mask, Type::B32)?;
        return Ok(collective(Collective::Barrier, [None, None], vec![mask]));
    }
    reader.take("cta");
    let is_arrival = reader.take("arrive");
    if !is_arrival && !reader.take("sync") {
        return Err(reader.wrong("only `.sync` and `.arrive` are known"));
    }
    let is_bar = reader.instruction.opcode == "bar";
    let is_aligned = is_bar || reader.take("aligned");
    reader.done()?;
    let (barrier, threads) = match reader.instruction.operands.as_slice() {
        [barrier] if !is_arrival => (barrier, None),
        [barrier, threads] => (barrier, Some(threads)),
        other => return Err(reader.wrong(format!("it does not take {} operands", other.len()))),
    };
    let barrier = names.source(barrier, Type::U32)?;
    let threads = threads
        .map(|threads| names.source(threads, Type::U32))
        .transpose()?;
    let mut reads = vec![barrier];
    reads.extend(threads);
    Ok(Lowered {
        reads,
        writes: Vec::new(),
        operation: Operation::Barrier {
            barrier,
            threads,
            is_arrival,
            is_aligned,
        },
    })
}

fn collective(
    what: Collective,
    destinations: [Option<Register>; 2],
    sources: Vec<Register>,
) -> Lowered {
    Lowered {
        reads: sources.clone(),
        writes: destinations.into_iter().flatten().collect(),
        operation: Operation::Collective {
            what,
            destinations,
            sources,
        },
    }
}

/// `d` or `d|p`.
fn result_and_predicate(
    names: &mut Names,
    operand: &Operand,
) -> Result<[Option<Register>; 2], LowerError> {
    Ok(match operand {
        Operand::Pair(result, predicate) => [
            Some(names.destination(result, Type::B32)?),
            Some(names.destination(predicate, Type::Pred)?),
        ],
        result => [Some(names.destination(result, Type::B32)?), None],
    })
}

/// Takes `.sync`, without which an instruction is of an old PTX.
fn take_sync(reader: &mut Reader) -> Result<(), LowerError> {
    if reader.take("sync") {
        Ok(())
    } else {
        Err(reader.wrong("only its `.sync` form is known"))
    }
}

fn shuffle(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    if !matches!(reader.ty()?, Type::B32) {
        return Err(reader.wrong("it takes .b32"));
    }
    take_sync(&mut reader)?;
    let modes = [
        ("up", ShuffleMode::Up),
        ("down", ShuffleMode::Down),
        ("bfly", ShuffleMode::Bfly),
        ("idx", ShuffleMode::Idx),
    ];
    let Some((_, mode)) = modes.into_iter().find(|(name, _)| reader.take(name)) else {
        return Err(reader.wrong("`.up`, `.down`, `.bfly` or `.idx` is expected"));
    };
    reader.done()?;
    let [result, value, lane, clamp, mask] = reader.operands()?;
    let destinations = result_and_predicate(names, result)?;
    let sources = [value, lane, clamp, mask]
        .map(|operand| names.source(operand, Type::B32))
        .into_iter()
        .collect::<Result<_, _>>()?;
    Ok(collective(Collective::Shuffle(mode), destinations, sources))
}

fn vote(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    let ty = reader.ty()?;
    take_sync(&mut reader)?;
    let modes = [
        ("all", VoteMode::All),
        ("any", VoteMode::Any),
        ("uni", VoteMode::Uni),
        ("ballot", VoteMode::Ballot),
    ];
    let Some((_, mode)) = modes.into_iter().find(|(name, _)| reader.take(name)) else {
        return Err(reader.wrong("`.all`, `.any`, `.uni` or `.ballot` is expected"));
    };
    let result_type = match mode {
        VoteMode::Ballot => Type::B32,
        _ => Type::Pred,
    };
    if ty != result_type {
        return Err(reader.wrong(format!("its result is {result_type:?}")));
    }
    reader.done()?;
    let [result, vote, mask] = reader.operands()?;
    let (vote, is_negated) = match vote {
        Operand::Not(name) => (Operand::Name(name.clone()), true),
        other => (other.clone(), false),
    };
    let result = names.destination(result, ty)?;
    let sources = vec![
        names.source(&vote, Type::Pred)?,
        names.source(mask, Type::B32)?,
    ];
    let what = Collective::Vote(mode, is_negated);
    Ok(collective(what, [Some(result), None], sources))
}

fn matching(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    let ty = reader.ty()?;
    if !matches!(ty, Type::B32 | Type::B64) {
        return Err(reader.wrong("it takes .b32 or .b64"));
    }
    take_sync(&mut reader)?;
    let what = match reader.take_any(&["any", "all"]) {
        Some("any") => Collective::MatchAny,
        Some(_) => Collective::MatchAll,
        None => return Err(reader.wrong("`.any` or `.all` is expected")),
    };
    reader.done()?;
    let [result, value, mask] = reader.operands()?;
    let destinations = result_and_predicate(names, result)?;
    if destinations[1].is_some() && what == Collective::MatchAny {
        return Err(reader.operand(1, "match.any has no predicate"));
    }
    let sources = vec![names.source(value, ty)?, names.source(mask, Type::B32)?];
    Ok(collective(what, destinations, sources))
}

fn redux(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    let ty = reader.ty()?;
    take_sync(&mut reader)?;
    let ops = [
        ("add", AtomicOp::Add),
        ("min", AtomicOp::Min),
        ("max", AtomicOp::Max),
        ("and", AtomicOp::And),
        ("or", AtomicOp::Or),
        ("xor", AtomicOp::Xor),
    ];
    let Some((_, op)) = ops.into_iter().find(|(name, _)| reader.take(name)) else {
        return Err(reader.wrong("its operation is not known"));
    };
    let is_bitwise = matches!(op, AtomicOp::And | AtomicOp::Or | AtomicOp::Xor);
    let takes = match ty {
        Type::B32 => is_bitwise,
        Type::U32 | Type::S32 => !is_bitwise,
        _ => false,
    };
    if !takes {
        return Err(reader.wrong("it does not take this type"));
    }
    reader.done()?;
    let [result, value, mask] = reader.operands()?;
    let result = names.destination(result, ty)?;
    let sources = vec![names.source(value, ty)?, names.source(mask, Type::B32)?];
    Ok(collective(
        Collective::Redux(op, ty),
        [Some(result), None],
        sources,
    ))
}

fn elect(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    take_sync(&mut reader)?;
    reader.done()?;
    let [result, mask] = reader.operands()?;
    let destinations = result_and_predicate(names, result)?;
    let mask = names.source(mask, Type::B32)?;
    Ok(collective(Collective::Elect, destinations, vec![mask]))
}

fn active_mask(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    if reader.ty()? != Type::B32 {
        return Err(reader.wrong("its result is .b32"));
    }
    reader.done()?;
    let [result] = reader.operands()?;
    let result = names.destination(result, Type::B32)?;
    Ok(Lowered {
        reads: Vec::new(),
        writes: vec![result],
        operation: Operation::ActiveMask(result),
    })
}

fn mma(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
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
    let operand = |name: &str| match name {
        "f16" => Some(MmaType::F16),
        "bf16" => Some(MmaType::Bf16),
        "e4m3" => Some(MmaType::E4m3),
        "e5m2" => Some(MmaType::E5m2),
        "s8" => Some(MmaType::S8),
        "u8" => Some(MmaType::U8),
        _ => None,
    };
    let (Some(a), Some(b)) = (operand(a), operand(b)) else {
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
        let list = match operand {
            Operand::Vector(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        if list.len() != counts[index] {
            let reason = format!(
                "{} registers are expected, not {}",
                counts[index],
                list.len()
            );
            return Err(reader.operand(index + 1, reason));
        }
        let ty = if matches!(index, 1 | 2) {
            Type::B32
        } else {
            value_type
        };
        lists[index] = list
            .iter()
            .map(|operand| match index {
                0 => names.destination(operand, ty),
                _ => names.source(operand, ty),
            })
            .collect::<Result<_, _>>()?;
    }
    let [d_registers, a_registers, b_registers, c_registers] = lists;
    let reads = [&a_registers, &b_registers, &c_registers]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    Ok(Lowered {
        reads,
        writes: d_registers.clone(),
        operation: Operation::Mma(Mma {
            k,
            a,
            b,
            accumulator,
            d_registers,
            a_registers,
            b_registers,
            c_registers,
        }),
    })
}
