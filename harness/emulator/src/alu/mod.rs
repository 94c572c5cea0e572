//! Instructions that compute each lane's result from its own registers: arithmetic, logic,
//! comparison, conversion, moves. An instruction becomes a function that runs over all lanes.
//!
//! Each submodule is a table from opcode and modifiers to a function and the types of its
//! operands; [`lower`] binds the operands.

mod carry;
mod compare;
mod convert;
mod float;
mod form;
mod half;
mod integer;
mod lanes;
mod logic;
mod moves;
mod packed_convert;
mod special;

use crate::registers::{Register, Registers};
use crate::syntax::ast::{Immediate, Instruction, Operand, Type};
use form::Form;
pub(crate) use lanes::{each, unary, vectorised};

/// A function that computes the lanes of [`Alu::destinations`] from those of [`Alu::sources`]
/// and changes the active ones.
pub type LaneFunction = fn(&Alu, &mut Registers, active: u32);

/// An instruction made ready to run.
#[derive(Clone, Debug)]
pub struct Alu {
    /// What it does.
    pub run: LaneFunction,
    /// Registers that it writes: one or two, up to four when a `mov` unpacks.
    pub destinations: Vec<Register>,
    /// Registers that it reads, in the order of the operands.
    pub sources: Vec<Register>,
    /// A constant of the instruction beside its operands, if its function needs one.
    pub immediate: u64,
}

