//! Instructions that reach memory.

use super::atomic;
use super::names::Names;
use super::{Lowered, Outcome, Reader, class_of};
use crate::alu::{Alu, LowerError, Operands, unary};
use crate::exec::WIDEST;
use crate::program::{Address, AsyncCopy, Move, Operation, Space};
use crate::registers::{Class, Register};
use crate::syntax::ast::{Immediate, Operand, Type};

pub(super) fn lower(reader: Reader, names: &mut Names) -> Result<Option<Lowered>, LowerError> {
    let lowered = match reader.instruction.opcode.as_str() {
        "ld" | "ldu" => load(reader, names)?,
        "st" => store(reader, names)?,
        "atom" => atomic::lower(reader, names, true)?,
        "red" => atomic::lower(reader, names, false)?,
        "cvta" => convert_address(reader, names)?,
        "cp" => copy(reader, names)?,
        "membar" | "fence" | "prefetch" | "prefetchu" | "griddepcontrol" => nothing(reader)?,
        _ => return Ok(None),
    };
    Ok(Some(lowered))
}

/// Fences and cache hints, which change nothing here.
fn nothing(reader: Reader) -> Outcome {
    let addresses = match (reader.instruction.opcode.as_str(), reader.rest.as_slice()) {
        ("membar", ["cta" | "gl" | "sys"])
        | ("fence", ["sc" | "acq_rel", "cta" | "cluster" | "gpu" | "sys"])
        | ("griddepcontrol", ["wait" | "launch_dependents"]) => 0,
        ("prefetch", ["L1" | "L2"] | ["global" | "local", "L1" | "L2"]) | ("prefetchu", ["L1"]) => {
            1
        }
        _ => return Err(reader.wrong("no such combination of modifiers")),
    };
    match reader.instruction.operands.as_slice() {
        [] if addresses == 0 => {}
        [Operand::Address { .. }] if addresses == 1 => {}
        _ => return Err(reader.wrong(format!("it takes {addresses} addresses"))),
    }
    Ok(Lowered::new(Operation::Nothing))
}

