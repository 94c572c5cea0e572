//! The numbers with which `macros/codes.j2` loads and stores a thread's chunk of 8 packed codes.

use crate::format::CodeLayout;
use serde::Serialize;

/// Codes of a chunk. They fill whole bytes in every layout.
const CODES: usize = 8;
/// Bits of a word.
const WORD: usize = 32;

/// `v.chunk` in templates.
#[derive(Serialize)]
pub(crate) struct Chunk {
    /// Bits of a code, and so bytes of the chunk.
    bits: usize,
    words: usize,
    /// The widest access that is aligned in every lane.
    access: &'static str,
    parts: Vec<Part>,
    /// Codes with bits in two words.
    straddling: Vec<Straddling>,
}

/// How codes make a word.
#[derive(Serialize)]
struct Part {
    word: usize,
    /// The first code, and by how many bits it is shifted right where the word before has those.
    first: usize,
    begun: usize,
    /// Codes and what they are multiplied by.
    places: Vec<(usize, u32)>,
}

#[derive(Serialize)]
struct Straddling {
    code: usize,
    /// The word with its high bits, and how many these are.
    word: usize,
    bits: usize,
    /// What they are multiplied by.
    factor: u32,
}

impl Chunk {
    /// The chunk of a layout.
    pub fn new(layout: CodeLayout) -> Self {
        let bits = layout.bits() as usize;
        let words = (CODES * bits).div_ceil(WORD);
        let straddles = |code: &usize| code * bits / WORD != ((code + 1) * bits - 1) / WORD;
        let part = |word: usize| {
            let first = word * WORD / bits;
            let end = CODES.min(((word + 1) * WORD).div_ceil(bits));
            let begun = word * WORD - first * bits;
            let shift = |code: usize| (code * bits).saturating_sub(word * WORD);
            Part {
                word,
                first,
                begun,
                places: (first..end).map(|code| (code, 1 << shift(code))).collect(),
            }
        };
        let straddling = (0..CODES).filter(straddles).map(|code| {
            let word = (code + 1) * bits / WORD;
            let low = word * WORD - code * bits;
            Straddling {
                code,
                word,
                bits: bits - low,
                factor: 1 << low,
            }
        });
        Self {
            bits,
            words,
            access: match layout {
                CodeLayout::Bits3 | CodeLayout::Bits5 | CodeLayout::Bits7 => "u8",
                CodeLayout::Bits2 | CodeLayout::Bits6 => "u16",
                CodeLayout::Bits4 => "b32",
                CodeLayout::Bits8 => "v2.b32",
            },
            parts: (0..words).map(part).collect(),
            straddling: straddling.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts and straddling codes, computed with as the templates' instructions do.
    #[test]
    fn words_hold_the_bytes_of_the_layout() {
        for layout in CodeLayout::ALL {
            let chunk = Chunk::new(layout);
            let codes: [u8; CODES] = std::array::from_fn(|i| (i as u8 * 91 + 170) & layout.mask());
            let mut expected = [0; CODES];
            layout.pack(&codes, &mut expected[..layout.bytes(CODES)]);
            let word = |part: &Part| {
                let value = |code: usize| match code == part.first {
                    true => u32::from(codes[code]) >> part.begun,
                    false => u32::from(codes[code]),
                };
                let places = part.places.iter();
                places.fold(0u32, |word, &(code, factor)| {
                    word.wrapping_add(value(code).wrapping_mul(factor))
                })
            };
            let words: Vec<u32> = chunk.parts.iter().map(word).collect();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes[..chunk.bits], expected[..chunk.bits], "{layout:?}");
            for (code, &expected) in codes.iter().enumerate() {
                let at = code * chunk.bits;
                let mut value = words[at / WORD] >> (at % WORD) & u32::from(layout.mask());
                for high in chunk.straddling.iter().filter(|high| high.code == code) {
                    value += (words[high.word] & ((1 << high.bits) - 1)) * high.factor;
                }
                assert_eq!(value, u32::from(expected), "{layout:?} {code}");
            }
        }
    }
}
