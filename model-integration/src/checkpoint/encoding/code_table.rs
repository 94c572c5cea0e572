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

    /// Code `index` of a line.
    pub(super) fn get(&self, line: usize, index: usize) -> u32 {
        let bytes = bytes(&self.place);
        let bits = self.bits as usize;
        let word = |at: usize| {
            let word = bytes.get(at * 4..).and_then(<[u8]>::first_chunk::<4>);
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        let (low, shift) = match self.order {
            Order::Stream { line_bytes } => {
                let line = &bytes[line * line_bytes..][..line_bytes];
                let (byte, shift) = (index * bits / 8, index * bits % 8);
                let next = line.get(byte + 1).copied().unwrap_or(0);
                (u64::from(u16::from_le_bytes([line[byte], next])), shift)
            }
            Order::Whole { line_words } => {
                let in_word = 32 / bits;
                let at = line * line_words + index / in_word;
                (u64::from(word(at)), index % in_word * bits)
            }
            Order::Strided { lines } => {
                let (row, shift) = (index * bits / 32, index * bits % 32);
                let at = row * lines + line;
                let next = match shift + bits > 32 {
                    true => word(at + lines),
                    false => 0,
                };
                (u64::from(word(at)) | u64::from(next) << 32, shift)
            }
            Order::Awq { words } => {
                let at = index * words + line / 8;
                (u64::from(word(at)), AWQ_NIBBLES[line % 8] as usize * bits)
            }
        };
        ((low >> shift) as u32 & self.mask) ^ self.flip
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
