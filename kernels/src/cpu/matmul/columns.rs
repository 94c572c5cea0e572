//! Decodes panels of packed codes to columns of values, with a row of W in every lane.
//!
//! A load takes a word of codes of every row of a vector. Shifts then bring one code after the
//! other to the low bits. The bodies are `inline(always)` so that they get the target features of
//! their caller.

use super::panels::{PANEL_ROWS, PanelCodes, Panels};
use super::weights::{RUN, ScaleCodec};
use crate::cpu::lanes::Lanes;
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Rows that are decoded together at most: four vectors of sixteen.
const MOST_ROWS: usize = 64;

/// Takes decoded values. A trait, for calls through closures are not always inlined.
pub(super) trait Sink<S: Simd> {
    /// The next values are those of columns `columns`; ranges follow each other.
    fn step(&mut self, columns: Range<usize>);
    /// The values that the rows of vector `v` have in a column of the step.
    fn put(&mut self, v: usize, index: usize, values: S::F);
}

/// The positions of `V` vectors of rows in their panels.
pub(super) struct Vectors<'a, const V: usize> {
    words: [&'a [u32]; V],
    scales: [&'a [u8]; V],
    scale_bytes: usize,
    /// Bits of a scale's code in use.
    scale_mask: u32,
}

impl<'a, const V: usize> Vectors<'a, V> {
    /// The vectors of the rows from `first` on, a multiple of the lanes. Beyond the last panel they
    /// repeat it.
    #[inline(always)]
    pub fn new<S: Simd>(_: S, panels: &'a Panels, first: usize) -> Self {
        let last = (panels.rows() - 1) / PANEL_ROWS;
        let mut vectors = Self {
            words: [&[]; V],
            scales: [&[]; V],
            scale_bytes: panels.format().scale().storage_bytes(),
            scale_mask: u32::MAX >> (32 - panels.format().scale().bits()),
        };
        for v in 0..V {
            let row = first + v * S::LANES;
            let (panel, lane) = ((row / PANEL_ROWS).min(last), row % PANEL_ROWS);
            vectors.words[v] = &panels.words(panel, 0)[lane..];
            vectors.scales[v] = &panels.scale_bytes(panel, 0)[lane..];
        }
        vectors
    }

    /// Word `word` of every row.
    #[inline(always)]
    pub fn words<S: Simd>(&self, s: S, word: usize) -> [S::U; V] {
        let mut words = [s.splat_bits(0); V];
        for (to, words) in words.iter_mut().zip(self.words) {
            *to = s.load_bits(&words[word * PANEL_ROWS..]);
        }
        words
    }

    /// The code of the scale of every row's block.
    #[inline(always)]
    pub fn scale_codes<S: Simd>(&self, s: S, block: usize) -> [S::U; V] {
        let mut codes = [s.splat_bits(0); V];
        for (code, scales) in codes.iter_mut().zip(self.scales) {
            for byte in 0..self.scale_bytes {
                let at = (block * self.scale_bytes + byte) * PANEL_ROWS;
                let bits = s.shift_left(s.load_bytes(&scales[at..]), 8 * byte as u32);
                *code = s.or(*code, bits);
            }
            *code = s.and(*code, s.splat_bits(self.scale_mask));
        }
        codes
    }
}

/// The values of the codes of scales.
#[inline(always)]
pub(super) fn decode_scale<S: Simd>(s: S, codec: &ScaleCodec, code: S::U) -> S::F {
    match codec {
        ScaleCodec::Power { limit, nan_code } => {
            let field = s.add_bits(code, s.splat_bits((127 - limit) as u32));
            let is_normal = s.exceeds(field, s.splat_bits(0));
            let smallest = s.keep_unless(is_normal, s.splat_bits(1 << 22));
            let bits = s.or(s.shift_left(field, 23), smallest);
            let is_nan = s.exceeds(code, s.splat_bits(nan_code - 1));
            s.float(s.or(bits, s.keep_if(is_nan, s.splat_bits(0x7FC0_0000))))
        }
        ScaleCodec::Float(codec) => codec.spread(s).decode(code),
        ScaleCodec::Upper { shift } => s.float(s.shift_left(code, *shift)),
    }
}

/// Decodes `columns` of `V` vectors of rows from `first` on, column by column; `columns` begin at a
/// multiple of 32.
#[inline(always)]
pub(super) fn decode_columns<S: Simd, const V: usize>(
    s: S,
    panels: &Panels,
    first: usize,
    columns: Range<usize>,
    sink: &mut impl Sink<S>,
) {
    let decoder = Decoder {
        s,
        panels,
        first,
        vectors: Vectors::<V>::new(s, panels, first),
        lanes: panels.codecs().element.spread(s),
        tensor_scale: s.splat(panels.tensor_scale()),
    };
    let has_tensor_scale = panels.format().has_tensor_scale();
    match (panels.panel_codes(), has_tensor_scale) {
        (PanelCodes::Bits4, false) => decoder.run::<4, false>(columns, sink),
        (PanelCodes::Bits4, true) => decoder.run::<4, true>(columns, sink),
        (PanelCodes::Bits6, false) => decoder.run::<6, false>(columns, sink),
        (PanelCodes::Bits6, true) => decoder.run::<6, true>(columns, sink),
        (PanelCodes::Bits8, false) => decoder.run::<8, false>(columns, sink),
        (PanelCodes::Bits8, true) => decoder.run::<8, true>(columns, sink),
    }
}

struct Decoder<'a, S: Simd, const V: usize> {
    s: S,
    panels: &'a Panels,
    /// The first row.
    first: usize,
    vectors: Vectors<'a, V>,
    lanes: Lanes<'a, S>,
    tensor_scale: S::F,
}