/// Resolves the operands of an instruction. The lowering of a kernel implements it.
pub trait Operands {
    /// The register that a source operand of type `ty` is: a register of that width, a special
    /// register, or one that holds the constant.
    ///
    /// `cvt` also takes a wider register: of [`crate::registers::Class::Double`] when it has
    /// 64 bits.
    ///
    /// # Errors
    /// When it is none of these, or has another width.
    fn source(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError>;

    /// The register that a destination operand of type `ty` is; a fresh one for `_`.
    ///
    /// # Errors
    /// As [`Operands::source`].
    fn destination(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError>;

    /// Width in bits of the register that an operand names, if it is one. PTX lets a result of
    /// `cvt` be extended to a wider register, and its source be the low bits of one: such an
    /// operand is asked for with the register's own width.
    fn width(&self, operand: &Operand) -> Option<u32>;

    /// The carry flag that `add.cc` writes and `addc` reads: a predicate.
    fn carry(&mut self) -> Register;
}

/// Why an instruction cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// It is not known.
    #[error("unknown instruction `{0}`")]
    Unknown(String),
    /// It is known, but not with these modifiers.
    #[error("`{instruction}`: {reason}")]
    Modifier {
        /// Opcode and modifiers.
        instruction: String,
        /// What is wrong.
        reason: String,
    },
    /// An operand is not what the instruction takes.
    #[error("operand {number} of `{instruction}`: {reason}")]
    Operand {
        /// Opcode and modifiers.
        instruction: String,
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The table for an opcode: its form with these modifiers and operands, if PTX has it.
fn find(opcode: &str, modifiers: &[&str], instruction: &Instruction) -> Option<Option<Form>> {
    let operands = &instruction.operands;
    Some(match opcode {
        "add" | "sub" | "mad" => integer::lower(opcode, modifiers)
            .or_else(|| carry::lower(opcode, modifiers))
            .or_else(|| float::lower(opcode, modifiers))
            .or_else(|| half::lower(opcode, modifiers)),
        "mul" | "abs" | "neg" | "min" | "max" => integer::lower(opcode, modifiers)
            .or_else(|| float::lower(opcode, modifiers))
            .or_else(|| half::lower(opcode, modifiers)),
        "fma" => float::lower(opcode, modifiers).or_else(|| half::lower(opcode, modifiers)),
        "div" => integer::lower(opcode, modifiers)
            .or_else(|| float::lower(opcode, modifiers))
            .or_else(|| special::lower(opcode, modifiers)),
        "sqrt" | "rcp" => {
            float::lower(opcode, modifiers).or_else(|| special::lower(opcode, modifiers))
        }
        "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => special::lower(opcode, modifiers),
        "copysign" | "testp" => float::lower(opcode, modifiers),
        "addc" | "subc" | "madc" => carry::lower(opcode, modifiers),
        "mul24" | "mad24" | "sad" | "rem" | "popc" | "clz" | "bfind" | "fns" | "brev" | "bfe"
        | "bfi" | "bmsk" | "szext" | "dp4a" | "dp2a" | "cnot" => integer::lower(opcode, modifiers),
        "and" | "or" | "xor" | "not" | "lop3" | "shl" | "shr" | "shf" | "prmt" => {
            logic::lower(opcode, modifiers)
        }
        "setp" | "set" | "selp" | "slct" => compare::lower(opcode, modifiers, operands),
        "mov" => moves::lower(modifiers, operands),
        "cvt" => packed_convert::lower(modifiers).or_else(|| convert::lower(modifiers)),
        _ => return None,
    })
}

/// Makes an instruction ready; `None` when it is not one of this module's.
///
/// # Errors
/// When it has modifiers or operands that PTX does not give it.
pub fn lower(
    instruction: &Instruction,
    operands: &mut dyn Operands,
) -> Result<Option<Alu>, LowerError> {
    let modifiers: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
    match find(&instruction.opcode, &modifiers, instruction) {
        None => Ok(None),
        Some(None) => Err(LowerError::Modifier {
            instruction: written(instruction),
            reason: "no such combination of modifiers".into(),
        }),
        Some(Some(form)) => bind(form, instruction, operands).map(Some),
    }
}

/// Opcode and modifiers.
fn written(instruction: &Instruction) -> String {
    std::iter::once(&instruction.opcode)
        .chain(&instruction.modifiers)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(".")
}

fn bind(
    form: Form,
    instruction: &Instruction,
    operands: &mut dyn Operands,
) -> Result<Alu, LowerError> {
    let wrong = |number: usize, reason: &str| LowerError::Operand {
        instruction: written(instruction),
        number,
        reason: reason.into(),
    };
    let (first, rest) = instruction
        .operands
        .split_first()
        .ok_or_else(|| wrong(1, "missing"))?;
    let destinations = match first {
        Operand::Pair(d, p) => vec![&**d, &**p],
        other => parts(other, form.has_vectors),
    };
    let sources: Vec<&Operand> = rest
        .iter()
        .flat_map(|operand| parts(operand, form.has_vectors))
        .collect();
    let constants = usize::from(form.constant.is_some());
    if destinations.len() != form.destinations.len() {
        return Err(wrong(
            1,
            &format!("{} destinations expected", form.destinations.len()),
        ));
    }
    if sources.len() != form.sources.len() + constants {
        return Err(wrong(
            instruction.operands.len(),
            &format!("{} sources expected", form.sources.len() + constants),
        ));
    }

    let mut alu = Alu {
        run: form.run,
        destinations: Vec::with_capacity(2),
        sources: Vec::with_capacity(sources.len()),
        immediate: form.immediate,
    };
    let mut types = form.sources.iter();
    for (i, operand) in sources.iter().copied().enumerate() {
        if form.constant == Some(i) {
            let Operand::Immediate(Immediate::Integer(value @ 0..=0xff)) = operand else {
                return Err(wrong(i + 2, "a constant of 8 bits expected"));
            };
            alu.immediate |= value;
            continue;
        }
        let Some(&ty) = types.next() else {
            return Err(wrong(i + 2, "one source too many"));
        };
        alu.sources.push(match (operand, form.negation) {
            (Operand::Not(name), Some(bit)) if i + 1 == sources.len() => {
                alu.immediate |= 1 << bit;
                operands.source(&Operand::Name(name.clone()), ty)?
            }
            (Operand::Name(_) | Operand::Offset { .. } | Operand::Immediate(_), _) => {
                operands.source(operand, widened(instruction, &*operands, operand, ty))?
            }
            _ => return Err(wrong(i + 2, "a register or constant expected")),
        });
    }
    for (operand, &ty) in destinations.into_iter().zip(&form.destinations) {
        let ty = widened(instruction, &*operands, operand, ty);
        if instruction.opcode == "cvt" {
            alu.immediate |= u64::from(ty.bits()) << convert::WIDTH;
        }
        alu.destinations.push(match operand {
            Operand::Name(_) | Operand::Sink => operands.destination(operand, ty)?,
            _ => return Err(wrong(1, "a register expected")),
        });
    }
    if form.reads_carry {
        alu.sources.push(operands.carry());
    }
    if form.writes_carry {
        alu.destinations.push(operands.carry());
    }
    Ok(alu)
}

/// The elements of a vector where the instruction takes one, else the operand.
fn parts(operand: &Operand, has_vectors: bool) -> Vec<&Operand> {
    match operand {
        Operand::Vector(parts) if has_vectors => parts.iter().collect(),
        other => vec![other],
    }
}

/// The type to ask an operand for: that of its wider register where `cvt` takes one.
fn widened(
    instruction: &Instruction,
    operands: &dyn Operands,
    operand: &Operand,
    ty: Type,
) -> Type {
    if instruction.opcode != "cvt" {
        return ty;
    }
    match operands.width(operand) {
        Some(16) if ty.bits() < 16 => Type::B16,
        Some(32) if ty.bits() < 32 => Type::B32,
        Some(64) if ty.bits() < 64 => Type::B64,
        _ => ty,
    }
}
