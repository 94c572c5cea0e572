//! Columns of values from rows of packed codes, a row of W in every lane.
//!
//! Sixteen bytes of each row are loaded and transposed as words, so that a vector holds the same
//! columns of all its rows; shifts then bring one code after the other to the low bits. The
//! bodies are `inline(always)` so that they take on the target features of their caller.

use super::weights::{ScaleCodec, Weights};
use crate::cpu::lanes::Lanes;
use crate::cpu::simd::Simd;
use std::ops::Range;

/// Rows that a decoder takes at most: four vectors of sixteen.
pub(super) const MOST_ROWS: usize = 64;

/// Columns that have one scale in every format that is read this way.
const RUN: usize = 16;

/// Takes decoded values. A trait, for calls through closures are not always inlined.
pub(super) trait Sink<S: Simd> {
    /// The next values are those of columns `columns`; ranges follow each other.
    fn step(&mut self, columns: Range<usize>);
    /// The values that the rows of vector `v` have in a column of the step.
    fn put(&mut self, v: usize, index: usize, values: S::F);
}

/// The same bytes of several rows, as vectors of words.
pub(super) struct RowWords<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
}

impl<'a> RowWords<'a> {
    /// The rows from `first` on, `row_bytes` apart.
    pub fn new(bytes: &'a [u8], row_bytes: usize, first: usize) -> Self {
        Self {
            bytes: &bytes[first * row_bytes..],
            row_bytes,
        }
    }

    /// Sixteen bytes from byte `at` of every row on; what lies behind the buffer is zero.
    #[inline(always)]
    pub fn load<S: Simd, const V: usize>(&self, s: S, at: usize) -> [[S::U; 4]; V] {
        let copy;
        let (bytes, stride) = if (V * S::LANES - 1) * self.row_bytes + at + 16 <= self.bytes.len() {
            (&self.bytes[at..], self.row_bytes)
        } else {
            copy = self.end(at);
            (&copy[..], 16)
        };
        let mut words = [[s.splat_bits(0); 4]; V];
        for v in 0..V {
            words[v] = s.load_words(&bytes[v * S::LANES * stride..], stride);
        }
        words
    }

    #[cold]
    fn end(&self, at: usize) -> [u8; 16 * MOST_ROWS] {
        let mut copy = [0; 16 * MOST_ROWS];
        let rows = self.bytes.chunks_exact(self.row_bytes).enumerate();
        for ((row, _), to) in rows.zip(copy.chunks_exact_mut(16)) {
            let from = &self.bytes[row * self.row_bytes + at..];
            let len = from.len().min(16);
            to[..len].copy_from_slice(&from[..len]);
        }
        copy
    }
}

/// The scales of `V` vectors of rows, decoded: `[blocks, rows]`. Returns the smallest magnitude
/// but 0 and the largest, NaN above all.
#[inline(always)]
pub(super) fn decode_scales<S: Simd, const V: usize>(
    s: S,
    weights: &Weights,
    first: usize,
    scales: &mut Vec<f32>,
) -> [f32; 2] {
    match weights.packed.scale().storage_bytes() {
        1 => decode_scales_of::<S, V, 1>(s, weights, first, scales),
        2 => decode_scales_of::<S, V, 2>(s, weights, first, scales),
        _ => decode_scales_of::<S, V, 4>(s, weights, first, scales),
    }
}

#[inline(always)]
fn decode_scales_of<S: Simd, const V: usize, const BYTES: usize>(
    s: S,
    weights: &Weights,
    first: usize,
    scales: &mut Vec<f32>,
) -> [f32; 2] {
    let row_bytes = weights.packed.row_scale_bytes();
    let rows = RowWords::new(weights.packed.scales(), row_bytes, first);
    scales.resize(row_bytes / BYTES * V * S::LANES, 0.0);
    let mask = s.splat_bits(u32::MAX >> (32 - weights.packed.scale().bits()));
    let magnitude = s.splat_bits(0x7FFF_FFFF);
    let (mut least, mut most) = (s.splat_bits(0), s.splat_bits(0));
    for (run, scales) in scales.chunks_mut(16 / BYTES * V * S::LANES).enumerate() {
        let words = rows.load::<S, V>(s, 16 * run);
        for (i, scales) in scales.chunks_exact_mut(V * S::LANES).enumerate() {
            let bit = 8 * BYTES * i;
            for v in 0..V {
                let code = s.shift_right(words[v][bit / 32], (bit % 32) as u32);
                let scale = decode_scale(s, &weights.scale, s.and(code, mask));
                // Zero counts as the largest, so that reversed it is the least.
                let bits = s.and(s.bits(scale), magnitude);
                let reversed = s.keep_if(s.exceeds(bits, s.splat_bits(0)), s.xor(bits, magnitude));
                least = s.max_bits(least, reversed);
                most = s.max_bits(most, bits);
                s.store(scale, &mut scales[v * S::LANES..]);
            }
        }
    }
    let least = (s.largest(least) ^ 0x7FFF_FFFF).min(f32::INFINITY.to_bits());
    [least, s.largest(most)].map(f32::from_bits)
}

