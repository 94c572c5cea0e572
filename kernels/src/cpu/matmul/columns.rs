//! Decodes panels of packed codes to columns of values, with a row of W in every lane.
//!
//! A load takes a word of codes of every row of a vector, of which bytes with one code each are
//! made, and of these f32 (`elements.rs`). The bodies are `inline(always)` so that they get the
//! target features of their caller.

#[cfg(doc)]
use super::codecs::Codecs;
use super::codecs::{Elements, INTEGER_SHIFT, ScaleCodec};
use super::elements::{Element, Integers, Small, Split, Wide};
use super::panels::{PANEL_ROWS, Panels};
use super::vectors::{Vectors, sixes};
use super::weights::{Kind, RUN};
use super::words::WordSink;
use crate::cpu::simd::Simd;
use crate::format::{FloatType, pow2};
use std::ops::Range;

/// Writes a block of code for each of some constants, for no index to be a variable.
macro_rules! unrolled {
    ($name:ident in [$($value:literal)*] if $condition:expr => $body:block) => {
        $({
            const $name: usize = $value;
            if $condition $body
        })*
    };
}
pub(super) use unrolled;

/// Rows that are decoded together at most: four vectors of sixteen.
const MOST_ROWS: usize = 64;

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

/// 2^(code - limit), where [`Codecs::plain_powers`] are.
#[inline(always)]
pub(super) fn plain_power<S: Simd>(s: S, limit: i32, code: S::U) -> S::F {
    let field = s.add_bits(code, s.splat_bits((127 - limit) as u32));
    s.float(s.shift_left(field, 23))
}

/// Decodes `columns` of `V` vectors of rows from `first` on, column by column, to words of f32;
/// `columns` begin at a multiple of 32. `KIND` is one that [`Kind`] has for the panels; values are
/// rounded to bf16 if it `rounds`.
#[inline(always)]
pub(super) fn decode_columns<S: Simd, const V: usize, const KIND: u8>(
    s: S,
    panels: &Panels,
    first: usize,
    columns: Range<usize>,
    rounds: bool,
    sink: &mut impl WordSink<S>,
) {
    let coding = panels.coding();
    let has_tensor_scale = coding.tensor_scale.to_bits() != 1.0f32.to_bits();
    let decoder = Decoder {
        s,
        panels,
        first,
        vectors: Vectors::<V>::new(s, panels, first),
        factor: 1.0,
        tensor_scale: s.splat(coding.tensor_scale),
        has_tensor_scale,
        has_minimum: coding.has_minimum,
        rounds,
    };
    let codecs = panels.codecs();
    match (KIND, &codecs.elements) {
        (Kind::LIFTED, _) => {
            let lifted = codecs.lifted(0.0).and_then(|lifted| lifted.small.as_ref());
            let table = lifted.expect("a table where codes are read by it");
            decoder.run::<_, PLAIN>(Small::<S, true>::new(s, table), columns, sink);
        }
        (Kind::SMALL, Some(Elements::Small(bytes, values))) => {
            if S::LOOKS_UP_LANES {
                decoder.run_fours(Wide::new(s, values), columns, sink);
            } else {
                decoder.run_fours(Small::<S, false>::new(s, bytes), columns, sink);
            }
        }
        (Kind::WIDE, Some(Elements::Wide(values))) => {
            decoder.run_fours(Wide::new(s, values), columns, sink);
        }
        (Kind::SPLIT_6, Some(Elements::Split(table))) => {
            let element = Split::<S, 6>::new(s, table);
            match decoder.steps() {
                PLAIN => decoder.run::<_, PLAIN>(element, columns, sink),
                _ => decoder.run::<_, ANY>(element, columns, sink),
            }
        }
        (Kind::SPLIT_8, Some(Elements::Split(table))) => {
            let element = Split::<S, 8>::new(s, table);
            match decoder.steps() {
                PLAIN => decoder.run::<_, PLAIN>(element, columns, sink),
                _ => decoder.run::<_, ANY>(element, columns, sink),
            }
        }
        (Kind::INTEGERS, Some(Elements::Integers { step })) => {
            let factor = step * pow2(-INTEGER_SHIFT) as f32;
            let decoder = Decoder { factor, ..decoder };
            match decoder.steps() {
                PLAIN => decoder.run::<_, PLAIN>(Integers, columns, sink),
                ROUNDED => decoder.run::<_, ROUNDED>(Integers, columns, sink),
                _ => decoder.run::<_, ANY>(Integers, columns, sink),
            }
        }
        _ => unreachable!("kinds are those of the panels"),
    }
}

