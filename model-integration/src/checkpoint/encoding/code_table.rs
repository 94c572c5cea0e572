//! Codes of a few bits in a tensor of bytes or 32-bit words.

use safetensors::Dtype;

use super::super::CheckpointError;
use super::super::packed::{Place, bytes};

/// Codes in lines: the rows of a matrix, or its columns.
pub(super) struct CodeTable {
    place: Place,
    bits: u32,
    order: Order,
    /// Bits of a code that are used.
    mask: u32,
    /// Inverts the top bit of two's complement, so that integers count from zero.
    flip: u32,
}

/// Where code `index` of a line lies. Words are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The line has bytes of its own; codes follow each other bit by bit.
    Stream { line_bytes: usize },
    /// The line has words of its own; a code never crosses a word.
    Whole { line_words: usize },
    /// Codes follow each other bit by bit in every `lines`-th word.
    Strided { lines: usize },
    /// AWQ's: words of eight lines for each index, in the order 0, 2, 4, 6, 1, 3, 5, 7.
    Awq { words: usize },
}

/// The nibble of line i of eight in a word of AWQ.
const AWQ_NIBBLES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

impl CodeTable {
    /// A table of `lines` lines of `codes` codes, each line with its own bytes or words; the tensor
    /// has one of the types `known`.
    ///
    /// # Errors
    /// `Shape` unless the tensor has these bytes, `PackedDtype` for other types.
    pub(super) fn by_lines(
        place: Place,
        bits: u32,
        [lines, codes]: [usize; 2],
        known: &[Dtype],
    ) -> Result<Self, CheckpointError> {
        let info = &place.0.tensors()[place.1].1;
        let flips = info.dtype == Dtype::I8;
        let is_words = info.dtype == Dtype::I32;
        if !known.contains(&info.dtype) {
            return Err(dtype_error(&place, known));
        }
        let found = match info.shape.first() {
            Some(&first) if first == lines && lines > 0 => bytes(&place).len() / lines,
            _ => usize::MAX,
        };
        let dense = (codes * bits as usize).div_ceil(8);
        let line_words = codes.div_ceil(32 / bits as usize);
        let order = match is_words {
            false if found == dense => Order::Stream { line_bytes: found },
            true if found == dense.next_multiple_of(4) => Order::Stream { line_bytes: found },
            true if found == line_words * 4 => Order::Whole { line_words },
            _ => {
                let expected = match is_words {
                    true => vec![lines, dense.div_ceil(4)],
                    false => vec![lines, dense],
                };
                return Err(shape_error(&place, expected));
            }
        };
        Ok(Self {
            place,
            bits,
            order,
            mask: (1 << bits) - 1,
            flip: if flips { 1 << (bits - 1) } else { 0 },
        })
    }

    /// A table in words of another order; the tensor has `shape`.
    ///
    /// # Errors
    /// `PackedDtype` unless it is I32, `Shape`.
    pub(super) fn of_words(
        place: Place,
        bits: u32,
        order: Order,
        shape: [usize; 2],
    ) -> Result<Self, CheckpointError> {
        let info = &place.0.tensors()[place.1].1;
        if info.dtype != Dtype::I32 {
            return Err(dtype_error(&place, &[Dtype::I32]));
        }
        if info.shape != shape {
            return Err(shape_error(&place, shape.to_vec()));
        }
        Ok(Self {
            place,
            bits,
            order,
            mask: (1 << bits) - 1,
            flip: 0,
        })
    }

    /// The table with the lowest `bits` bits of every code.
    pub(super) const fn narrowed(mut self, bits: u32) -> Self {
        self.mask = (1 << bits) - 1;
        if self.flip != 0 {
            self.flip = 1 << (bits - 1);
        }
        self
    }

