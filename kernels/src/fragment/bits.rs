//! How codes are stored so that few instructions turn them into bf16.
//!
//! Two codes of neighbouring columns become a *pair*: two bf16 in a register, the even column in
//! the low half. A code's sign and magnitude bits stand in the half where they mean the value times
//! a power of two, 2^-P:
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
//! Subnormals of the element become subnormals of bf16. Integers, in sign and magnitude, all become
//! subnormals. One exact product with scale * 2^P gives the operand of the tensor core.
//!
//! For 8-bit operands, four codes of neighbouring columns become four bytes in the same way.
//! Integers as s8 are in two's complement:
//!
//! ```text
//!                7  6  5  4  3  2  1  0                           7  6  5  4  3  2  1  0
//!     E4M3       s  e  e  e  e  m  m  m    P = 0      s8, INT8    s  m  m  m  m  m  m  m    P = -6
//!     E2M1       s        e  e  m          P = 6          INT4    s  m  m  m                P = -6
//!     E2M3       s        e  e  m  m  m    P = 6
//!     E3M2       s     e  e  e  m  m       P = 4
//!     INT4       s              m  m  m    P = 7
//! ```
//!
//! A stored word holds the bits of several operand registers. A register is the union of *terms*; a
//! term is a word rotated left and masked. A search found the order of bits with the fewest terms
//! (`search.rs`): an E2M1 word of 8 codes takes 5 terms, 9 instructions and 4 products for bf16
//! operands, and 3 terms and 5 instructions for E4M3.

pub use super::groups::{Group, Term};

use super::OperandType;
use super::groups;
use crate::format::{CodeLayout, ElementFormat, Grid};

/// How an element's codes are stored.
#[derive(Clone, Copy, Debug)]
pub enum StoredBits {
    /// As registers of operands; see the module's head.
    Fields {
        /// The order of bits, repeated for each group of words.
        group: Group,
        /// The type of the operands.
        operand: OperandType,
        /// Where the lowest bit of the magnitude stands in an operand.
        shift: u32,
        /// P: an operand is the value times 2^-P.
        exponent: i32,
    },
    /// Eight codes a word, the even column in the low nibble. A table gives their values.
    Nibbles(&'static [f32]),
}

impl StoredBits {
    /// How codes of an element are stored for bf16 operands.
    ///
    /// # Panics
    /// If no kernel takes the element: see [`StoredBits::of_operand`].
    pub fn of(element: ElementFormat) -> Self {
        Self::as_bf16(element).expect("`support` has refused other elements")
    }

    fn as_bf16(element: ElementFormat) -> Option<Self> {
        let (group, shift, exponent) = match element.grid() {
            Grid::Table(table) => {
                let is_nibbles = element.layout() == CodeLayout::Bits4;
                return is_nibbles.then_some(Self::Nibbles(table));
            }
            Grid::Int(grid) => {
                let group = match grid.bits {
                    4 => groups::INT4,
                    8 => groups::INT8,
                    _ => return None,
                };
                // Subnormals of bf16 are multiples of 2^-133.
                let shift = 6 - grid.fraction_bits;
                (group, shift, 133 - (shift + grid.fraction_bits) as i32)
            }
            Grid::Float(grid) => {
                let group = match (grid.exponent_bits, grid.mantissa_bits) {
                    (2, 1) => groups::E2M1,
                    (2, 3) => groups::E2M3,
                    (3, 2) => groups::E3M2,
                    (4, 3) => groups::E4M3,
                    (5, 2) => groups::E5M2,
                    _ => return None,
                };
                (group, 7 - grid.mantissa_bits, 127 - grid.bias)
            }
        };
        Some(Self::Fields {
            group,
            operand: OperandType::Bf16,
            shift,
            exponent,
        })
    }

    /// How codes are stored for operands of any type. `None` if the operand type lacks a value of
    /// the element, if moving bits is not enough, or if words do not hold whole groups. Elements
    /// below four bits run on the CPU only.
    pub fn of_operand(element: ElementFormat, operand: OperandType) -> Option<Self> {
        let (group, shift, exponent) = match (operand, element.grid()) {
            (OperandType::Bf16, _) => return Self::as_bf16(element),
            (OperandType::S8, Grid::Int(grid)) => {
                let group = match grid.bits {
                    4 => groups::INT4_AS_S8,
                    8 => groups::WHOLE,
                    _ => return None,
                };
                let shift = 8 - grid.bits;
                (group, shift, -((shift + grid.fraction_bits) as i32))
            }
            // Subnormals of E4M3 are multiples of 2^-9.
            (OperandType::E4m3, Grid::Int(grid)) if grid.bits == 4 => {
                (groups::INT4_AS_E4M3, 0, 9 - grid.fraction_bits as i32)
            }
            (OperandType::E4m3, Grid::Float(grid)) => {
                let group = match (grid.exponent_bits, grid.mantissa_bits) {
                    (2, 1) => groups::E2M1_AS_E4M3,
                    (2, 3) => groups::E2M3_AS_E4M3,
                    (3, 2) => groups::E3M2_AS_E4M3,
                    (4, 3) => groups::WHOLE,
                    _ => return None,
                };
                (group, 3 - grid.mantissa_bits, 7 - grid.bias)
            }
            _ => return None,
        };
        Some(Self::Fields {
            group,
            operand,
            shift,
            exponent,
        })
    }

    /// P: the stored number is the value times 2^-P.
    pub fn exponent(&self) -> i32 {
        match self {
            Self::Fields { exponent, .. } => *exponent,
            Self::Nibbles(_) => 0,
        }
    }