#[inline(always)]
fn decode_scale<S: Simd>(s: S, codec: &ScaleCodec, code: S::U) -> S::F {
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

/// Decodes `columns` of `V` vectors of rows from `first` on, column by column. `scales` are those of [`decode_scales`]; `columns` begin at a multiple of 32.
#[inline(always)]
pub(super) fn decode_columns<S: Simd, const V: usize>(
    s: S,
    weights: &Weights,
    first: usize,
    columns: Range<usize>,
    scales: &[f32],
    sink: &mut impl Sink<S>,
) {
    let decoder = Decoder {
        s,
        weights,
        first,
        block_size: weights.packed.format().block_size(),
        rows: RowWords::new(
            weights.packed.codes(),
            weights.packed.row_code_bytes(),
            first,
        ),
        lanes: weights.codec.spread(s),
        scales,
        tensor_scale: s.splat(weights.packed.tensor_scale()),
    };
    match weights.packed.element().bits() {
        4 if weights.packed.format().has_tensor_scale() => decoder.run::<V, 4, true>(columns, sink),
        4 => decoder.run::<V, 4, false>(columns, sink),
        6 => decoder.run::<V, 6, true>(columns, sink),
        _ => decoder.run::<V, 8, true>(columns, sink),
    }
}

struct Decoder<'a, S: Simd> {
    s: S,
    weights: &'a Weights<'a>,
    block_size: usize,
    /// The first row.
    first: usize,
    rows: RowWords<'a>,
    lanes: Lanes<'a, S>,
    scales: &'a [f32],
    tensor_scale: S::F,
}

impl<S: Simd> Decoder<'_, S> {
    /// For codes of `BITS` bits. Without `SCALED`, the tensor's scale is 1.
    #[inline(always)]
    fn run<const V: usize, const BITS: usize, const SCALED: bool>(
        &self,
        columns: Range<usize>,
        sink: &mut impl Sink<S>,
    ) {
        let s = self.s;
        // Sixteen bytes, or twelve of them.
        let step = if BITS == 4 { 2 * RUN } else { RUN };
        let end = columns.end - columns.len() % step;
        for start in (columns.start..end).step_by(step) {
            let words = self.rows.load::<S, V>(s, start * BITS / 8);
            if BITS == 6 {
                self.codes::<V, BITS, SCALED>(&words, start, sink);
                continue;
            }
            // Longer pieces of code would need more registers than there are.
            for word in 0..4 {
                let mut codes = [[s.splat_bits(0); 4]; V];
                for (codes, words) in codes.iter_mut().zip(&words) {
                    codes[0] = words[word];
                }
                self.codes::<V, BITS, SCALED>(&codes, start + word * (32 / BITS), sink);
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
        let packed = self.weights.packed;
        let mut values = [0.0; MOST_ROWS];
        for (lane, value) in values.iter_mut().enumerate() {
            let row = (self.first + lane).min(packed.rows() - 1);
            let scale = packed.scale_code(row, column / self.block_size);
            let element = packed.element().decode(packed.code(row, column));
            *value = element * packed.scale().decode(scale) * packed.tensor_scale();
        }
        values
    }

    /// Decodes a word of codes, or three words if that is what whole codes take, of a block; the
    /// first is that of column `start`.
    #[inline(always)]
    fn codes<const V: usize, const BITS: usize, const SCALED: bool>(
        &self,
        words: &[[S::U; 4]; V],
        start: usize,
        sink: &mut impl Sink<S>,
    ) {
        let scales = self.scales_at::<V>(start);
        // Not a loop, for words and shifts to be constants.
        macro_rules! columns {
            ($count:literal: $($index:literal)*) => {{
                sink.step(start..start + $count);
                $(self.column::<V, BITS, SCALED, $index>(words, &scales, sink);)*
            }};
        }
        match BITS {
            4 => columns!(8: 0 1 2 3 4 5 6 7),
            6 => columns!(16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
            _ => columns!(4: 0 1 2 3),
        }
    }

    /// The scales of the block of a column.
    #[inline(always)]
    fn scales_at<const V: usize>(&self, column: usize) -> [S::F; V] {
        let s = self.s;
        let width = V * S::LANES;
        let block = &self.scales[column / self.block_size * width..];
        let mut scales = [s.splat(0.0); V];
        for v in 0..V {
            scales[v] = s.load(&block[v * S::LANES..]);
        }
        scales
    }

    /// Decodes the codes at `INDEX` of the words.
    #[inline(always)]
    fn column<const V: usize, const BITS: usize, const SCALED: bool, const INDEX: usize>(
        &self,
        words: &[[S::U; 4]; V],
        scales: &[S::F; V],
        sink: &mut impl Sink<S>,
    ) {
        let s = self.s;
        for v in 0..V {
            let code = field::<S, BITS, INDEX>(s, &words[v]);
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
fn field<S: Simd, const BITS: usize, const INDEX: usize>(s: S, words: &[S::U; 4]) -> S::U {
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
