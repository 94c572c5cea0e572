//! Instructions that reach memory.

use super::names::Names;
use super::{Lowered, Reader, class_of};
use crate::alu::{Alu, LowerError, Operands};
use crate::exec::WIDEST;
use crate::program::{Address, AtomicOp, Move, Operation, Space};
use crate::registers::{Class, Register};
use crate::syntax::ast::{Immediate, Instruction, Operand, Type};

pub(super) fn lower(
    instruction: &Instruction,
    names: &mut Names,
) -> Result<Option<Lowered>, LowerError> {
    let reader = Reader::new(instruction);
    let lowered = match instruction.opcode.as_str() {
        "ld" | "ldu" => load(reader, names)?,
        "st" => store(reader, names)?,
        "atom" => atomic(reader, names, true)?,
        "red" => atomic(reader, names, false)?,
        "cvta" => convert_address(reader, names)?,
        "cp" => copy(reader, names)?,
        "membar" | "fence" | "prefetch" | "prefetchu" | "griddepcontrol" => {
            Lowered::new(Operation::Nothing)
        }
        _ => return Ok(None),
    };
    Ok(Some(lowered))
}

/// The state space that a modifier names; generic if none does.
fn space(reader: &mut Reader) -> Result<Space, LowerError> {
    let spaces = [
        ("global", Space::Global),
        ("shared", Space::Shared),
        ("shared::cta", Space::Shared),
        ("local", Space::Local),
        ("param", Space::Param),
        ("param::entry", Space::Param),
        ("const", Space::Const),
    ];
    if reader.take("shared::cluster") {
        return Err(reader.wrong("shared memory of other blocks is not supported"));
    }
    let found = spaces.into_iter().find(|(name, _)| reader.take(name));
    Ok(found.map_or(Space::Generic, |(_, space)| space))
}

/// Takes what orders an access; whether it is more than a plain one.
fn ordering(reader: &mut Reader) -> bool {
    let is_atomic = [
        "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio",
    ]
    .map(|word| reader.take(word))
    .contains(&true);
    for scope in ["cta", "gpu", "sys", "cluster"] {
        reader.take(scope);
    }
    reader.take("weak");
    is_atomic
}

/// Takes hints to caches.
fn hints(reader: &mut Reader) {
    reader.skip(|part| {
        matches!(part, "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "nc")
            || part.starts_with("L1::")
            || part.starts_with("L2::")
    });
}

pub(super) fn address(
    reader: &Reader,
    names: &mut Names,
    number: usize,
    operand: &Operand,
    space: Space,
) -> Result<Address, LowerError> {
    match operand {
        Operand::Address { base, offset } => names
            .address(base.as_deref(), *offset, space)
            .map_err(|reason| reader.operand(number, reason)),
        _ => Err(reader.operand(number, "an address is expected")),
    }
}

pub(super) fn reads_of(address: Address) -> Vec<Register> {
    address.base.into_iter().collect()
}

/// How many elements a `.v2` or `.v4` access has.
fn vector(reader: &mut Reader) -> usize {
    match reader.take_any(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}

/// The operands of a vector access, as many as it has elements.
pub(super) fn elements<'a>(
    reader: &Reader,
    number: usize,
    operand: &'a Operand,
    count: usize,
) -> Result<&'a [Operand], LowerError> {
    let list = match operand {
        Operand::Vector(list) => list.as_slice(),
        single => std::slice::from_ref(single),
    };
    if list.len() == count {
        Ok(list)
    } else {
        let reason = format!("{count} registers are expected, not {}", list.len());
        Err(reader.operand(number, reason))
    }
}

/// The register of a loaded or stored value, which may be wider than its type.
pub(super) fn wide(
    names: &mut Names,
    operand: &Operand,
    ty: Type,
    is_destination: bool,
) -> Result<Register, LowerError> {
    let mut resolve = |ty| {
        if is_destination {
            names.destination(operand, ty)
        } else {
            names.source(operand, ty)
        }
    };
    match resolve(ty) {
        Err(narrow) if class_of(ty) == Some(Class::Word) => resolve(Type::B64).map_err(|_| narrow),
        resolved => resolved,
    }
}

fn moved(
    mut reader: Reader,
    names: &mut Names,
    is_load: bool,
) -> Result<(Move, Address), LowerError> {
    let ty = reader.ty()?;
    if matches!(ty, Type::Pred | Type::B128) {
        return Err(reader.wrong("values of this type are not moved"));
    }
    let is_atomic = ordering(&mut reader);
    let space = space(&mut reader)?;
    hints(&mut reader);
    let count = vector(&mut reader);
    reader.done()?;
    let policy = usize::from(reader.instruction.operands.len() == 3);
    let (first, second) = match reader.instruction.operands.as_slice() {
        [first, second] | [first, second, _] if policy <= 1 => (first, second),
        other => return Err(reader.wrong(format!("it takes 2 operands, not {}", other.len()))),
    };
    let (place, value, numbers) = if is_load {
        (second, first, [2, 1])
    } else {
        (first, second, [1, 2])
    };
    let address = address(&reader, names, numbers[0], place, space)?;
    let registers = elements(&reader, numbers[1], value, count)?
        .iter()
        .map(|operand| wide(names, operand, ty, is_load))
        .collect::<Result<Vec<_>, _>>()?;
    if ty.bytes() * count as u32 > WIDEST {
        return Err(reader.wrong(format!("more than {WIDEST} bytes are not moved at once")));
    }
    let bits = elements(&reader, numbers[1], value, count)?
        .iter()
        .filter_map(|operand| names.width(operand))
        .min();
    let moved = Move {
        space,
        bytes: ty.bytes(),
        is_signed: ty.is_signed(),
        register_mask: u64::MAX >> (64 - bits.unwrap_or(64).clamp(1, 64)),
        registers,
        address,
        is_atomic,
    };
    Ok((moved, address))
}

