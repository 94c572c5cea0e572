//! x in the order that the tiles read it.

use super::CHAIN;
use std::sync::OnceLock;

/// x [tokens, cols]: chain by chain, groups of tokens; of a group, a word of every token, then the
/// next. Words are f32 bits, or bf16 pairs.
pub(super) struct Activations<'a> {
    x: &'a [f32],
    cols: usize,
    groups: Vec<Group>,
    pairs: Option<Vec<u32>>,
    /// Made when the first rows of W ask for them.
    singles: OnceLock<Vec<u32>>,
    /// The smallest exponent of an element other than 0.
    least_exponent: i32,
}

/// Tokens that go through a tile together.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub first: usize,
    pub tokens: usize,
}

impl<'a> Activations<'a> {
    /// In groups of at most `most` tokens; with pairs if `may_pair` and every element is bf16.
    pub fn new(x: &'a [f32], cols: usize, most: usize, may_pair: bool) -> Self {
        let tokens = x.len() / cols;
        let count = tokens.div_ceil(most);
        let start = |group: usize| group * tokens / count;
        let group = |group| Group {
            first: start(group),
            tokens: start(group + 1) - start(group),
        };
        let groups: Vec<Group> = (0..count).map(group).collect();
        let pairs = (may_pair && x.iter().all(|x| x.to_bits() & 0xFFFF == 0))
            .then(|| pack::<2>(x, cols, &groups));
        let least_exponent = if pairs.is_some() {
            least_exponent(x)
        } else {
            i32::MIN
        };
        Self {
            x,
            cols,
            groups,
            pairs,
            singles: OnceLock::new(),
            least_exponent,
        }
    }

    pub fn tokens(&self) -> usize {
        self.x.len() / self.cols
    }

    /// The elements as they came.
    pub fn rows(&self) -> &[f32] {
        self.x
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// log2 of a number that all elements are multiples of, if they are there as pairs.
    pub fn pairs_unit(&self) -> Option<i32> {
        // A bf16 has seven bits behind the first.
        self.pairs.is_some().then(|| self.least_exponent - 7)
    }

    /// All words with `columns` columns each, which are there if [`Activations::pairs_unit`] said so.
    pub fn words(&self, columns: usize) -> &[u32] {
        match &self.pairs {
            Some(pairs) if columns == 2 => pairs,
            _ => self
                .singles
                .get_or_init(|| pack::<1>(self.x, self.cols, &self.groups)),
        }
    }
}

impl Group {
    /// The words of the group of `tokens` in the chain that begins at column `start` and has
    /// `steps` steps of `columns` columns.
    pub fn words(
        self,
        all: &[u32],
        tokens: usize,
        start: usize,
        steps: usize,
        columns: usize,
    ) -> &[u32] {
        &all[start / columns * tokens + self.first * steps..][..steps * self.tokens]
    }
}

/// The words, `COLUMNS` columns in each; zeros behind the last column.
fn pack<const COLUMNS: usize>(x: &[f32], cols: usize, groups: &[Group]) -> Vec<u32> {
    let tokens = x.len() / cols;
    let mut words = vec![0; tokens * cols.div_ceil(COLUMNS)];
    let mut rest = &mut words[..];
    for start in (0..cols).step_by(CHAIN) {
        let end = cols.min(start + CHAIN);
        for group in groups {
            let len = (end - start).div_ceil(COLUMNS) * group.tokens;
            let (words, behind) = rest.split_at_mut(len);
            rest = behind;
            for token in 0..group.tokens {
                let x = &x[(group.first + token) * cols..][start..end];
                let words = words[token..].iter_mut().step_by(group.tokens);
                for (word, x) in words.zip(x.chunks(COLUMNS)) {
                    *word = word_of(x);
                }
            }
        }
    }
    words
}

/// One column, or two of bf16, the first high.
#[inline(always)]
fn word_of(x: &[f32]) -> u32 {
    match *x {
        [high, low] => high.to_bits() | low.to_bits() >> 16,
        [x] => x.to_bits(),
        _ => 0,
    }
}

/// The smallest exponent of an element other than 0; that of a subnormal is below all others.
fn least_exponent(x: &[f32]) -> i32 {
    let magnitudes = x.iter().map(|x| x.to_bits() & 0x7FFF_FFFF);
    // Zero wraps to the largest.
    let least = magnitudes.map(|bits| bits.wrapping_sub(1)).min();
    let bits = least.unwrap_or(u32::MAX).wrapping_add(1);
    if bits == 0 {
        return 0;
    }
    if bits < 1 << 23 {
        i32::MIN / 2
    } else {
        (bits >> 23) as i32 - 127
    }
}
