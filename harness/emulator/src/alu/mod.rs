//! Instructions that compute each lane's result from its own registers: arithmetic, logic,
//! comparison, conversion, moves. An instruction becomes a function that runs over all lanes.

mod lanes;

use crate::registers::{Register, Registers};
use crate::syntax::ast::{Instruction, Operand, Type};

/// A function that computes the lanes of [`Alu::destinations`] from those of [`Alu::sources`]
/// and changes the active ones.
pub type LaneFunction = fn(&Alu, &mut Registers, active: u32);

/// An instruction made ready to run.
#[derive(Clone, Debug)]
pub struct Alu {
    /// What it does.
    pub run: LaneFunction,
    /// Registers that it writes: one or two.
    pub destinations: Vec<Register>,
    /// Registers that it reads, in the order of the operands.
    pub sources: Vec<Register>,
    /// What is fixed in the instruction beside its operands, if its function needs it.
    pub immediate: u64,
}

/// What an instruction's operands stand for: the one who lowers a kernel knows.
pub trait Operands {
    /// The register that a source operand of type `ty` is: a register of that width, a special
    /// register, or one that holds the constant.
    ///
    /// # Errors
    /// When it is none of these, or has another width.
    fn source(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError>;

    /// The register that a destination operand of type `ty` is; a fresh one for `_`.
    ///
    /// # Errors
    /// As [`Operands::source`].
    fn destination(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError>;

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

/// Makes an instruction ready; `None` when it is not one of this module's.
///
/// # Errors
/// When it has modifiers or operands that PTX does not give it.
pub fn lower(
    instruction: &Instruction,
    operands: &mut dyn Operands,
) -> Result<Option<Alu>, LowerError> {
    let modifiers: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
    let run: LaneFunction = match (instruction.opcode.as_str(), modifiers.as_slice()) {
        ("add", ["u32" | "s32"]) => |alu, registers, active| {
            lanes::binary(alu, registers, active, u32::wrapping_add);
        },
        _ => return Ok(None),
    };
    let [d, a, b] = instruction.operands.as_slice() else {
        return Ok(None);
    };
    Ok(Some(Alu {
        run,
        destinations: vec![operands.destination(d, Type::U32)?],
        sources: vec![
            operands.source(a, Type::U32)?,
            operands.source(b, Type::U32)?,
        ],
        immediate: 0,
    }))
}
