//! How codes are stored so that few instructions make bf16 of them.
//!
//! Two codes of neighbouring columns become a *pair*: two bf16 in a register, the even column in the
//! low half. A code's sign and magnitude bits stand in the half where they mean the value times a
//! power of two, 2^-P:
//!
//! ```text
//!                15 14 13 12 11 10  9  8  7  6  5  4  3  2  1  0
//!     bf16        s  e  e  e  e  e  e  e  e  m  m  m  m  m  m  m
//!     E2M1        s                      e  e  m                     P = 126
//!     E2M3        s                      e  e  m  m  m               P = 126
//!     E3M2        s                   e  e  e  m  m                  P = 124
//!     E4M3        s                e  e  e  e  m  m  m               P = 120
//!     E5M2        s             e  e  e  e  e  m  m                  P = 112
//!     INT4        s                            m  m  m               P = 127
//!     INT8        s                            m  m  m  m  m  m  m   P = 127
//! ```
//!
//! Subnormals of the element are subnormals of bf16, integers are all of them, in sign and magnitude.
//! One product with scale * 2^P, exact, makes the operand of the tensor core.
//!
//! A stored word holds several pairs, each bit of it a bit of one pair. A pair is the union of
//! *terms*: the word rotated left, and masked. Which bits go where was searched for, so that terms are
//! few: an E2M1 word of 8 codes takes 5 terms, 9 instructions, and 4 products.

use crate::format::{ElementFormat, Grid};

/// Some bits of a pair: those of `mask` in a word rotated left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which word of the group.
    pub word: usize,
    /// By how many bits.
    pub rotate: u32,
    /// The bits.
    pub mask: u32,
}

/// Pairs that share words.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Words.
    pub words: usize,
    /// The terms of each pair.
    pub pairs: &'static [&'static [Term]],
}

/// The same bits of both halves of a word.
const fn term(word: usize, rotate: u32, half: u32) -> Term {
    Term {
        word,
        rotate,
        mask: half | half << 16,
    }
}

const E2M1: Group = Group {
    words: 1,
    pairs: &[
        &[term(0, 0, 0x81C0)],
        &[term(0, 6, 0x81C0)],
        &[term(0, 12, 0x81C0)],
        &[term(0, 2, 0x80C0), term(0, 26, 0x0100)],
    ],
};

const INT4: Group = Group {
    words: 1,
    pairs: &[
        &[term(0, 0, 0x8070)],
        &[term(0, 4, 0x8070)],
        &[term(0, 8, 0x8070)],
        &[term(0, 12, 0x8070)],
    ],
};

const E2M3: Group = Group {
    words: 3,
    pairs: &[
        &[term(0, 0, 0x81F0)],
        &[term(1, 0, 0x81F0)],
        &[term(2, 0, 0x81F0)],
        &[term(0, 1, 0x8010), term(0, 11, 0x01E0)],
        &[term(0, 2, 0x0010), term(1, 12, 0x81E0)],
        &[term(0, 6, 0x80C0), term(2, 7, 0x0130)],
        &[term(1, 3, 0x0030), term(2, 12, 0x81C0)],
        &[term(1, 7, 0x00B0), term(2, 6, 0x8140)],
    ],
};

const E3M2: Group = Group {
    words: 3,
    pairs: &[
        &[term(0, 0, 0x83E0)],
        &[term(0, 5, 0x83E0)],
        &[term(1, 0, 0x83E0)],
        &[term(1, 5, 0x83E0)],
        &[term(2, 0, 0x83E0)],
        &[term(0, 8, 0x0060), term(2, 11, 0x8380)],
        &[term(0, 13, 0x0300), term(2, 4, 0x80E0)],
        &[term(1, 10, 0x01E0), term(2, 15, 0x8200)],
    ],
};

const E4M3: Group = Group {
    words: 1,
    pairs: &[
        &[term(0, 0, 0x87F0)],
        &[term(0, 4, 0x80F0), term(0, 12, 0x0700)],
    ],
};

const E5M2: Group = Group {
    words: 1,
    pairs: &[
        &[term(0, 0, 0x8FE0)],
        &[term(0, 8, 0x0F60), term(0, 11, 0x8080)],
    ],
};

const INT8: Group = Group {
    words: 1,
    pairs: &[&[term(0, 0, 0x807F)], &[term(0, 8, 0x807F)]],
};

/// How an element's codes are stored.
#[derive(Clone, Copy, Debug)]
pub enum StoredBits {
    /// As pairs; see the module.
    Pairs {
        /// The groups, again and again.
        group: Group,
        /// Where the lowest bit of the magnitude stands in the half.
        shift: u32,
        /// P: a half is the value times 2^-P.
        exponent: i32,
    },
    /// Eight codes a word, the even column in the low nibble, to be looked up in a table of values.
    Nibbles(&'static [f32]),
}

impl StoredBits {
    /// How the codes of a format are stored.
    pub fn of(element: ElementFormat) -> Self {
        let (group, shift, exponent) = match element.grid() {
            Grid::Table(table) => return Self::Nibbles(table),
            Grid::Int(grid) => {
                let group = if grid.bits == 4 { INT4 } else { INT8 };
                // Subnormals of bf16 are multiples of 2^-133.
                let shift = 6 - grid.fraction_bits;
                (group, shift, 133 - (shift + grid.fraction_bits) as i32)
            }
            Grid::Float(grid) => {
                let group = match (grid.exponent_bits, grid.mantissa_bits) {
                    (2, 1) => E2M1,
                    (2, 3) => E2M3,
                    (3, 2) => E3M2,
                    (4, 3) => E4M3,
                    (5, 2) => E5M2,
                    (e, m) => unreachable!("no element format is E{e}M{m}"),
                };
                (group, 7 - grid.mantissa_bits, 127 - grid.bias)
            }
        };
        Self::Pairs {
            group,
            shift,
            exponent,
        }
    }

