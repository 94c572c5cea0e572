//! The numbers with which `macros/fragments.j2` turns stored codes into operands.

use crate::format::{ScaleFormat, pow2};
use crate::fragment::OperandType;
use crate::fragment::bits::{StoredBits, Term};
use half::bf16;
use serde::Serialize;

/// How codes become operands.
#[derive(Default, Serialize)]
pub(crate) struct Codes {
    is_table: bool,
    /// bf16 by code: the low bytes, then the high bytes, of four codes a word.
    table: Vec<u32>,
    registers: Vec<Vec<Extraction>>,
    group_words: usize,
    /// Operands are multiplied: by the folded scale, or by `unit`.
    has_factor: bool,
    /// 2^P, twice as bf16.
    unit: u32,
}

#[derive(Serialize)]
struct Extraction {
    word: usize,
    rotate: u32,
    mask: u32,
    instruction: &'static str,
    is_rotation: bool,
    /// Zeros come in from the right.
    is_left: bool,
    amount: u32,
}

/// The kind of a scale, as macros name it.
pub(crate) const fn scale_kind(scale: ScaleFormat) -> &'static str {
    match scale {
        ScaleFormat::E8M0 { .. } => "power",
        ScaleFormat::Unsigned { .. } => "unsigned",
        ScaleFormat::Fp16 => "fp16",
        ScaleFormat::Bf16 => "bf16",
        ScaleFormat::Fp32 => "fp32",
    }
}

/// A power of two, twice as bf16.
pub(crate) fn pair_of(exponent: i32) -> u32 {
    let bits = u32::from(bf16::from_f64(pow2(exponent)).to_bits());
    bits << 16 | bits
}

impl Codes {
    /// Whether codes are looked up.
    pub const fn is_table(&self) -> bool {
        self.is_table
    }

    /// Those of stored bits; `is_folded` if the scale comes with the factor.
    pub fn new(stored: StoredBits, is_folded: bool) -> Self {
        match stored {
            StoredBits::Nibbles(values) => {
                let bits = |code: usize| bf16::from_f32(values[code]).to_bits().to_le_bytes();
                let word = |byte: usize, first: usize| {
                    u32::from_le_bytes(std::array::from_fn(|i| bits(first + i)[byte]))
                };
                let words = [0, 1].into_iter();
                let words = words.flat_map(|byte| (0..16).step_by(4).map(move |i| (byte, i)));
                Self {
                    is_table: true,
                    table: words.map(|(byte, first)| word(byte, first)).collect(),
                    has_factor: is_folded,
                    ..Self::default()
                }
            }
            StoredBits::Fields {
                group,
                operand,
                exponent,
                ..
            } => {
                let registers = group.registers.iter();
                let registers = registers.map(|terms| terms.iter().map(Extraction::new).collect());
                Self {
                    registers: registers.collect(),
                    group_words: group.words,
                    has_factor: operand == OperandType::Bf16,
                    unit: match operand {
                        OperandType::Bf16 => pair_of(exponent),
                        OperandType::E4m3 | OperandType::S8 => 0,
                    },
                    ..Self::default()
                }
            }
        }
    }
}

impl Extraction {
    /// A rotation, or a shift where that brings the same bits of the mask.
    fn new(term: &Term) -> Self {
        let (instruction, is_rotation, amount) = match term.rotate {
            left if term.mask.trailing_zeros() >= left => ("shl.b32        ", false, left),
            left if term.mask.leading_zeros() >= 32 - left => ("shr.u32        ", false, 32 - left),
            left => ("shf.l.wrap.b32 ", true, left),
        };
        Self {
            word: term.word,
            rotate: term.rotate,
            mask: term.mask,
            instruction,
            is_rotation,
            is_left: instruction.starts_with("shl"),
            amount,
        }
    }
}
