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

/// The same bytes of several rows, as vectors of words.
struct RowWords<'a> {
    bytes: &'a [u8],
    starts: [usize; MOST_ROWS],
}

impl<'a> RowWords<'a> {
    /// The rows from `first` on, `row_bytes` apart; the last one repeats.
    fn new(bytes: &'a [u8], row_bytes: usize, first: usize, rows: usize) -> Self {
        let mut starts = [0; MOST_ROWS];
        for (lane, start) in starts.iter_mut().enumerate() {
            *start = (first + lane).min(rows - 1) * row_bytes;
        }
        Self { bytes, starts }
    }

    /// Sixteen bytes from byte `at` of every row on; what lies behind the buffer is zero.
    #[inline(always)]
    fn load<S: Simd, const V: usize>(&self, s: S, at: usize) -> [[S::U; 4]; V] {
        let mut words = [[s.splat_bits(0); 4]; V];
        if self.starts[V * S::LANES - 1] + at + 16 <= self.bytes.len() {
            for (v, words) in words.iter_mut().enumerate() {
                *words = s.load_words(&self.bytes[at..], &self.starts[v * S::LANES..]);
            }
        } else {
            let (bytes, starts) = self.end(at);
            for (v, words) in words.iter_mut().enumerate() {
                *words = s.load_words(&bytes, &starts[v * S::LANES..]);
            }
        }
        words
    }

    #[cold]
    fn end(&self, at: usize) -> ([u8; 16 * MOST_ROWS], [usize; MOST_ROWS]) {
        let (mut bytes, mut starts) = ([0; 16 * MOST_ROWS], [0; MOST_ROWS]);
        for (lane, to) in bytes.chunks_exact_mut(16).enumerate() {
            let from = &self.bytes[self.starts[lane] + at..];
            let len = from.len().min(16);
            to[..len].copy_from_slice(&from[..len]);
            starts[lane] = 16 * lane;
        }
        (bytes, starts)
    }
}

/// The scales of `V` vectors of rows, decoded: `[blocks, rows]`. Returns the smallest but 0.
#[inline(always)]
pub(super) fn decode_scales<S: Simd, const V: usize>(
    s: S,
    weights: &Weights,
    first: usize,
    scales: &mut Vec<f32>,
) -> f32 {
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
) -> f32 {
    let row_bytes = weights.packed.row_scale_bytes();
    let rows = RowWords::new(weights.packed.scales(), row_bytes, first, weights.rows());
    scales.resize(row_bytes / BYTES * V * S::LANES, 0.0);
    let mask = s.splat_bits(u32::MAX >> (32 - weights.packed.scale().bits()));
    let magnitude = s.splat_bits(0x7FFF_FFFF);
    let mut most = s.splat_bits(0);
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
                most = s.max_bits(most, reversed);
                s.store(scale, &mut scales[v * S::LANES..]);
            }
        }
    }
    f32::from_bits((s.largest(most) ^ 0x7FFF_FFFF).min(f32::INFINITY.to_bits()))
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

/// Calls `sink(vector, column, values)` for `columns` of `V` vectors of rows from `first` on, column
/// by column. `scales` are those of [`decode_scales`]; `columns` begin at a multiple of 32.
#[inline(always)]
pub(super) fn decode_columns<S: Simd, const V: usize>(
    s: S,
    weights: &Weights,
    first: usize,
    columns: Range<usize>,
    scales: &[f32],
    sink: impl FnMut(usize, usize, S::F),
) {
    let decoder = Decoder {
        s,
        weights,
        rows: RowWords::new(
            weights.packed.codes(),
            weights.packed.row_code_bytes(),
            first,
            weights.rows(),
        ),
        lanes: weights.codec.spread(s),
        scales,
        tensor_scale: s.splat(weights.packed.tensor_scale()),
    };
    match weights.packed.element().bits() {
        4 => decoder.run::<V, 4, 2>(columns, sink),
        6 => decoder.run::<V, 6, 1>(columns, sink),
        _ => decoder.run::<V, 8, 1>(columns, sink),
    }
}

struct Decoder<'a, S: Simd> {
    s: S,
    weights: &'a Weights<'a>,
    rows: RowWords<'a>,
    lanes: Lanes<'a, S>,
    scales: &'a [f32],
    tensor_scale: S::F,
}

impl<S: Simd> Decoder<'_, S> {
    /// `RUNS` runs have `BITS` bits a code and fit sixteen bytes.
    #[inline(always)]
    fn run<const V: usize, const BITS: usize, const RUNS: usize>(
        &self,
        columns: Range<usize>,
        mut sink: impl FnMut(usize, usize, S::F),
    ) {
        let s = self.s;
        let block_size = self.weights.packed.format().block_size();
        let has_tensor_scale = self.weights.packed.format().has_tensor_scale();
        for start in columns.clone().step_by(RUNS * RUN) {
            let words = self.rows.load::<S, V>(s, start * BITS / 8);
            for run in 0..RUNS {
                let start = start + run * RUN;
                if start >= columns.end {
                    return;
                }
                let block = &self.scales[start / block_size * V * S::LANES..];
                let mut scales = [s.splat(0.0); V];
                for v in 0..V {
                    scales[v] = s.load(&block[v * S::LANES..]);
                }
                let len = (columns.end - start).min(RUN);
                let mut column = |i: usize| {
                    for v in 0..V {
                        let code = field::<S, BITS>(s, &words[v], run * RUN + i);
                        let element = if BITS == 4 {
                            self.lanes.decode_small(code)
                        } else {
                            self.lanes.decode(code)
                        };
                        let mut value = s.mul(element, scales[v]);
                        if has_tensor_scale {
                            value = s.mul(value, self.tensor_scale);
                        }
                        sink(v, start + i, value);
                    }
                };
                if len == RUN {
                    for i in 0..RUN {
                        column(i);
                    }
                } else {
                    for i in 0..len {
                        column(i);
                    }
                }
            }
        }
    }
}

/// Code `index` of the words; of four bits only the low ones are its own.
#[inline(always)]
fn field<S: Simd, const BITS: usize>(s: S, words: &[S::U; 4], index: usize) -> S::U {
    let bit = BITS * index;
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