    /// P: what is stored is the value times 2^-P.
    pub fn exponent(&self) -> i32 {
        match self {
            Self::Pairs { exponent, .. } => *exponent,
            Self::Nibbles(_) => 0,
        }
    }

    /// The bf16 of a code, times 2^-P; `None` for a code that no quantiser makes: the lowest of a
    /// two's complement.
    pub fn half(element: ElementFormat, code: u8) -> Option<u16> {
        Self::of(element).half_of(element, code)
    }

    /// [`StoredBits::half`] of an element whose codes are stored so.
    fn half_of(&self, element: ElementFormat, code: u8) -> Option<u16> {
        let Self::Pairs { shift, .. } = self else {
            return Some(u16::from(code));
        };
        let bits = element.bits();
        let sign_bit = 1u16 << (bits - 1);
        let code = u16::from(code) & (sign_bit | (sign_bit - 1));
        let is_negative = code & sign_bit != 0;
        let magnitude = match element.grid() {
            Grid::Int(_) if is_negative => (2 * sign_bit - code) & (2 * sign_bit - 1),
            _ => code & (sign_bit - 1),
        };
        (magnitude < sign_bit).then_some(u16::from(is_negative) << 15 | magnitude << shift)
    }
}

/// The words of a run of codes, as many as fill groups.
///
/// # Panics
/// If a code is none that [`StoredBits::half`] has.
pub fn store(element: ElementFormat, codes: &[u8]) -> Vec<u32> {
    let stored = StoredBits::of(element);
    let half = |code: &u8| {
        let half = stored.half_of(element, *code);
        u32::from(half.expect("a code of the element"))
    };
    match stored {
        StoredBits::Nibbles(_) => {
            let word = |codes: &[u8]| {
                let places = codes.iter().zip(0..);
                places.fold(0, |word, (code, i)| word | u32::from(*code) << (4 * i))
            };
            codes.chunks(8).map(word).collect()
        }
        StoredBits::Pairs { group, .. } => {
            let groups = codes.chunks(2 * group.pairs.len());
            let mut words = vec![0; groups.len() * group.words];
            for (codes, words) in groups.zip(words.chunks_mut(group.words)) {
                for (terms, codes) in group.pairs.iter().zip(codes.chunks(2)) {
                    let pair = half(&codes[0]) | half(&codes[1]) << 16;
                    for term in *terms {
                        words[term.word] |= (pair & term.mask).rotate_right(term.rotate);
                    }
                }
            }
            words
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn a_half_is_the_value_times_a_power_of_two() {
        for &element in ElementFormat::ALL {
            let StoredBits::Pairs { exponent, .. } = StoredBits::of(element) else {
                continue;
            };
            for code in element.codes() {
                let value = f64::from(element.decode(code));
                let half = StoredBits::half(element, code);
                let half = half.map(|half| f64::from(bf16::from_bits(half).to_f32()));
                let is_lowest = matches!(element.grid(), Grid::Int(_))
                    && value < -f64::from(element.max_normal());
                match half {
                    None => assert!(is_lowest, "{element} {code}"),
                    Some(half) if value.is_finite() => {
                        assert_eq!(half * 2f64.powi(exponent), value, "{element} {code}");
                        assert_eq!(half.is_sign_negative(), value.is_sign_negative());
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Every code in every place comes back by rotating and masking, whatever the others are.
    #[test]
    fn words_hold_every_code_in_every_place() {
        for &element in ElementFormat::ALL {
            let StoredBits::Pairs { group, .. } = StoredBits::of(element) else {
                continue;
            };
            let count = 2 * group.pairs.len();
            assert_eq!(group.words * 32, count * element.bits() as usize);
            let read = |words: &[u32], i: usize| {
                let terms = group.pairs[i / 2].iter();
                let pair = terms.fold(0, |pair, term| {
                    pair | words[term.word].rotate_left(term.rotate) & term.mask
                });
                (pair >> (16 * (i % 2))) as u16
            };
            let known = |&code: &u8| StoredBits::half(element, code).is_some();
            for place in 0..count {
                for code in element.codes().filter(known) {
                    for other in [0, *element.codes().end()] {
                        let mut codes = vec![other; count];
                        codes[place] = code;
                        let words = store(element, &codes);
                        for (i, &code) in codes.iter().enumerate() {
                            let expected = StoredBits::half(element, code).unwrap();
                            assert_eq!(read(&words, i), expected, "{element} {code} at {i}");
                        }
                    }
                }
            }
        }
    }
}