    /// The first codes of a line, one a byte.
    pub(super) fn read(&self, line: usize, out: &mut [u8]) {
        let bytes = bytes(&self.place);
        let bits = self.bits as usize;
        let (table, _) = bytes.as_chunks::<4>();
        let word = |at: usize| table.get(at).map_or(0, |word| u32::from_le_bytes(*word));
        match self.order {
            Order::Stream { line_bytes } => {
                let line = &bytes[line * line_bytes..][..line_bytes];
                if bits == 8 {
                    out.copy_from_slice(&line[..out.len()]);
                } else {
                    let mut bytes = line.iter().map(|byte| u64::from(*byte));
                    split(bits, 8, || bytes.next().unwrap_or(0), out);
                }
            }
            Order::Whole { line_words } => {
                let words = (line * line_words..).map(word);
                for (codes, word) in out.chunks_mut(32 / bits).zip(words) {
                    for (place, code) in codes.iter_mut().enumerate() {
                        *code = (word >> (place * bits)) as u8;
                    }
                }
            }
            Order::Strided { lines } => {
                let mut words = (line..).step_by(lines).map(|at| u64::from(word(at)));
                split(bits, 32, || words.next().unwrap_or(0), out);
            }
            Order::Awq { words } => {
                let shift = AWQ_NIBBLES[line % 8] * self.bits;
                for (code, words) in out.iter_mut().zip(table.chunks_exact(words)) {
                    *code = (u32::from_le_bytes(words[line / 8]) >> shift) as u8;
                }
            }
        }
        let (mask, flip) = (self.mask as u8, self.flip as u8);
        out.iter_mut()
            .for_each(|code| *code = (*code & mask) ^ flip);
    }

    /// Code `index` of a line.
    pub(super) fn get(&self, line: usize, index: usize) -> u32 {
        let bits = self.bits as usize;
        let at = match self.order {
            Order::Stream { line_bytes } => line * line_bytes * 8 + index * bits,
            Order::Whole { line_words } => {
                let in_word = 32 / bits;
                (line * line_words + index / in_word) * 32 + index % in_word * bits
            }
            Order::Strided { lines } => {
                let (word, shift) = (index * bits / 32, index * bits % 32);
                let bit = |shift: usize| ((word + shift / 32) * lines + line) * 32 + shift % 32;
                let code = (0..bits).map(|i| u32::from(self.bit(bit(shift + i))) << i);
                return (code.sum::<u32>() & self.mask) ^ self.flip;
            }
            Order::Awq { words } => {
                (index * words + line / 8) * 32 + AWQ_NIBBLES[line % 8] as usize * bits
            }
        };
        let code = (0..bits).map(|i| u32::from(self.bit(at + i)) << i);
        (code.sum::<u32>() & self.mask) ^ self.flip
    }

    fn bit(&self, at: usize) -> bool {
        let byte = bytes(&self.place).get(at / 8);
        byte.is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }

    /// The bytes of a line whose codes follow each other bit by bit, as ours do.
    pub(super) fn line(&self, line: usize) -> Option<&[u8]> {
        match self.order {
            Order::Stream { line_bytes } if self.flip == 0 => {
                Some(&bytes(&self.place)[line * line_bytes..][..line_bytes])
            }
            _ => None,
        }
    }

    /// Whether every 32-bit word has this value.
    pub(super) fn is_all(&self, word: u32) -> bool {
        let (words, rest) = bytes(&self.place).as_chunks::<4>();
        rest.is_empty() && words.iter().all(|own| u32::from_le_bytes(*own) == word)
    }

    /// The tensor.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Bytes of the tensor.
    pub(super) fn byte_len(&self) -> usize {
        bytes(&self.place).len()
    }
}

/// Takes codes of `bits` bits out of a stream of words of `width` bits.
fn split(bits: usize, width: usize, mut word: impl FnMut() -> u64, out: &mut [u8]) {
    let (mut pending, mut held) = (0_u64, 0);
    for code in out {
        if held < bits {
            pending |= word() << held;
            held += width;
        }
        *code = pending as u8;
        pending >>= bits;
        held -= bits;
    }
}

/// The error for a tensor of an unexpected type.
pub(in super::super) fn dtype_error((file, tensor): &Place, known: &[Dtype]) -> CheckpointError {
    let (name, info, _) = &file.tensors()[*tensor];
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    CheckpointError::PackedDtype {
        file: file.path().to_owned(),
        tensor: name.clone(),
        dtype: info.dtype.to_string(),
        expected: known.join(" or "),
    }
}

/// The error for a tensor of an unexpected shape.
pub(super) fn shape_error((file, tensor): &Place, expected: Vec<usize>) -> CheckpointError {
    let (name, info, _) = &file.tensors()[*tensor];
    CheckpointError::Shape {
        file: file.path().to_owned(),
        tensor: name.clone(),
        expected,
        found: info.shape.clone(),
    }
}