struct Decoder<'a, S: Simd, const V: usize> {
    s: S,
    panels: &'a Panels,
    /// The first row.
    first: usize,
    vectors: Vectors<'a, V>,
    /// Of scales.
    factor: f32,
    tensor_scale: S::F,
    has_tensor_scale: bool,
    has_minimum: bool,
    rounds: bool,
}

/// What there is to do after the product of element and scale: nothing, the product with the
/// tensor's scale, the rounding, both, or what the decoder has. Known beforehand, values stay in
/// registers.
const PLAIN: u8 = 0;
const TENSOR_SCALE: u8 = 1;
const ROUNDED: u8 = 2;
const SCALED_AND_ROUNDED: u8 = TENSOR_SCALE | ROUNDED;
const ANY: u8 = 4;

/// What is applied to the elements of a block, by vector of rows.
struct Scales<S: Simd, const V: usize> {
    lower: [S::U; V],
    scale: [S::F; V],
    minimum: [S::F; V],
}

impl<S: Simd, const V: usize> Decoder<'_, S, V> {
    /// [`Self::run`] for codes of four bits.
    #[inline(always)]
    fn run_fours<E: Element<S>>(
        &self,
        element: E,
        columns: Range<usize>,
        sink: &mut impl WordSink<S>,
    ) {
        match self.steps() {
            PLAIN => self.run::<E, PLAIN>(element, columns, sink),
            TENSOR_SCALE => self.run::<E, TENSOR_SCALE>(element, columns, sink),
            ROUNDED => self.run::<E, ROUNDED>(element, columns, sink),
            SCALED_AND_ROUNDED => self.run::<E, SCALED_AND_ROUNDED>(element, columns, sink),
            _ => self.run::<E, ANY>(element, columns, sink),
        }
    }

    /// What there is to do after the product of element and scale.
    #[inline(always)]
    fn steps(&self) -> u8 {
        match (self.has_minimum, self.has_tensor_scale, self.rounds) {
            (false, false, false) => PLAIN,
            (false, true, false) => TENSOR_SCALE,
            (false, false, true) => ROUNDED,
            (false, true, true) => SCALED_AND_ROUNDED,
            (true, ..) => ANY,
        }
    }

    /// `STEPS` says what there is to do after the product of element and scale.
    #[inline(always)]
    fn run<E: Element<S>, const STEPS: u8>(
        &self,
        element: E,
        columns: Range<usize>,
        sink: &mut impl WordSink<S>,
    ) {
        const { assert!(matches!(E::BITS, 4 | 6 | 8) && V <= 4) };
        let s = self.s;
        let block_size = self.panels.coding().block_size;
        let end = columns.end - columns.len() % RUN;
        let mut scales = Scales {
            lower: [s.splat_bits(0); V],
            scale: [s.splat(0.0); V],
            minimum: [s.splat(0.0); V],
        };
        let mut block_end = columns.start;
        for start in (columns.start..end).step_by(RUN) {
            if start == block_end {
                self.scales::<E>(start / block_size, &mut scales);
                block_end = (start / block_size + 1) * block_size;
            }
            sink.run(start - columns.start, RUN);
            let run = self
                .vectors
                .run(s, start * E::BITS / 32, RUN * E::BITS / 32);
            if E::IS_BY_COLUMN {
                unrolled!(WORD in [0 1 2 3] if WORD < RUN * E::BITS / 32 => {
                    let mut words = [s.splat_bits(0); V];
                    for (v, word) in words.iter_mut().enumerate() {
                        *word = s.load_bits(&run[v][WORD * PANEL_ROWS..]);
                    }
                    unrolled!(COLUMN in [0 1 2 3 4 5 6 7] if COLUMN < 32 / E::BITS => {
                        let mut values = words;
                        for (v, value) in values.iter_mut().enumerate() {
                            let element = element.of_column(s, *value, COLUMN as u32);
                            *value = s.bits(s.mul(s.float(element), scales.scale[v]));
                        }
                        self.finish::<STEPS, V>(&mut values, &scales.minimum);
                        for (v, value) in values.into_iter().enumerate() {
                            sink.put(32 / E::BITS * WORD + COLUMN, v, value);
                        }
                    });
                });
                continue;
            }
            if E::BITS == 4 {
                unrolled!(WORD in [0 1] if true => {
                    unrolled!(I in [0 1 2 3] if I < V => {
                        let word = s.load_bits(&run[I][WORD * PANEL_ROWS..]);
                        let values = element.of_nibbles(s, word, scales.lower[I]);
                        let values = self.scaled::<E, STEPS, 8>(values, &scales, I);
                        for (i, values) in values.into_iter().enumerate() {
                            sink.put(8 * WORD + i, I, values);
                        }
                    });
                });
                continue;
            }
            unrolled!(QUARTER in [0 1 2 3] if true => {
                unrolled!(I in [0 1 2 3] if I < V => {
                    let codes = if E::BITS == 6 {
                        sixes(s, run[I], QUARTER)
                    } else {
                        s.load_bits(&run[I][QUARTER * PANEL_ROWS..])
                    };
                    let values = element.of_bytes(s, codes);
                    let values = self.scaled::<E, STEPS, 4>(values, &scales, I);
                    for (i, values) in values.into_iter().enumerate() {
                        sink.put(4 * QUARTER + i, I, values);
                    }
                });
            });
        }
        sink.run(end - columns.start, columns.end - end);
        for column in end..columns.end {
            let values = self.column_end(column);
            for v in 0..V {
                sink.put(column - end, v, s.bits(s.load(&values[v * S::LANES..])));
            }
        }
    }

    /// The values of a column, one by one.
    #[inline(never)]
    fn column_end(&self, column: usize) -> [f32; MOST_ROWS] {
        let mut values = [0.0; MOST_ROWS];
        for (lane, value) in values.iter_mut().enumerate() {
            let row = (self.first + lane).min(self.panels.rows() - 1);
            *value = self.panels.value(row, column);
            if self.rounds {
                *value = FloatType::Bf16.round(*value);
            }
        }
        values
    }

    /// The scales of a block.
    #[inline(always)]
    fn scales<E: Element<S>>(&self, block: usize, scales: &mut Scales<S, V>) {
        let (s, codecs) = (self.s, self.panels.codecs());
        for v in 0..V {
            let code = self.vectors.scale_codes(s, v, block, false);
            if E::IS_SCALED {
                scales.lower[v] = lowering(s, codecs.unscaled(), code);
                continue;
            }
            let scale = decode_scale(s, &codecs.scale, code);
            scales.scale[v] = s.mul(scale, s.splat(self.factor));
            if self.has_minimum {
                let code = self.vectors.scale_codes(s, v, block, true);
                scales.minimum[v] = decode_scale(s, &codecs.scale, code);
            }
        }
    }

    /// Elements under their scales.
    #[inline(always)]
    fn scaled<E: Element<S>, const STEPS: u8, const N: usize>(
        &self,
        mut words: [S::U; N],
        scales: &Scales<S, V>,
        v: usize,
    ) -> [S::U; N] {
        let s = self.s;
        if E::IS_SCALED {
            return words;
        }
        for word in &mut words {
            *word = s.bits(s.mul(s.float(*word), scales.scale[v]));
        }
        self.finish::<STEPS, N>(&mut words, &[scales.minimum[v]; N]);
        words
    }

    /// What there is to do after the product of element and scale.
    #[inline(always)]
    fn finish<const STEPS: u8, const N: usize>(&self, words: &mut [S::U; N], minimum: &[S::F; N]) {
        let s = self.s;
        if STEPS == ANY && self.has_minimum {
            for (word, &minimum) in words.iter_mut().zip(minimum) {
                *word = s.bits(s.add(s.float(*word), minimum));
            }
        }
        if STEPS & TENSOR_SCALE > 0 || STEPS == ANY && self.has_tensor_scale {
            for word in &mut *words {
                *word = s.bits(s.mul(s.float(*word), self.tensor_scale));
            }
        }
        if STEPS & ROUNDED > 0 || STEPS == ANY && self.rounds {
            for word in words {
                *word = rounded(s, s.float(*word));
            }
        }
    }
}

/// What a scale that is a power of two takes off exponents, in both halves of a word.
#[inline(always)]
pub(super) fn lowering<S: Simd>(s: S, unscaled: u32, code: S::U) -> S::U {
    let less = s.shift_left(s.sub_bits(s.splat_bits(unscaled), code), 7);
    s.or(less, s.shift_left(less, 16))
}

/// Rounded to bf16, half to even: what is left of the upper bits if 2^16 times the value is added
/// and taken away. Tried with every mantissa; exact in the range of [`Codecs::rounds_within`].
#[inline(always)]
fn rounded<S: Simd>(s: S, value: S::F) -> S::U {
    let raised = s.mul(value, s.splat(65_537.0));
    s.bits(s.sub(raised, s.sub(raised, value)))
}
