//! The search that found the tables of [`groups`](super::groups). Their test runs it again.
//!
//! The halves of a register, or its quarters, have the same layout. So a word of 32 bits has
//! `width` *slots*, each of which stands for one bit of every part. A term rotated by r brings slot
//! q to bit q + r of the operands. A group of words is full if every slot is one bit of one
//! register. Among all ways to fill a group, the search takes the first with the fewest terms:
//!
//! - registers with few terms come first, and their rotations rise, word after word;
//! - each term takes every bit that it can reach and no earlier term took.
//!
//! Three choices do not change the cost, so a table may differ in them: the numbering of the words,
//! the rotation of a whole word, and with it the rotation of a term by whole parts.

use super::OperandType;
use super::groups::Group;

/// A term without its mask: a word, and by how much it is rotated.
type Rotation = (usize, u32);

/// The terms of each register.
type Registers = Vec<Vec<Rotation>>;

struct Search {
    /// Bits of an operand.
    width: u32,
    words: usize,
    /// The bits of an operand that are stored.
    field: u32,
    /// Terms of each register, rising.
    profile: Vec<usize>,
}

/// A register under way.
#[derive(Clone, Copy)]
struct Partial {
    /// Slots of all words that no bit has.
    free: u128,
    /// Bits that no term has brought.
    missing: u32,
    /// Terms that are left.
    terms: usize,
    /// The least rotation of the next term, by its number, and that of the first.
    next: usize,
    first: usize,
}

/// The first order of the fewest terms for operands whose stored bits are `field`.
pub(super) fn fewest_terms(field: u32, operand: OperandType) -> Registers {
    let (width, bits) = (operand.bits(), field.count_ones());
    let words = (1..).find(|words| (words * width).is_multiple_of(bits));
    let words = words.expect("some number of words is full");
    let registers = (words * width / bits) as usize;
    let orders = (registers..).flat_map(|terms| profiles(terms, registers, 1));
    let mut found = orders.filter_map(|profile| {
        let search = Search {
            width,
            words: words as usize,
            field,
            profile,
        };
        let free = u128::MAX >> (128 - words * width);
        let mut registers = vec![Vec::new()];
        search
            .fill(search.start(0, free, 0), &mut registers)
            .then_some(registers)
    });
    found.next().expect("a term for each bit will do")
}

/// Ways to share `terms` among registers, rising from `least` on, more of few terms first.
fn profiles(terms: usize, registers: usize, least: usize) -> Vec<Vec<usize>> {
    if registers == 0 {
        return if terms == 0 {
            vec![Vec::new()]
        } else {
            Vec::new()
        };
    }
    let firsts = least..=terms / registers;
    let with = |first: usize| {
        let rest = profiles(terms - first, registers - 1, first).into_iter();
        rest.map(move |rest| [vec![first], rest].concat())
    };
    firsts.flat_map(with).collect()
}

impl Search {
    fn start(&self, register: usize, free: u128, next: usize) -> Partial {
        Partial {
            free,
            missing: self.field,
            terms: self.profile[register],
            next,
            first: next,
        }
    }

    /// Completes the last register of `found` and those behind it; leaves `found` as it was if it
    /// cannot.
    fn fill(&self, partial: Partial, found: &mut Registers) -> bool {
        let register = found.len() - 1;
        if partial.terms == 0 {
            let Some(terms) = self.profile.get(register + 1) else {
                return true;
            };
            let is_alike = *terms == self.profile[register];
            let next = if is_alike { partial.first } else { 0 };
            found.push(Vec::new());
            let is_full = self.fill(self.start(register + 1, partial.free, next), found);
            if !is_full {
                found.pop();
            }
            return is_full;
        }
        for number in partial.next..self.words * self.width as usize {
            let (word, rotate) = self.rotation(number);
            let (bits, slots) = self.reach(&partial, (word, rotate));
            if bits == 0 || (partial.terms == 1) != (bits == partial.missing) {
                continue;
            }
            let is_first = partial.terms == self.profile[register];
            found[register].push((word, rotate));
            let with = Partial {
                free: partial.free & !slots,
                missing: partial.missing & !bits,
                terms: partial.terms - 1,
                next: number + 1,
                first: if is_first { number } else { partial.first },
            };
            if self.fill(with, found) {
                return true;
            }
            found[register].pop();
        }
        false
    }

    fn rotation(&self, number: usize) -> Rotation {
        let width = self.width as usize;
        (number / width, (number % width) as u32)
    }

    /// The missing bits that a term brings from free slots, and these.
    fn reach(&self, partial: &Partial, (word, rotate): Rotation) -> (u32, u128) {
        let bits = (0..self.width).filter(|bit| partial.missing >> bit & 1 != 0);
        bits.fold((0, 0), |(bits, slots), bit| {
            let slot = (bit + self.width - rotate) % self.width;
            let slot = 1u128 << (word as u32 * self.width + slot);
            match partial.free & slot {
                0 => (bits, slots),
                _ => (bits | 1 << bit, slots | slot),
            }
        })
    }
}

/// Whether a table equals the search's result, up to the free choices of the module's head.
pub(super) fn is_found(group: &Group, found: &Registers, operand: OperandType) -> bool {
    let width = operand.bits();
    let table = group.registers.iter().map(|terms| {
        let terms = terms.iter().map(|term| (term.word, term.rotate % width));
        sorted(terms.collect())
    });
    let table = sorted(table.collect());
    let orders = permutations(&(0..group.words).collect::<Vec<_>>());
    orders.iter().any(|names| {
        (0..width.pow(group.words as u32)).any(|shifts| {
            let renamed = |&(word, rotate): &Rotation| {
                let shift = shifts / width.pow(word as u32) % width;
                (names[word], (rotate + shift) % width)
            };
            let registers = found
                .iter()
                .map(|terms| sorted(terms.iter().map(renamed).collect()));
            sorted(registers.collect()) == table
        })
    })
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let first = |&first: &usize| {
        let others: Vec<usize> = of.iter().copied().filter(|&other| other != first).collect();
        permutations(&others)
            .into_iter()
            .map(move |rest| [vec![first], rest].concat())
    };
    of.iter().flat_map(first).collect()
}
