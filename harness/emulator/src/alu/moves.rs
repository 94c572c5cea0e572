//! `mov`, with packing and unpacking. PTX ISA 9.7.9.

use super::Alu;
use super::form::{Form, by_type, run};
use super::lanes::{Lane, each};
use crate::registers::{Class, LANES, Registers};
use crate::syntax::ast::{Operand, Type};

pub(super) fn lower(modifiers: &[&str], operands: &[Operand]) -> Option<Form> {
    let [ty] = modifiers else {
        return None;
    };
    let ty = Type::from_name(ty)?;
    match operands {
        [Operand::Vector(parts), _] => {
            let part = part_type(ty, parts.len())?;
            let destinations = vec![part; parts.len()];
            Some(vector(Form::new(destinations, [ty], unpack), part))
        }
        [_, Operand::Vector(parts)] => {
            let part = part_type(ty, parts.len())?;
            Some(vector(Form::new([ty], vec![part; parts.len()], pack), part))
        }
        _ if ty == Type::Pred => Some(Form::new([ty], [ty], |alu, registers, active| {
            let a = registers.predicate(alu.sources[0]);
            registers.set_predicate(alu.destinations[0], a, active);
        })),
        _ => by_type!(ty, T in moved, Form::new([ty], [ty], run!(unary, |a: T| a))),
    }
}

/// The type of the parts of a vector that is moved as one value.
fn part_type(ty: Type, parts: usize) -> Option<Type> {
    match (ty, parts) {
        (Type::B16, 2) | (Type::B32, 4) => Some(Type::B8),
        (Type::B32, 2) | (Type::B64, 4) => Some(Type::B16),
        (Type::B64, 2) => Some(Type::B32),
        _ => None,
    }
}

/// The immediate is the width of a part.
fn vector(form: Form, part: Type) -> Form {
    let mut form = form.with(u64::from(part.bits()));
    form.has_vectors = true;
    form
}

/// The first part is the lowest.
fn pack(alu: &Alu, registers: &mut Registers, active: u32) {
    let mut whole = [0u64; LANES];
    for (k, &source) in alu.sources.iter().enumerate() {
        let shift = alu.immediate * k as u64;
        let part = registers.word(source);
        for i in 0..LANES {
            whole[i] |= u64::from(part[i]) << shift;
        }
    }
    match alu.destinations[0].class {
        Class::Double => u64::store(registers, alu.destinations[0], whole, active),
        _ => u32::store(
            registers,
            alu.destinations[0],
            each(|i| whole[i] as u32),
            active,
        ),
    }
}

fn unpack(alu: &Alu, registers: &mut Registers, active: u32) {
    let whole = match alu.sources[0].class {
        Class::Double => u64::load(registers, alu.sources[0]),
        _ => {
            let words = registers.word(alu.sources[0]);
            each(|i| u64::from(words[i]))
        }
    };
    let mask = (1u64 << alu.immediate) - 1;
    for (k, &destination) in alu.destinations.iter().enumerate() {
        let shift = alu.immediate * k as u64;
        let part = each(|i| (whole[i] >> shift & mask) as u32);
        u32::store(registers, destination, part, active);
    }
}
