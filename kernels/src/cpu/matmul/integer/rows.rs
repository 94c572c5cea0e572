//! Activations as codes, and as the integers that products read.

use super::operand::Operand;
use crate::cpu;
use crate::cpu::{Isa, dispatch};
use crate::format::{BlockFormat, FormatError, IntegerElement, PackedTensor, read_scale};
use std::ops::Range;
use std::sync::OnceLock;

/// Columns whose integers are reordered among each other.
pub(super) const GROUP: usize = 16;

/// Tokens [tokens, cols] in a block format, one code a byte, each token with its own tensor scale.
#[derive(Clone, Debug)]
pub struct CodeRows {
    format: BlockFormat,
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u8>,
    tensor_scales: Vec<f32>,
    /// For the first kind of weights that they were multiplied with.
    integers: OnceLock<Integers>,
}

/// What of tokens is written when they are quantised.
#[derive(Debug)]
pub struct CodeRowsMut<'a> {
    /// [tokens, cols].
    pub codes: &'a mut [u8],
    /// [`BlockFormat::row_scale_bytes`] of each token.
    pub scales: &'a mut [u8],
    /// One of each token; 1 where the format has none.
    pub tensor_scales: &'a mut [f32],
}

impl CodeRows {
    /// Tokens whose codes and scales are zero.
    pub fn zeroed(format: BlockFormat, tokens: usize, cols: usize) -> Self {
        Self {
            format,
            cols,
            codes: vec![0; tokens * cols],
            scales: vec![0; tokens * format.row_scale_bytes(cols)],
            tensor_scales: vec![1.0; tokens],
            integers: OnceLock::new(),
        }
    }

    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        &self.format
    }

    /// Number of tokens.
    pub const fn tokens(&self) -> usize {
        self.tensor_scales.len()
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// For [`cpu::CodeQuantizer`] to fill.
    pub fn parts_mut(&mut self) -> CodeRowsMut<'_> {
        self.integers = OnceLock::new();
        CodeRowsMut {
            codes: &mut self.codes,
            scales: &mut self.scales,
            tensor_scales: &mut self.tensor_scales,
        }
    }

    /// The values of some tokens from `first` on: [`cpu::dequantize`] of each.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless `out` is whole tokens that exist.
    pub fn dequantize(&self, first: usize, out: &mut [f32]) -> Result<(), FormatError> {
        let tokens = out.len().checked_div(self.cols).unwrap_or(0);
        if tokens * self.cols != out.len() || first + tokens > self.tokens() {
            return Err(FormatError::Length {
                what: "output",
                got: out.len(),
                expected: self.tokens().saturating_sub(first) * self.cols,
            });
        }
        let layout = self.format.element().layout();
        for (i, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            let token = first + i;
            let mut codes = vec![0; layout.bytes(self.cols)];
            layout.pack(self.row_codes(token), &mut codes);
            let scales = self.row_scales(token).to_vec();
            let tensor_scale = self.tensor_scales[token];
            let row = PackedTensor::new(self.format, 1, self.cols, codes, scales, tensor_scale)?;
            cpu::dequantize(&row, out)?;
        }
        Ok(())
    }

    /// Some of the tokens, in this order.
    ///
    /// # Panics
    /// If one does not exist, as an index does.
    #[must_use]
    pub fn select(&self, tokens: &[u32]) -> Self {
        let mut selected = Self {
            format: self.format,
            cols: self.cols,
            codes: Vec::with_capacity(tokens.len() * self.cols),
            scales: Vec::new(),
            tensor_scales: Vec::with_capacity(tokens.len()),
            integers: OnceLock::new(),
        };
        for &token in tokens {
            let token = token as usize;
            selected.codes.extend_from_slice(self.row_codes(token));
            selected.scales.extend_from_slice(self.row_scales(token));
            selected.tensor_scales.push(self.tensor_scales[token]);
        }
        selected
    }

    fn row_codes(&self, token: usize) -> &[u8] {
        &self.codes[token * self.cols..][..self.cols]
    }

    fn row_scales(&self, token: usize) -> &[u8] {
        let bytes = self.format.row_scale_bytes(self.cols);
        &self.scales[token * bytes..][..bytes]
    }

    pub(super) fn tensor_scale(&self, token: usize) -> f32 {
        self.tensor_scales[token]
    }

    /// Calls `reader` with the integers, which are kept for the first way.
    pub(super) fn with_integers<T>(
        &self,
        element: IntegerElement,
        way: Way,
        reader: impl FnOnce(&Integers) -> T,
    ) -> T {
        let make = || Integers::new(self, element, way);
        let kept = self.integers.get_or_init(make);
        match (kept.arrangement, kept.tokens_at_once) == (way.arrangement, way.tokens_at_once) {
            true => reader(kept),
            false => reader(&make()),
        }
    }
}

/// How integers are made, and how they lie.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub isa: Isa,
    pub arrangement: Arrangement,
    /// At most.
    pub tokens_at_once: usize,
}

impl From<&PackedTensor> for CodeRows {
    fn from(packed: &PackedTensor) -> Self {
        let mut rows = Self::zeroed(*packed.format(), packed.rows(), packed.cols());
        let layout = packed.element().layout();
        let codes = rows.codes.chunks_exact_mut(packed.cols().max(1));
        for (row, codes) in codes.enumerate() {
            layout.unpack(packed.row_codes(row), codes);
        }
        rows.scales.copy_from_slice(packed.scales());
        rows.tensor_scales.fill(packed.tensor_scale());
        rows
    }
}