fn load(reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    let (moved, address) = moved(reader, names, true)?;
    Ok(Lowered {
        reads: reads_of(address),
        writes: moved.registers.clone(),
        operation: Operation::Load(moved),
    })
}

fn store(reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    let (moved, address) = moved(reader, names, false)?;
    let mut reads = reads_of(address);
    reads.extend(&moved.registers);
    Ok(Lowered {
        reads,
        writes: Vec::new(),
        operation: Operation::Store(moved),
    })
}

fn atomic(mut reader: Reader, names: &mut Names, returns: bool) -> Result<Lowered, LowerError> {
    let ty = reader.ty()?;
    ordering(&mut reader);
    let space = space(&mut reader)?;
    hints(&mut reader);
    reader.take("noftz");
    let ops = [
        ("and", AtomicOp::And),
        ("or", AtomicOp::Or),
        ("xor", AtomicOp::Xor),
        ("add", AtomicOp::Add),
        ("min", AtomicOp::Min),
        ("max", AtomicOp::Max),
        ("inc", AtomicOp::Inc),
        ("dec", AtomicOp::Dec),
        ("exch", AtomicOp::Exch),
        ("cas", AtomicOp::Cas),
    ];
    let found = ops.into_iter().find(|(name, _)| reader.take(name));
    let Some((_, op)) = found else {
        return Err(reader.wrong("its operation is not known"));
    };
    reader.done()?;
    let is_known = match ty {
        Type::F32 | Type::F64 => op == AtomicOp::Add,
        Type::B32 | Type::B64 => {
            matches!(
                op,
                AtomicOp::And | AtomicOp::Or | AtomicOp::Xor | AtomicOp::Exch | AtomicOp::Cas
            )
        }
        Type::U32 => !matches!(op, AtomicOp::And | AtomicOp::Or | AtomicOp::Xor),
        Type::S32 | Type::U64 | Type::S64 => {
            matches!(
                op,
                AtomicOp::Add | AtomicOp::Min | AtomicOp::Max | AtomicOp::Exch | AtomicOp::Cas
            )
        }
        _ => false,
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
    let mut reads = reads_of(address);
    reads.extend(&sources);
    Ok(Lowered {
        reads,
        writes: destination.into_iter().collect(),
        operation: Operation::Atomic {
            space,
            op,
            ty,
            destination,
            address,
            sources,
        },
    })
}

/// `cvta` and `cvta.to`: a generic address is one in a window.
fn convert_address(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    let ty = reader.ty()?;
    if !matches!(ty, Type::U64) {
        return Err(reader.wrong("addresses have 64 bits"));
    }
    let is_to = reader.take("to");
    let space = space(&mut reader)?;
    reader.done()?;
    let [destination, source] = reader.operands()?;
    let window = Names::window(space);
    let add = if is_to { window.wrapping_neg() } else { window };
    let source = names.source(source, ty)?;
    let destination = names.destination(destination, ty)?;
    let alu = Alu {
        run: |alu, registers, active| {
            let source = *registers.double(alu.sources[0]);
            let lanes = registers.double_mut(alu.destinations[0]);
            for (lane, value) in lanes
                .iter_mut()
                .zip(source)
                .enumerate()
                .filter_map(|(i, pair)| (active >> i & 1 == 1).then_some(pair))
            {
                *lane = value.wrapping_add(alu.immediate);
            }
        },
        destinations: vec![destination],
        sources: vec![source],
        immediate: add,
    };
    Ok(Lowered {
        reads: vec![source],
        writes: vec![destination],
        operation: Operation::Alu(alu),
    })
}

/// `cp.async` and its groups.
fn copy(mut reader: Reader, names: &mut Names) -> Result<Lowered, LowerError> {
    if !reader.take("async") {
        return Err(reader.wrong("only cp.async is known"));
    }
    if reader.take("commit_group") {
        reader.done()?;
        return Ok(Lowered::new(Operation::CopyCommit));
    }
    if reader.take("wait_all") {
        reader.done()?;
        return Ok(Lowered::new(Operation::CopyWait(None)));
    }
    if reader.take("wait_group") {
        reader.done()?;
        return match reader.operands()? {
            [Operand::Immediate(Immediate::Integer(groups))] => {
                Ok(Lowered::new(Operation::CopyWait(Some(*groups as u32))))
            }
            _ => Err(reader.operand(1, "a constant is expected")),
        };
    }
    hints(&mut reader);
    let is_shared = reader.take("shared") || reader.take("shared::cta");
    if !is_shared || !reader.take("global") {
        return Err(reader.wrong("it copies from .global to .shared"));
    }
    reader.done()?;
    let operands = reader.instruction.operands.as_slice();
    let [
        to,
        from,
        Operand::Immediate(Immediate::Integer(bytes)),
        rest @ ..,
    ] = operands
    else {
        return Err(reader.wrong("it takes two addresses and a constant size"));
    };
    if !matches!(bytes, 4 | 8 | 16) {
        return Err(reader.operand(3, format!("{bytes} is not 4, 8 or 16")));
    }
    let destination = address(&reader, names, 1, to, Space::Shared)?;
    let source = address(&reader, names, 2, from, Space::Global)?;
    let read = match rest {
        [] => None,
        [size] => Some(names.source(size, Type::U32)?),
        _ => return Err(reader.wrong("it takes at most four operands")),
    };
    let mut reads = reads_of(destination);
    reads.extend(source.base);
    reads.extend(read);
    Ok(Lowered {
        reads,
        writes: Vec::new(),
        operation: Operation::CopyAsync {
            destination,
            source,
            bytes: *bytes as u32,
            read,
        },
    })
}