impl<S: Simd, const V: usize> Decoder<'_, S, V> {
    /// For codes of `BITS` bits. Without `SCALED`, the tensor's scale is 1.
    #[inline(always)]
    fn run<const BITS: usize, const SCALED: bool>(
        &self,
        columns: Range<usize>,
        sink: &mut impl Sink<S>,
    ) {
        const { assert!(matches!(BITS, 4 | 6 | 8), "a width of `PanelCodes`") };
        let s = self.s;
        let block_size = self.panels.format().block_size();
        let end = columns.end - columns.len() % RUN;
        let mut scales = [s.splat(0.0); V];
        let mut block_end = columns.start;
        for start in (columns.start..end).step_by(RUN) {
            if start == block_end {
                scales = self.scales(start / block_size);
                block_end = (start / block_size + 1) * block_size;
            }
            let first = start * BITS / 32;
            let mut words = [[s.splat_bits(0); V]; 3];
            if BITS == 6 {
                for (i, words) in words.iter_mut().enumerate() {
                    *words = self.vectors.words(s, first + i);
                }
                self.codes::<BITS, SCALED>(&words, &scales, start, sink);
                continue;
            }
            // Longer pieces of code would need more registers than there are.
            for i in 0..RUN * BITS / 32 {
                words[0] = self.vectors.words(s, first + i);
                self.codes::<BITS, SCALED>(&words, &scales, start + i * (32 / BITS), sink);
            }
        }
        sink.step(end..columns.end);
        for column in end..columns.end {
            let values = self.column_end(column);
            for v in 0..V {
                sink.put(v, column - end, s.load(&values[v * S::LANES..]));
            }
        }
    }

    /// The values of a column, one by one.
    #[inline(never)]
    fn column_end(&self, column: usize) -> [f32; MOST_ROWS] {
        let panels = self.panels;
        let block = column / panels.format().block_size();
        let mut values = [0.0; MOST_ROWS];
        for (lane, value) in values.iter_mut().enumerate() {
            let row = (self.first + lane).min(panels.rows() - 1);
            let scale = panels
                .format()
                .scale()
                .decode(panels.scale_code(row, block));
            let element = panels.format().element().decode(panels.code(row, column));
            *value = element * scale * panels.tensor_scale();
        }
        values
    }

    /// The scales of a block.
    #[inline(always)]
    fn scales(&self, block: usize) -> [S::F; V] {
        let s = self.s;
        let mut scales = [s.splat(0.0); V];
        for (scale, code) in scales.iter_mut().zip(self.vectors.scale_codes(s, block)) {
            *scale = decode_scale(s, &self.panels.codecs().scale, code);
        }
        scales
    }

    /// Decodes a word of codes, or three words if that is what whole codes take, of a block; the
    /// first is that of column `start`.
    #[inline(always)]
    fn codes<const BITS: usize, const SCALED: bool>(
        &self,
        words: &[[S::U; V]; 3],
        scales: &[S::F; V],
        start: usize,
        sink: &mut impl Sink<S>,
    ) {
        // Not a loop, for words and shifts to be constants.
        macro_rules! columns {
            ($count:literal: $($index:literal)*) => {{
                sink.step(start..start + $count);
                $(self.column::<BITS, SCALED, $index>(words, scales, sink);)*
            }};
        }
        match BITS {
            4 => columns!(8: 0 1 2 3 4 5 6 7),
            6 => columns!(16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            _ => columns!(4: 0 1 2 3),
        }
    }

    /// Decodes the codes at `INDEX` of the words.
    #[inline(always)]
    fn column<const BITS: usize, const SCALED: bool, const INDEX: usize>(
        &self,
        words: &[[S::U; V]; 3],
        scales: &[S::F; V],
        sink: &mut impl Sink<S>,
    ) {
        let s = self.s;
        for v in 0..V {
            let words = [words[0][v], words[1][v], words[2][v]];
            let code = field::<S, BITS, INDEX>(s, words);
            let element = if BITS == 4 {
                self.lanes.decode_small(code)
            } else {
                self.lanes.decode(code)
            };
            let mut value = s.mul(element, scales[v]);
            if SCALED {
                value = s.mul(value, self.tensor_scale);
            }
            sink.put(v, INDEX, value);
        }
    }
}

/// Code `INDEX` of the words; of four bits only the low ones are its own.
#[inline(always)]
fn field<S: Simd, const BITS: usize, const INDEX: usize>(s: S, words: [S::U; 3]) -> S::U {
    let bit = BITS * INDEX;
    let (word, shift) = (bit / 32, bit % 32);
    let mut code = s.shift_right(words[word], shift as u32);
    if shift + BITS > 32 {
        code = s.or(code, s.shift_left(words[word + 1], 32 - shift as u32));
    }
    if BITS == 4 || shift + BITS == 32 {
        return code;
    }
    s.and(code, s.splat_bits(u32::MAX >> (32 - BITS)))
}
