//! Problems of the attention kernels, and their expected outputs.
//!
//! Sizes of a problem: tokens, kv_heads, group, head_dim, slots, capacity, splits, dst_stride in
//! elements, scale_bits: those of the f32 that scores are multiplied by; window and cap_bits where
//! the form has them. Tensors: src, queries
//! padded to runs; keys and values, in bf16 or a byte a code, of rows [slot, head, position]
//! without padding; exact_keys and exact_values, of rows [slot, head, position below the size exact]
//! in bf16, where the variant has them; key_scales and value_scales, their codes; sequences, four
//! u32 each.

use super::{AttentionVariant, ScoreForm, draw, expected, operands, shaped};
use crate::format::FloatType;
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::registry::{
    Entry, EntryError, Expected, Grid, Place, Problem, ProblemError, Sampled, Shape,
};
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// Sizes of a problem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub tokens: usize,
    pub kv_heads: usize,
    pub group: usize,
    pub head_dim: usize,
    pub slots: usize,
    pub capacity: usize,
    pub splits: usize,
    pub dst_stride: usize,
    pub scale: f32,
    /// [`ScoreForm::NO_WINDOW`] where the form has none.
    pub window: usize,
    pub cap: f32,
}

impl Sizes {
    pub(super) fn of(problem: &Problem) -> Result<Self, ProblemError> {
        for name in ["tokens", "kv_heads", "group", "head_dim"] {
            if problem.size(name)? == 0 {
                let (name, reason) = (name.to_owned(), "it is 0, expected at least 1".to_owned());
                return Err(ProblemError::Unfit { name, reason });
            }
        }
        Ok(Self {
            tokens: problem.size("tokens")?,
            kv_heads: problem.size("kv_heads")?,
            group: problem.size("group")?,
            head_dim: problem.size("head_dim")?,
            slots: problem.size("slots")?,
            capacity: problem.size("capacity")?,
            splits: problem.size("splits")?,
            dst_stride: problem.size("dst_stride")?,
            scale: f32::from_bits(problem.size("scale_bits")? as u32),
            window: problem.size("window").unwrap_or(ScoreForm::NO_WINDOW),
            cap: f32::from_bits(problem.size("cap_bits").unwrap_or(0) as u32),
        })
    }

    pub(super) const fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    /// Rows of the cache.
    pub(super) const fn rows(&self) -> usize {
        self.slots * self.kv_heads * self.capacity
    }

    /// Features of a query's row.
    pub(super) const fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(RUN)
    }

    /// Elements of dst's buffer.
    pub(super) const fn dst_len(&self) -> usize {
        (self.tokens - 1) * self.dst_stride + self.heads() * self.head_dim
    }
}

/// Some tokens of a sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub first: usize,
    pub tokens: usize,
    pub slot: usize,
    pub past: usize,
}

impl Sequence {
    pub(super) fn all(problem: &Problem) -> Result<Vec<Self>, ProblemError> {
        let words = &problem.tensor("sequences")?.bits;
        let (sequences, _) = words.as_chunks::<4>();
        let sequence = |words: &[u32; 4]| {
            let [first, tokens, slot, past] = words.map(|word| word as usize);
            Self {
                first,
                tokens,
                slot,
                past,
            }
        };
        Ok(sequences.iter().map(sequence).collect())
    }
}

/// Keys or values of a problem, by their names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub codes: &'static str,
    pub scales: &'static str,
    /// Rows of first positions, of a packed cache that leaves these as they are.
    pub exact: Option<&'static str>,
    pub format: CacheFormat,
}

impl AttentionVariant {
    pub(super) fn sides(&self) -> [Side; 2] {
        let side = |codes, scales, exact, format| Side {
            codes,
            scales,
            exact: Some(exact).filter(|_| self.keeps_first && format != CacheFormat::Dense),
            format,
        };
        [
            side("keys", "key_scales", "exact_keys", *self.keys()),
            side("values", "value_scales", "exact_values", *self.values()),
        ]
    }
}

impl Side {
    /// The operands of the tensor core for some rows of the cache, [rows, head_dim].
    pub(super) fn operands(
        &self,
        problem: &Problem,
        head_dim: usize,
        rows: Range<usize>,
    ) -> Result<Vec<f64>, ProblemError> {
        let codes = rows.start * head_dim..rows.end * head_dim;
        let codes = problem.part(self.codes, codes)?;
        let CacheFormat::Packed {
            element,
            scale,
            block_size,
        } = self.format
        else {
            return Ok(codes.values().into_iter().map(f64::from).collect());
        };
        let blocks = head_dim.div_ceil(block_size);
        let scales = rows.start * blocks..rows.end * blocks;
        let scales = problem.part(self.scales, scales)?.bits;
        let is_table = matches!(StoredBits::of(element), StoredBits::Nibbles(_));
        let operand = |(index, &code): (usize, &u32)| {
            let (row, col) = (index / head_dim, index % head_dim);
            let value = element.decode(code as u8);
            // The values of a table as the tensor core takes them; the others are bf16.
            let value = if is_table {
                FloatType::Bf16.round(value)
            } else {
                value
            };
            let scale = scale.decode(scales[row * blocks + col / block_size]);
            f64::from(FloatType::Bf16.round(value * scale))
        };
        let mut operands: Vec<f64> = codes.bits.iter().enumerate().map(operand).collect();
        let Some(exact) = self.exact else {
            return Ok(operands);
        };
        let [capacity, first] = [problem.size("capacity")?, problem.size("exact")?];
        for (row, operands) in rows.zip(operands.chunks_mut(head_dim)) {
            let (head, position) = (row / capacity, row % capacity);
            if position < first {
                let at = (head * first + position) * head_dim;
                let values = problem.part(exact, at..at + head_dim)?.values();
                let pairs = operands.iter_mut().zip(values);
                pairs.for_each(|(operand, value)| *operand = f64::from(value));
            }
        }
        Ok(operands)
    }
}

impl Entry for AttentionVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        draw::problem(self, rng, elements)
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        shaped::problem_of(self, rng, shape, thread_blocks)
    }

    /// Keys and values of the cache.
    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        2 * ["slots", "kv_heads", "capacity", "head_dim"]
            .map(size)
            .iter()
            .product::<u64>()
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        expected::expected(self, problem)
    }

    /// Heads of tokens. A thread block has those that share a key head, of as many tokens as fit.
    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        let sizes = Sizes::of(problem)?;
        Ok(Some(Grid {
            size: [sizes.tokens, sizes.heads()],
            block: [self.block_rows().div_ceil(sizes.group), sizes.group],
            outputs: sizes.head_dim,
        }))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        expected::expected_at(self, problem, places)
    }

    fn lower(&self, problem: &Problem) -> Result<Problem, EntryError> {
        operands::of(self, problem)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        draw::smaller(problem)
    }
}
