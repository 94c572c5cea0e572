//! Decodes panels of packed codes to the integers of their values, with a row of W in every lane.
//!
//! A load takes a word of codes of every row of a vector. Byte shuffles look integers up: 16 of
//! them for codes of four bits, four times 16 for codes of six. The bodies are `inline(always)` so
//! that they get the target features of their caller.

use super::arrange::pack_group;
use super::bytes::{Bytes, one_of_64};
use super::dot::Dot;
use super::operand::Operand;
use super::rows::GROUP;
use super::tables::Tables;
#[cfg(doc)]
use crate::cpu::matmul::codecs::Codecs;
use crate::cpu::matmul::coding::PanelCodes;
use crate::cpu::matmul::columns::{decode_scale, plain_power, unrolled};
use crate::cpu::matmul::panels::{PANEL_ROWS, Panels};
use crate::cpu::matmul::vectors::{Vectors, sixes};
use std::marker::PhantomData;
use std::ops::Range;

/// Takes words of integers, group by group of columns. A trait, for calls through closures are not
/// always inlined.
pub(super) trait IntegerSink<S: Bytes> {
    /// The word that the rows of vector `v` have at `index` of the group.
    fn put(&mut self, index: usize, v: usize, word: S::U);
    /// A group begins.
    fn begin_group(&mut self);
}

/// Decodes groups of columns of `V` vectors of rows.
pub(super) struct Decoder<'a, S: Bytes, D, const V: usize> {
    s: S,
    dot: PhantomData<D>,
    panels: &'a Panels,
    tables: &'a Tables,
    first: usize,
    vectors: Vectors<'a, V>,
    /// [`Codecs::plain_powers`].
    plain_powers: Option<i32>,
    low: [S::U; 4],
    high: [S::U; 4],
}

impl<'a, S: Bytes, D: Dot<S>, const V: usize> Decoder<'a, S, D, V> {
    /// For the rows from `first` on.
    #[inline(always)]
    pub fn new(s: S, panels: &'a Panels, tables: &'a Tables, first: usize) -> Self {
        let range = panels.range(&(first..panels.rows().min(first + V * S::LANES)));
        let zero = s.splat_bits(0);
        let (mut low, mut high) = ([zero; 4], [zero; 4]);
        for i in 0..4 {
            low[i] = s.sixteen_bytes(&tables.bytes[0][i]);
            high[i] = s.sixteen_bytes(&tables.bytes[1][i]);
        }
        Self {
            s,
            dot: PhantomData,
            panels,
            tables,
            first,
            vectors: Vectors::new(s, panels, first),
            plain_powers: panels.codecs().plain_powers(range),
            low,
            high,
        }
    }

    /// The factors of a block: scales in units of the element.
    #[inline(always)]
    pub fn factors(&self, block: usize) -> [S::F; V] {
        let s = self.s;
        let unit = s.splat(self.tables.element.unit());
        let mut factors = [unit; V];
        if let Some(limit) = self.plain_powers {
            unrolled!(I in [0 1 2 3] if I < V => {
                let code = self.vectors.scale_codes(s, I, block, false);
                factors[I] = s.mul(plain_power(s, limit, code), unit);
            });
            return factors;
        }
        for (v, factor) in factors.iter_mut().enumerate() {
            let code = self.vectors.scale_codes(s, v, block, false);
            *factor = s.mul(decode_scale(s, &self.panels.codecs().scale, code), unit);
        }
        factors
    }

    /// The words of the group of columns from `column` on, all of which exist.
    #[inline(always)]
    fn group<const BITS: usize>(&self, column: usize, sink: &mut impl IntegerSink<S>) {
        const { assert!(matches!(BITS, 4 | 6 | 8), "a width of `PanelCodes`") };
        let s = self.s;
        let run = self.vectors.run(s, column * BITS / 32, GROUP * BITS / 32);
        match BITS {
            4 => {
                unrolled!(WORD in [0 1] if true => {
                    for (v, run) in run.iter().enumerate() {
                        let word = s.load_bits(&run[WORD * PANEL_ROWS..]);
                        let nibbles = s.splat_bits(0x0F0F_0F0F);
                        let high = s.and(s.shift_right(word, 4), nibbles);
                        self.put(2 * WORD, v, self.few(s.and(word, nibbles)), sink);
                        self.put(2 * WORD + 1, v, self.few(high), sink);
                    }
                });
            }
            6 => {
                unrolled!(QUARTER in [0 1 2 3] if true => {
                    for (v, run) in run.iter().enumerate() {
                        self.put_six(QUARTER, v, sixes(s, run, QUARTER), sink);
                    }
                });
            }
            _ => {
                unrolled!(WORD in [0 1 2 3] if true => {
                    for (v, run) in run.iter().enumerate() {
                        let word = s.load_bits(&run[WORD * PANEL_ROWS..]);
                        // Two's complement: 128 more flips the sign bit.
                        let raised = match D::OPERAND {
                            Operand::Bytes => s.xor(word, s.splat_bits(0x8080_8080)),
                            Operand::Words => word,
                        };
                        self.put(WORD, v, raised, sink);
                    }
                });
            }
        }
    }

