//! Control flow, barriers, and what the lanes of a warp do together.

use super::names::Names;
use super::{Lowered, Outcome, Reader};
use crate::alu::{LowerError, Operands};
use crate::program::{AtomicOp, Collective, Operation, ShuffleMode, VoteMode};
use crate::registers::Register;
use crate::syntax::ast::{Operand, Type};

pub(super) fn lower(reader: Reader, names: &mut Names) -> Result<Option<Lowered>, LowerError> {
    let lowered = match reader.instruction.opcode.as_str() {
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
        _ => return Ok(None),
    };
    Ok(Some(lowered))
}

fn plain(mut reader: Reader, operation: Operation) -> Outcome {
    if reader.instruction.opcode == "ret" {
        reader.take("uni");
    }
    reader.done()?;
    reader.operands::<0>()?;
    Ok(Lowered::new(operation))
}

/// There is no time to let pass.
fn sleep(mut reader: Reader, names: &mut Names) -> Outcome {
    if reader.ty()? != Type::U32 {
        return Err(reader.wrong("it takes .u32"));
    }
    reader.done()?;
    let [time] = reader.operands()?;
    let time = names.source(time, Type::U32)?;
    Ok(Lowered::new(Operation::Nothing).reading([time]))
}

fn barrier(mut reader: Reader, names: &mut Names) -> Outcome {
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
    let operation = Operation::Barrier {
        barrier,
        threads,
        is_arrival,
        is_aligned,
    };
    Ok(Lowered::new(operation).reading([barrier]).reading(threads))
}

fn collective(
    what: Collective,
    destinations: [Option<Register>; 2],
    sources: Vec<Register>,
) -> Lowered {
    let reads = sources.clone();
    let operation = Operation::Collective {
        what,
        destinations,
        sources,
    };
    Lowered::new(operation)
        .reading(reads)
        .writing(destinations.into_iter().flatten())
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

fn shuffle(mut reader: Reader, names: &mut Names) -> Outcome {
    if !matches!(reader.ty()?, Type::B32) {
        return Err(reader.wrong("it takes .b32"));
    }
    take_sync(&mut reader)?;
    let Some(mode) = reader.take_word(ShuffleMode::from_name) else {
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

fn vote(mut reader: Reader, names: &mut Names) -> Outcome {
    let ty = reader.ty()?;
    take_sync(&mut reader)?;
    let Some(mode) = reader.take_word(VoteMode::from_name) else {
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

fn matching(mut reader: Reader, names: &mut Names) -> Outcome {
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

fn redux(mut reader: Reader, names: &mut Names) -> Outcome {
    let ty = reader.ty()?;
    take_sync(&mut reader)?;
    use AtomicOp as Op;
    let Some(op) = reader.take_word(Op::from_name) else {
        return Err(reader.wrong("its operation is not known"));
    };
    let takes = match ty {
        Type::B32 => matches!(op, Op::And | Op::Or | Op::Xor),
        Type::U32 | Type::S32 => matches!(op, Op::Add | Op::Min | Op::Max),
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

fn elect(mut reader: Reader, names: &mut Names) -> Outcome {
    take_sync(&mut reader)?;
    reader.done()?;
    let [result, mask] = reader.operands()?;
    let destinations = result_and_predicate(names, result)?;
    let mask = names.source(mask, Type::B32)?;
    Ok(collective(Collective::Elect, destinations, vec![mask]))
}

fn active_mask(mut reader: Reader, names: &mut Names) -> Outcome {
    if reader.ty()? != Type::B32 {
        return Err(reader.wrong("its result is .b32"));
    }
    reader.done()?;
    let [result] = reader.operands()?;
    let result = names.destination(result, Type::B32)?;
    Ok(Lowered::new(Operation::ActiveMask(result)).writing([result]))
}