/// How the integers of a group of [`GROUP`] columns lie, which follows from the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Arrangement {
    pub operand: Operand,
    /// Whether a word of weights has eight codes of four bits: its low nibbles become one word of
    /// bytes, the high ones the next.
    pub has_nibbles: bool,
    /// What is added to the integers of weights.
    pub raised_by: i32,
    /// Columns of a run, whose products add up in i16 before they are widened: whole groups. `None`
    /// where sums are i32 from the start.
    pub narrow_run: Option<usize>,
}

impl Arrangement {
    /// The columns of a group in the order of bytes.
    pub fn byte_columns(self) -> [u8; GROUP] {
        std::array::from_fn(|i| match self.has_nibbles {
            true => (i / 8 * 8 + i % 4 * 2 + i / 4 % 2) as u8,
            false => i as u8,
        })
    }

    /// What sums begin with, from the sums of x in the lower and the upper halves of words.
    fn start(self, sums: &[[i32; 2]]) -> u32 {
        let total = |half: usize| -> i32 { sums.iter().map(|sum| sum[half]).sum() };
        let [low, high] = [total(0), total(1)].map(|sum| sum.wrapping_mul(-self.raised_by));
        match self.narrow_run {
            Some(_) => low as u32 & 0xFFFF | (high as u32) << 16,
            None => low.wrapping_add(high) as u32,
        }
    }

    /// The columns of a group in the order in which they lie.
    pub fn columns(self) -> [usize; GROUP] {
        let bytes = self.byte_columns();
        std::array::from_fn(|i| match self.operand {
            Operand::Bytes => usize::from(bytes[i]),
            // Bytes 0 and 2 of the four words, then bytes 1 and 3.
            Operand::Words => usize::from(bytes[i / 2 % 4 * 4 + i % 2 * 2 + i / 8]),
        })
    }
}

/// The integers of tokens, and the factors of their blocks. Tokens that are multiplied together are
/// a group, in which they interleave: token t of n has its word w at w n + t.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    arrangement: Arrangement,
    tokens_at_once: usize,
    tokens: usize,
    /// Words of a token, whole groups of columns, and the words themselves, as f32 bits.
    pub token_words: usize,
    pub words: Vec<f32>,
    /// Words of a block, and of a run, whose sums begin anew.
    pub block_words: usize,
    pub run_words: usize,
    /// Runs of a block, and what their sums begin with, so that what was added to weights is
    /// subtracted: an i32, or two i16.
    pub block_runs: usize,
    pub starts: Vec<u32>,
    /// Blocks of a token, and the factor of each.
    pub blocks: usize,
    pub factors: Vec<f32>,
}

impl Integers {
    fn new(rows: &CodeRows, element: IntegerElement, way: Way) -> Self {
        let Way {
            isa,
            arrangement,
            tokens_at_once,
        } = way;
        let (format, cols) = (&rows.format, rows.cols);
        let (scale, k) = (format.scale(), format.block_size());
        let groups = cols.div_ceil(GROUP);
        let columns = arrangement.operand.columns();
        let run = arrangement.narrow_run.unwrap_or(k).min(k);
        let (tokens, blocks) = (rows.tokens(), format.blocks_per_row(cols));
        let (token_words, block_runs) = (groups * GROUP / columns, k.div_ceil(run));
        let mut made = Self {
            arrangement,
            tokens_at_once,
            tokens,
            token_words,
            words: vec![0.0; tokens * token_words],
            block_words: k / columns,
            run_words: run / columns,
            block_runs,
            starts: vec![0; tokens * blocks * block_runs],
            blocks,
            factors: vec![0.0; tokens * blocks],
        };
        let integers = element.integers();
        let (mut words, mut sums) = (vec![0.0; token_words], vec![[0; 2]; groups]);
        let mut starts = vec![0; blocks * block_runs];
        for group in made.groups() {
            for t in 0..group.len() {
                let token = group.start + t;
                let codes = rows.row_codes(token);
                dispatch::arrange(isa, arrangement, integers, codes, &mut words, &mut sums);
                interleave(
                    &mut made.words,
                    token_words,
                    &group,
                    t,
                    words.iter().copied(),
                );
                let of_blocks = starts.chunks_exact_mut(block_runs);
                for (starts, sums) in of_blocks.zip(sums.chunks(k / GROUP)) {
                    for (start, sums) in starts.iter_mut().zip(sums.chunks(run / GROUP)) {
                        *start = arrangement.start(sums);
                    }
                }
                let starts = starts.iter().copied();
                interleave(&mut made.starts, blocks * block_runs, &group, t, starts);
                let scales = rows.row_scales(token).chunks_exact(scale.storage_bytes());
                let factors = scales.map(|bytes| scale.decode(read_scale(bytes)) * element.unit());
                interleave(&mut made.factors, blocks, &group, t, factors);
            }
        }
        made
    }

    /// The tokens of each group, about as many as of the others.
    pub fn groups(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (tokens, count) = (self.tokens, self.tokens.div_ceil(self.tokens_at_once));
        (0..count).map(move |group| group * tokens / count..(group + 1) * tokens / count)
    }
}

/// Writes what token `t` of a group has to its places among `to`, where all tokens have `each`.
fn interleave<T>(
    to: &mut [T],
    each: usize,
    group: &Range<usize>,
    t: usize,
    from: impl Iterator<Item = T>,
) {
    let to = to[group.start * each..group.end * each][t..].iter_mut();
    for (to, from) in to.step_by(group.len()).zip(from) {
        *to = from;
    }
}
