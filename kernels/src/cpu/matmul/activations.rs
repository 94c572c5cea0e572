//! x in the form that tiles read.

use crate::cpu::Isa;
use crate::cpu::dispatch;
use std::borrow::Cow;
use std::sync::OnceLock;

/// Pairs that rows are whole numbers of.
const PAIRS: usize = 16;

/// x [tokens, cols].
pub(super) struct Activations<'a> {
    x: &'a [f32],
    cols: usize,
    isa: Isa,
    pairs: Option<Pairs>,
    /// Made when the first rows of W ask for them.
    singles: OnceLock<Words<'a>>,
    unit: OnceLock<i32>,
}

/// Tokens that go through a tile together.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub first: usize,
    pub tokens: usize,
}

/// Words of every token, rows `stride` apart: f32, or bf16 pairs as f32 bits.
pub(super) struct Words<'a> {
    pub words: Cow<'a, [f32]>,
    pub stride: usize,
}

/// x as bf16 pairs.
struct Pairs {
    words: Words<'static>,
    /// The smallest exponent of an element other than 0.
    least_exponent: i32,
}

/// A summary of the elements that were packed.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Seen {
    /// Their bits, joined.
    any: u32,
    /// The smallest magnitude less 1, so that 0 is the largest.
    least: u32,
}

impl<'a> Activations<'a> {
    /// With pairs if they are asked for and every element is bf16.
    pub fn new(x: &'a [f32], cols: usize, isa: Isa, as_pairs: bool) -> Self {
        let pairs = if as_pairs {
            Pairs::new(isa, x, cols)
        } else {
            None
        };
        Self {
            x,
            cols,
            isa,
            pairs,
            singles: OnceLock::new(),
            unit: OnceLock::new(),
        }
    }

    pub fn tokens(&self) -> usize {
        self.x.len() / self.cols
    }

    /// In groups of at most `most` tokens, about as large as each other.
    pub fn groups(&self, most: usize) -> impl Iterator<Item = Group> {
        let tokens = self.tokens();
        let count = tokens.div_ceil(most);
        let start = move |group: usize| group * tokens / count;
        (0..count).map(move |group| Group {
            first: start(group),
            tokens: start(group + 1) - start(group),
        })
    }

    /// log2 of a number that all elements are multiples of, if they are there as pairs.
    pub fn pairs_unit(&self) -> Option<i32> {
        // A bf16 has seven bits behind the first.
        self.pairs.as_ref().map(|pairs| pairs.least_exponent - 7)
    }

    /// log2 of a number that all elements are multiples of.
    pub fn unit(&self) -> i32 {
        self.pairs_unit().unwrap_or_else(|| {
            let unit = || dispatch::seen(self.isa, self.x).least_exponent() - 23;
            *self.unit.get_or_init(unit)
        })
    }

    /// The words with `columns` columns each: two only if [`Activations::pairs_unit`] is there.
    pub fn words(&self, columns: usize) -> &Words<'_> {
        match &self.pairs {
            Some(pairs) if columns == 2 => &pairs.words,
            _ => self.singles.get_or_init(|| singles(self.x, self.cols)),
        }
    }
}

impl Pairs {
    /// The pairs of x; `None` if an element is not bf16.
    fn new(isa: Isa, x: &[f32], cols: usize) -> Option<Self> {
        // Zeros up to whole steps of tiles.
        let stride = stride(cols.div_ceil(2).next_multiple_of(PAIRS));
        let mut words = vec![0.0; x.len() / cols * stride];
        let mut seen = Seen::NOTHING;
        for (x, words) in x.chunks_exact(cols).zip(words.chunks_exact_mut(stride)) {
            seen = dispatch::pack_pairs(isa, x, words, seen);
            if seen.any & 0xFFFF != 0 {
                return None;
            }
        }
        Some(Self {
            words: Words {
                words: Cow::Owned(words),
                stride,
            },
            least_exponent: seen.least_exponent(),
        })
    }
}

impl Seen {
    const NOTHING: Self = Self {
        any: 0,
        least: u32::MAX,
    };

    /// The smallest exponent of an element other than 0; that of a subnormal is below all others.
    fn least_exponent(self) -> i32 {
        match self.least.wrapping_add(1) {
            0 => 0,
            bits if bits < 1 << 23 => i32::MIN / 2,
            bits => (bits >> 23) as i32 - 127,
        }
    }
}

/// A summary of some elements.
#[inline(always)]
pub(in crate::cpu) fn seen(x: &[f32]) -> Seen {
    x.iter().fold(Seen::NOTHING, |seen, x| Seen {
        any: seen.any | x.to_bits(),
        least: seen.least.min((x.to_bits() & 0x7FFF_FFFF).wrapping_sub(1)),
    })
}

/// Pairs of a row, the first column high, zero behind the last.
#[inline(always)]
pub(in crate::cpu) fn pack_pairs(x: &[f32], words: &mut [f32], seen: Seen) -> Seen {
    let Seen { mut any, mut least } = seen;
    let (pairs, rest) = x.as_chunks::<2>();
    for (word, pair) in words.iter_mut().zip(pairs) {
        let [high, low] = [pair[0].to_bits(), pair[1].to_bits()];
        *word = f32::from_bits(high & 0xFFFF_0000 | low >> 16);
        any |= high | low;
        let [high, low] = [high, low].map(|bits| (bits & 0x7FFF_FFFF).wrapping_sub(1));
        least = least.min(high.min(low));
    }
    if let (&[x], Some(word)) = (rest, words.get_mut(pairs.len())) {
        *word = x;
        any |= x.to_bits();
        least = least.min((x.to_bits() & 0x7FFF_FFFF).wrapping_sub(1));
    }
    Seen { any, least }
}

/// x itself, or a copy with rows further apart.
fn singles(x: &[f32], cols: usize) -> Words<'_> {
    let stride = stride(cols);
    if stride == cols {
        let words = Cow::Borrowed(x);
        return Words { words, stride };
    }
    let mut words = vec![0.0; x.len() / cols * stride];
    for (x, words) in x.chunks_exact(cols).zip(words.chunks_exact_mut(stride)) {
        words[..cols].copy_from_slice(x);
    }
    Words {
        words: Cow::Owned(words),
        stride,
    }
}

/// A distance of rows of `len` words that does not put those of a tile into the same few lines of
/// the first cache, as large powers of two would.
fn stride(len: usize) -> usize {
    if len.is_multiple_of(256) {
        len + 16
    } else {
        len
    }
}
