//! The numbers of a code kernel that its template writes into PTX.

use crate::format::{ElementFormat, Grid};
use crate::fragment::bits::StoredBits;
use crate::fragment::{OperandType, WeightFormat};
use serde::Serialize;

/// `v` in the template of codes.
#[derive(Serialize)]
pub(super) struct CodesContext {
    bits: u32,
    run: usize,
    /// Column of each of a lane's 16, from its first.
    columns: Vec<usize>,
    row_words: usize,
    /// From word to word of a row, and from row to row.
    word_step: usize,
    row_step: usize,
    chunk_bytes: usize,
    vectors: Vec<Vector>,
    is_dense: bool,
    is_nibbles: bool,
    is_int: bool,
    zero_code: u8,
    stored_shift: u32,
    operand_bits: u32,
    /// Operands are in two's complement.
    is_twos: bool,
    /// There are codes whose operands are above `limit`, or the lowest of a two's complement, which
    /// are no finite value.
    has_limit: bool,
    limit: u16,
    terms: Vec<Term>,
}

/// Words of a lane that lie together.
#[derive(Serialize)]
struct Vector {
    first: usize,
    words: usize,
    /// Bytes from the chunk to the vector of lane 0.
    offset: usize,
}

/// Where bits of a register of operands go.
#[derive(Serialize)]
struct Term {
    register: usize,
    word: usize,
    mask: u32,
    rotate: u32,
}

/// The largest operand of a finite value, sign apart; `None` if all codes have one.
pub(super) fn limit(element: ElementFormat, stored: &StoredBits) -> Option<u16> {
    let StoredBits::Fields { operand, .. } = stored else {
        return None;
    };
    let magnitude = (1 << (operand.bits() - 1)) - 1;
    let place = |code: u8| stored.place(element, code).map(|place| place & magnitude);
    let is_known = |&code: &u8| place(code).is_some() && element.decode(code).is_finite();
    let largest = element.codes().filter(is_known).filter_map(place).max();
    largest.filter(|_| !element.codes().all(|code| is_known(&code)))
}

impl CodesContext {
    pub(super) fn new(codes: Option<(ElementFormat, OperandType)>, run: usize) -> Self {
        let element = codes.map(|(element, _)| element);
        let operand = codes.map_or(OperandType::Bf16, |(_, operand)| operand);
        let bits = element.map_or(16, |element| element.bits());
        let row_words = match element {
            None => WeightFormat::Dense.row_words(),
            Some(element) => element
                .layout()
                .words(16)
                .expect("`support` has refused others"),
        };
        let (mut terms, mut stored_shift) = (Vec::new(), 0);
        let stored = codes.and_then(|(element, operand)| StoredBits::of_operand(element, operand));
        if let Some(StoredBits::Fields { group, shift, .. }) = stored {
            stored_shift = shift;
            let count = group.registers.len();
            for register in 0..16 / operand.per_register() {
                let (index, place) = (register / count, register % count);
                terms.extend(group.registers[place].iter().map(|term| Term {
                    register,
                    word: index * group.words + term.word,
                    mask: term.mask,
                    rotate: term.rotate,
                }));
            }
        }
        let vector = |first: usize| Vector {
            first,
            words: 4.min(2 * row_words - first),
            offset: 4 * 32 * first,
        };
        let limit = element
            .zip(stored)
            .and_then(|(element, stored)| limit(element, &stored));
        Self {
            bits,
            run,
            columns: (0..16).map(|i| 4 * run * (i / run) + i % run).collect(),
            row_words,
            word_step: if operand == OperandType::Bf16 { 1 } else { 2 },
            row_step: if operand == OperandType::Bf16 {
                row_words
            } else {
                1
            },
            chunk_bytes: 2 * row_words * 32 * 4,
            vectors: (0..2 * row_words).step_by(4).map(vector).collect(),
            is_dense: element.is_none(),
            is_nibbles: matches!(stored, Some(StoredBits::Nibbles(_))),
            is_int: element.is_some_and(|element| matches!(element.grid(), Grid::Int(_))),
            zero_code: element.map_or(0, |element| element.zero_code()),
            stored_shift,
            operand_bits: operand.bits(),
            is_twos: operand == OperandType::S8,
            has_limit: limit.is_some(),
            limit: limit.unwrap_or(0),
            terms,
        }
    }
}