/// The state space that a modifier names; generic if none does.
pub(super) fn space(reader: &mut Reader) -> Result<Space, LowerError> {
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
fn ordering(reader: &mut Reader, orders: &[&str]) -> Result<bool, LowerError> {
    let is_mmio = reader.take("mmio");
    let is_volatile = reader.take("volatile");
    let is_weak = reader.take("weak");
    let order = reader.take_any(orders);
    let scope = reader.take_any(&["cta", "cluster", "gpu", "sys"]);
    let count = usize::from(is_volatile) + usize::from(is_weak) + usize::from(order.is_some());
    if count > 1 || order.is_some() != scope.is_some() {
        return Err(reader.wrong("an order goes with one scope, and no other order"));
    }
    if is_mmio && (order, scope) != (Some("relaxed"), Some("sys")) {
        return Err(reader.wrong("`.mmio` goes with `.relaxed.sys`"));
    }
    Ok(is_volatile || order.is_some())
}

/// Takes hints to caches; whether a cache policy is among them.
fn hints(reader: &mut Reader, operators: &[&str]) -> bool {
    reader.take_any(operators);
    reader.take_any(&[
        "L1::evict_normal",
        "L1::evict_unchanged",
        "L1::evict_first",
        "L1::evict_last",
        "L1::no_allocate",
    ]);
    reader.take_any(&["L2::evict_normal", "L2::evict_first", "L2::evict_last"]);
    reader.take_any(&["L2::64B", "L2::128B", "L2::256B"]);
    reader.take("L2::cache_hint")
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
    let is_half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    if is_half || matches!(ty, Type::Pred | Type::B128) {
        return Err(reader.wrong("values of this type are not moved"));
    }
    let orders = if is_load {
        ["relaxed", "acquire"]
    } else {
        ["relaxed", "release"]
    };
    let is_atomic = ordering(&mut reader, &orders)?;
    let space = space(&mut reader)?;
    check_space(&reader, space, is_load, is_atomic)?;
    let is_read_only = is_load && space == Space::Global && reader.take("nc");
    let has_policy = hints(
        &mut reader,
        match (is_load, is_atomic, is_read_only) {
            (_, true, _) | (_, _, true) => &[],
            (true, ..) => &["ca", "cg", "cs", "lu", "cv"],
            (false, ..) => &["wb", "cg", "cs", "wt"],
        },
    );
    let count = vector(&mut reader);
    reader.done()?;
    let (first, second) = match reader.instruction.operands.as_slice() {
        [first, second] if !has_policy => (first, second),
        [first, second, policy] if has_policy => {
            names.source(policy, Type::B64)?;
            (first, second)
        }
        other => return Err(reader.wrong(format!("it does not take {} operands", other.len()))),
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
    let widest = match space {
        Space::Global | Space::Generic => WIDEST,
        _ => 16,
    };
    if ty.bytes() * count as u32 > widest || count == 8 && ty.bytes() != 4 {
        return Err(reader.wrong(format!(
            "such a vector is not moved; {widest} bytes are at most"
        )));
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

/// Checks that an instruction reaches a space.
fn check_space(
    reader: &Reader,
    space: Space,
    is_load: bool,
    is_atomic: bool,
) -> Result<(), LowerError> {
    let is_allowed = match space {
        Space::Global | Space::Generic => true,
        _ if reader.instruction.opcode == "ldu" => false,
        Space::Shared => true,
        Space::Local => !is_atomic || reader.instruction.modifiers.iter().any(|m| m == "volatile"),
        Space::Param | Space::Const => is_load && !is_atomic,
    };
    if is_allowed {
        Ok(())
    } else {
        Err(reader.wrong("it does not reach this state space"))
    }
}

fn load(reader: Reader, names: &mut Names) -> Outcome {
    let (moved, address) = moved(reader, names, true)?;
    let writes = moved.registers.clone();
    let lowered = Lowered::new(Operation::Load(moved)).writing(writes);
    Ok(lowered.reading(reads_of(address)))
}

fn store(reader: Reader, names: &mut Names) -> Outcome {
    let (moved, address) = moved(reader, names, false)?;
    let reads = [reads_of(address), moved.registers.clone()].concat();
    Ok(Lowered::new(Operation::Store(moved)).reading(reads))
}

/// `cvta` and `cvta.to`: a generic address is one in a window.
fn convert_address(mut reader: Reader, names: &mut Names) -> Outcome {
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
            unary(alu, registers, active, |a: u64| {
                a.wrapping_add(alu.immediate)
            });
        },
        destinations: vec![destination],
        sources: vec![source],
        immediate: add,
    };
    let lowered = Lowered::new(Operation::Alu(alu));
    Ok(lowered.reading([source]).writing([destination]))
}

/// `cp.async` and its groups.
fn copy(mut reader: Reader, names: &mut Names) -> Outcome {
    if !reader.take("async") {
        return Err(reader.wrong("only cp.async is known"));
    }
    for (name, operation) in [
        ("commit_group", Operation::CopyCommit),
        ("wait_all", Operation::CopyWait(None)),
    ] {
        if reader.take(name) {
            reader.done()?;
            return Ok(Lowered::new(operation));
        }
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
    let operator = reader.take_any(&["ca", "cg"]);
    reader.take_any(&["L2::64B", "L2::128B", "L2::256B"]);
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
    match (operator, bytes) {
        (Some("ca"), 4 | 8 | 16) | (Some("cg"), 16) => {}
        (None, _) => return Err(reader.wrong("`.ca` or `.cg` is expected")),
        _ => return Err(reader.operand(3, format!("{bytes} bytes are not copied at once"))),
    }
    let destination = address(&reader, names, 1, to, Space::Shared)?;
    let source = address(&reader, names, 2, from, Space::Global)?;
    let read = match rest {
        [] => None,
        [size] => Some(names.source(size, Type::U32)?),
        _ => return Err(reader.wrong("it takes at most four operands")),
    };
    let reads = [destination.base, source.base, read].into_iter().flatten();
    let copy = AsyncCopy {
        destination,
        source,
        bytes: *bytes as u32,
        read,
    };
    Ok(Lowered::new(Operation::CopyAsync(copy)).reading(reads))
}