    /// The integers of codes below 16, one a byte.
    #[inline(always)]
    fn few(&self, codes: S::U) -> S::U {
        self.s.look_up_bytes(self.low[0], codes)
    }

    /// Four codes of six bits, one a byte.
    #[inline(always)]
    fn put_six(&self, index: usize, v: usize, codes: S::U, sink: &mut impl IntegerSink<S>) {
        let s = self.s;
        let low = one_of_64(s, &self.low, codes);
        match D::OPERAND {
            Operand::Bytes => sink.put(index, v, low),
            Operand::Words => {
                let [even, odd] = s.join_bytes(low, one_of_64(s, &self.high, codes));
                sink.put(index, v, even);
                sink.put(4 + index, v, odd);
            }
        }
    }

    /// Four integers that fit bytes, as the operand has them.
    #[inline(always)]
    fn put(&self, index: usize, v: usize, bytes: S::U, sink: &mut impl IntegerSink<S>) {
        let s = self.s;
        match D::OPERAND {
            Operand::Bytes => sink.put(index, v, bytes),
            Operand::Words => {
                sink.put(index, v, s.lower_i16(s.raise_i16(bytes)));
                sink.put(4 + index, v, s.lower_i16(bytes));
            }
        }
    }

    /// The group that the last column is in, code by code, zeros behind it.
    #[inline(always)]
    fn last_group(&self, column: usize, sink: &mut impl IntegerSink<S>) {
        let s = self.s;
        for v in 0..V {
            let words = self.last_words(column, self.first + v * S::LANES);
            for (index, words) in words[..GROUP / D::OPERAND.columns()].iter().enumerate() {
                sink.put(index, v, s.bits(s.load(words)));
            }
        }
    }

    #[inline(never)]
    fn last_words(&self, column: usize, first: usize) -> [[f32; 16]; GROUP / 2] {
        let (panels, arrangement) = (self.panels, self.tables.arrangement);
        let mut words = [[0.0; 16]; GROUP / 2];
        for lane in 0..S::LANES {
            let row = (first + lane).min(panels.rows() - 1);
            let values = std::array::from_fn(|i| match column + i < panels.cols() {
                true => self.tables.integers[usize::from(panels.code(row, column + i))],
                false => 0,
            });
            let mut packed = [0.0; GROUP / 2];
            pack_group(
                arrangement,
                &values,
                &mut packed[..GROUP / D::OPERAND.columns()],
            );
            for (words, word) in words.iter_mut().zip(packed) {
                words[lane] = word;
            }
        }
        words
    }

    /// The groups of some columns, which begin at one.
    #[inline(always)]
    pub fn groups(&self, columns: Range<usize>, sink: &mut impl IntegerSink<S>) {
        match self.panels.coding().width {
            PanelCodes::Bits4 => self.groups_of::<4>(columns, sink),
            PanelCodes::Bits6 => self.groups_of::<6>(columns, sink),
            PanelCodes::Bits8 => self.groups_of::<8>(columns, sink),
        }
    }

    /// [`Self::groups`], where codes have `BITS` bits.
    #[inline(always)]
    pub fn groups_of<const BITS: usize>(
        &self,
        columns: Range<usize>,
        sink: &mut impl IntegerSink<S>,
    ) {
        // Apart from the loop, which would keep nothing in registers across a call.
        let whole = columns.end.min(self.panels.cols() / GROUP * GROUP);
        for column in (columns.start..whole).step_by(GROUP) {
            sink.begin_group();
            self.group::<BITS>(column, sink);
        }
        if whole < columns.end {
            sink.begin_group();
            self.last_group(whole, sink);
        }
    }
}