    /// The operand of a code of `element`, times 2^-P. `None` for a code that no quantiser makes:
    /// the lowest of a two's complement.
    pub fn place(&self, element: ElementFormat, code: u8) -> Option<u16> {
        let Self::Fields { operand, shift, .. } = self else {
            return Some(u16::from(code));
        };
        let sign_bit = u16::from(element.layout().top_bit());
        let code = u16::from(code) & (sign_bit | (sign_bit - 1));
        let is_negative = code & sign_bit != 0;
        let magnitude = match element.grid() {
            Grid::Int(_) if is_negative => (2 * sign_bit - code) & (2 * sign_bit - 1),
            _ => code & (sign_bit - 1),
        };
        let place = match operand {
            OperandType::S8 => code << shift,
            OperandType::Bf16 | OperandType::E4m3 => {
                u16::from(is_negative) << (operand.bits() - 1) | magnitude << shift
            }
        };
        (magnitude < sign_bit).then_some(place)
    }

    /// The words of a run of codes that fills whole groups.
    ///
    /// # Panics
    /// If [`StoredBits::place`] has no operand for a code.
    pub fn store(&self, element: ElementFormat, codes: &[u8]) -> Vec<u32> {
        let join = |bits: u32, codes: &[u8]| {
            let places = codes.iter().zip(0..);
            places.fold(0, |word, (&code, i)| {
                let place = self.place(element, code).expect("a code of the element");
                word | u32::from(place) << (bits * i)
            })
        };
        let Self::Fields { group, operand, .. } = self else {
            let bits = element.layout().bits();
            return codes.chunks(8).map(|codes| join(bits, codes)).collect();
        };
        let in_register = operand.per_register();
        let groups = codes.chunks(in_register * group.registers.len());
        let words = groups.flat_map(|codes| {
            let mut words = vec![0; group.words];
            for (terms, codes) in group.registers.iter().zip(codes.chunks(in_register)) {
                let register = join(operand.bits(), codes);
                for term in *terms {
                    words[term.word] |= (register & term.mask).rotate_right(term.rotate);
                }
            }
            words
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::search;
    use super::*;
    use half::bf16;

    /// Every layout there is, with the element that it is of.
    fn layouts() -> impl Iterator<Item = (ElementFormat, StoredBits)> {
        ElementFormat::ALL.iter().flat_map(|&element| {
            let of = move |operand| Some((element, StoredBits::of_operand(element, operand)?));
            OperandType::ALL.into_iter().filter_map(of)
        })
    }

    /// What a tensor core takes an operand for.
    fn value(operand: OperandType, place: u16) -> f64 {
        match operand {
            OperandType::Bf16 => bf16::from_bits(place).to_f64(),
            OperandType::E4m3 => ElementFormat::FP8_E4M3.decode(place as u8).into(),
            OperandType::S8 => f64::from(place as u8 as i8),
        }
    }

    #[test]
    fn an_operand_is_the_value_times_a_power_of_two() {
        let mut known = 0;
        for (element, stored) in layouts() {
            let StoredBits::Fields {
                operand, exponent, ..
            } = stored
            else {
                continue;
            };
            known += 1;
            for code in element.codes() {
                let expected = f64::from(element.decode(code));
                let place = stored.place(element, code);
                let got = place.map(|place| value(operand, place) * 2f64.powi(exponent));
                let is_lowest = matches!(element.grid(), Grid::Int(_))
                    && expected < -f64::from(element.max_normal());
                match got {
                    None => assert!(is_lowest, "{element} {code}"),
                    Some(got) if expected.is_finite() => {
                        assert_eq!(got, expected, "{element} {code} {operand}");
                        let has_sign = operand != OperandType::S8;
                        assert!(!has_sign || got.is_sign_negative() == expected.is_sign_negative());
                    }
                    Some(_) => {}
                }
            }
        }
        assert_eq!(known, 7 + 5 + 2);
    }

    /// The tables of `groups` have the fewest terms that the search finds, and are what it finds.
    #[test]
    fn tables_are_what_the_search_finds() {
        for (element, stored) in layouts() {
            let StoredBits::Fields { group, operand, .. } = stored else {
                continue;
            };
            let places = element
                .codes()
                .filter_map(|code| stored.place(element, code));
            let field = u32::from(places.fold(0, |field, place| field | place));
            let found = search::fewest_terms(field, operand);
            let is_found = search::is_found(&group, &found, operand);
            assert!(
                is_found,
                "{element} as {operand}, (word, rotate) of terms: {found:?}"
            );
        }
    }

    /// Every code in every place comes back by rotating and masking, whatever the others are.
    #[test]
    fn words_hold_every_code_in_every_place() {
        for (element, stored) in layouts() {
            let StoredBits::Fields { group, operand, .. } = stored else {
                continue;
            };
            let in_register = operand.per_register();
            let count = in_register * group.registers.len();
            assert_eq!(group.words * 32, count * element.bits() as usize);
            let read = |words: &[u32], i: usize| {
                let terms = group.registers[i / in_register].iter();
                let register = terms.fold(0, |register, term| {
                    register | words[term.word].rotate_left(term.rotate) & term.mask
                });
                let place = register >> (operand.bits() as usize * (i % in_register));
                (place & ((1 << operand.bits()) - 1)) as u16
            };
            let known = |&code: &u8| stored.place(element, code).is_some();
            for place in 0..count {
                for code in element.codes().filter(known) {
                    for other in [0, *element.codes().end()] {
                        let mut codes = vec![other; count];
                        codes[place] = code;
                        let words = stored.store(element, &codes);
                        for (i, &code) in codes.iter().enumerate() {
                            let expected = stored.place(element, code).unwrap();
                            assert_eq!(read(&words, i), expected, "{element} {code} at {i}");
                        }
                    }
                }
            }
        }
    }
}
