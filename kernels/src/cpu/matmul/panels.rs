//! A packed matrix in the order that products read it.

use super::weights::Codecs;
use crate::format::{
    BlockFormat, FormatError, PackedTensor, pack_row, packed_row_bytes, read_scale, unpack_row,
};
use std::borrow::Cow;
use std::ops::Range;

/// Rows of a panel: the lanes of the longest vector.
pub(super) const PANEL_ROWS: usize = 16;

/// Bytes of a word of codes.
const WORD_BYTES: usize = 4;

/// Bits of the narrowest codes that are read.
const LEAST_BITS: u32 = 4;

/// A [`PackedTensor`] [rows, cols] with sixteen rows interleaved, so that a vector of rows is one load.
///
/// ```text
/// codes     [panel of 16 rows][word of a row's codes][row]     words of 32 bits, little-endian
/// scales    [panel of 16 rows][byte of a row's scales][row]
/// ```
///
/// Codes of two and three bits are widened to four, which one table of sixteen values decodes. Rows are filled up with
/// zeros to whole words and panels. Beyond that it takes what the packed tensor does, and, of each panel, eight bytes about
/// its scales.
#[derive(Clone, Debug)]
pub struct Panels {
    format: BlockFormat,
    rows: usize,
    cols: usize,
    tensor_scale: f32,
    codes: Vec<u32>,
    scales: Vec<u8>,
    /// Of each panel.
    ranges: Vec<ScaleRange>,
    codecs: Box<Codecs>,
}

/// The magnitudes of some scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaleRange {
    /// The smallest but 0; infinity if there is none.
    pub least: f32,
    /// The largest; NaN if a scale is, or an element of eight bits is not finite.
    pub most: f32,
}

impl ScaleRange {
    const EMPTY: Self = Self {
        least: f32::INFINITY,
        most: 0.0,
    };

    fn of(scale: f32) -> Self {
        let most = scale.abs();
        let least = if most > 0.0 { most } else { f32::INFINITY };
        Self { least, most }
    }

    fn and(self, other: Self) -> Self {
        // As integers NaN is above all.
        let bits = self.most.to_bits().max(other.most.to_bits());
        Self {
            least: self.least.min(other.least),
            most: f32::from_bits(bits),
        }
    }
}

impl Panels {
    /// Reorders a packed tensor.
    pub fn new(packed: &PackedTensor) -> Self {
        let (format, rows) = (*packed.format(), packed.rows());
        let (bits, cols) = (code_bits(&format), packed.cols());
        let packed_codes = repack(packed.codes().into(), cols, [format.element().bits(), bits]);
        let (row_bytes, scale_bytes) = (packed_row_bytes(bits, cols), packed.row_scale_bytes());
        let row_words = row_bytes.div_ceil(WORD_BYTES);
        let panels = rows.div_ceil(PANEL_ROWS);
        let mut codes = vec![0; panels * row_words * PANEL_ROWS];
        let mut scales = vec![0; panels * scale_bytes * PANEL_ROWS];
        let mut ranges = vec![ScaleRange::EMPTY; panels];
        let range = RangeOf::new(&format);
        for row in 0..rows {
            let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
            let row_codes = &packed_codes[row * row_bytes..][..row_bytes];
            let to = codes[panel * row_words * PANEL_ROWS..].iter_mut();
            let to = to.skip(lane).step_by(PANEL_ROWS);
            for (to, bytes) in to.zip(row_codes.chunks(WORD_BYTES)) {
                let mut word = [0; WORD_BYTES];
                word[..bytes.len()].copy_from_slice(bytes);
                *to = u32::from_le_bytes(word);
            }
            let row_scales = &packed.scales()[row * scale_bytes..][..scale_bytes];
            let to = scales[panel * scale_bytes * PANEL_ROWS..].iter_mut();
            for (to, &byte) in to.skip(lane).step_by(PANEL_ROWS).zip(row_scales) {
                *to = byte;
            }
            ranges[panel] = ranges[panel].and(range.of_row(row_codes, row_scales));
        }
        Self {
            format,
            rows,
            cols,
            tensor_scale: packed.tensor_scale(),
            codes,
            scales,
            ranges,
            codecs: Box::new(Codecs::new(&format, packed.tensor_scale())),
        }
    }

    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        &self.format
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// The scale of the tensor as a whole; 1 where the format has none.
    pub const fn tensor_scale(&self) -> f32 {
        self.tensor_scale
    }

    /// Bytes taken by codes, scales and tensor scale; as packed, but for codes that are widened and what rows are filled up
    /// with.
    pub const fn bytes(&self) -> usize {
        let tensor_scale = if self.format.has_tensor_scale() { 4 } else { 0 };
        size_of_val(self.codes.as_slice()) + self.scales.len() + tensor_scale
    }

    /// Some rows as they were packed. Where codes were widened, bits behind the last of a row are zero.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless the rows exist.
    pub fn packed_rows(&self, rows: Range<usize>) -> Result<PackedTensor, FormatError> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(FormatError::Length {
                what: "rows",
                got: rows.end,
                expected: self.rows,
            });
        }
        let (bits, count) = (self.code_bits(), rows.len());
        let row_bytes = packed_row_bytes(bits, self.cols);
        let scale_bytes =
            self.format.blocks_per_row(self.cols) * self.format.scale().storage_bytes();
        let (mut codes, mut scales) = (vec![0; count * row_bytes], vec![0; count * scale_bytes]);
        for (i, row) in rows.enumerate() {
            let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
            let to = codes[i * row_bytes..][..row_bytes].chunks_mut(WORD_BYTES);
            let words = self.words(panel, 0).iter().skip(lane).step_by(PANEL_ROWS);
            for (to, word) in to.zip(words) {
                to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
            }
            let to = &mut scales[i * scale_bytes..][..scale_bytes];
            let from = self.scale_bytes(panel, 0);
            for (to, byte) in to
                .iter_mut()
                .zip(from.iter().skip(lane).step_by(PANEL_ROWS))
            {
                *to = *byte;
            }
        }
        let codes = repack(
            codes.into(),
            self.cols,
            [bits, self.format.element().bits()],
        );
        let codes = codes.into_owned();
        PackedTensor::new(
            self.format,
            count,
            self.cols,
            codes,
            scales,
            self.tensor_scale,
        )
    }

    /// Bits of a code as it lies here.
    pub(super) const fn code_bits(&self) -> u32 {
        code_bits(&self.format)
    }

    /// The values of some rows, row-major.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless the rows exist and `out` has their size.
    pub fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), FormatError> {
        crate::cpu::dequantize(&self.packed_rows(rows)?, out)
    }

    /// The code at (row, col), in the low bits, of up to eight.
    pub(super) fn code(&self, row: usize, col: usize) -> u8 {
        let bits = self.code_bits() as usize;
        let words = self.words(row / PANEL_ROWS, col * bits / 32).iter();
        let words = words.skip(row % PANEL_ROWS).step_by(PANEL_ROWS).take(2);
        let window = words
            .rev()
            .fold(0, |window, &word| window << 32 | u64::from(word));
        (window >> (col * bits % 32)) as u8 & (u8::MAX >> (8 - bits))
    }

    /// The scale code of a row's block.
    pub(super) fn scale_code(&self, row: usize, block: usize) -> u32 {
        let width = self.format.scale().storage_bytes();
        let bytes = self.scale_bytes(row / PANEL_ROWS, block * width).iter();
        let bytes = bytes.skip(row % PANEL_ROWS).step_by(PANEL_ROWS).take(width);
        bytes
            .enumerate()
            .fold(0, |code, (i, &byte)| code | u32::from(byte) << (8 * i))
    }

    /// How codes become values.
    pub(super) fn codecs(&self) -> &Codecs {
        &self.codecs
    }

    /// The words of a panel's rows from `word` on.
    #[inline(always)]
    pub(super) fn words(&self, panel: usize, word: usize) -> &[u32] {
        let len = self.codes.len() / self.ranges.len();
        &self.codes[panel * len..][word * PANEL_ROWS..len]
    }

    /// The bytes of the scales of a panel's rows from `byte` on.
    #[inline(always)]
    pub(super) fn scale_bytes(&self, panel: usize, byte: usize) -> &[u8] {
        let len = self.scales.len() / self.ranges.len();
        &self.scales[panel * len..][byte * PANEL_ROWS..len]
    }

    /// The scales of all rows of the panels that some rows are in.
    pub(super) fn range(&self, rows: &Range<usize>) -> ScaleRange {
        let panels = rows.start / PANEL_ROWS..rows.end.div_ceil(PANEL_ROWS);
        let ranges = self.ranges[panels].iter();
        ranges.fold(ScaleRange::EMPTY, |all, &range| all.and(range))
    }
}

/// Bits of a code of a format in panels.
const fn code_bits(format: &BlockFormat) -> u32 {
    let bits = format.element().bits();
    if bits < LEAST_BITS { LEAST_BITS } else { bits }
}

/// Rows of `cols` codes of `from` bits with `to` bits each.
fn repack(codes: Cow<[u8]>, cols: usize, [from, to]: [u32; 2]) -> Cow<[u8]> {
    if from == to || cols == 0 {
        return codes;
    }
    let rows = codes.chunks_exact(packed_row_bytes(from, cols));
    let row_bytes = packed_row_bytes(to, cols);
    let (mut row_codes, mut repacked) = (vec![0; cols], vec![0; rows.len() * row_bytes]);
    for (from_row, to_row) in rows.zip(repacked.chunks_exact_mut(row_bytes)) {
        unpack_row(from, from_row, &mut row_codes);
        pack_row(to, &row_codes, to_row);
    }
    repacked.into()
}

/// What is asked of a row while it is copied.
struct RangeOf {
    format: BlockFormat,
    /// By code, of scales of a byte.
    scales: Vec<f32>,
    /// By code, whether an element of eight bits is not finite.
    is_special: Option<Vec<bool>>,
}

impl RangeOf {
    fn new(format: &BlockFormat) -> Self {
        let (element, scale) = (format.element(), format.scale());
        let is_special: Vec<bool> = element
            .codes()
            .map(|code| !element.decode(code).is_finite())
            .collect();
        let has_specials = is_special.len() == 256 && is_special.contains(&true);
        let scales = (0..256).map(|code| scale.decode(code));
        Self {
            format: *format,
            scales: if scale.storage_bytes() == 1 {
                scales.collect()
            } else {
                Vec::new()
            },
            is_special: has_specials.then_some(is_special),
        }
    }

    fn of_row(&self, codes: &[u8], scales: &[u8]) -> ScaleRange {
        let scale = self.format.scale();
        let value = |bytes: &[u8]| match bytes {
            &[code] => self.scales[usize::from(code)],
            _ => scale.decode(read_scale(bytes)),
        };
        let scales = scales.chunks_exact(scale.storage_bytes());
        let range = scales.fold(ScaleRange::EMPTY, |all, bytes| {
            all.and(ScaleRange::of(value(bytes)))
        });
        let is_special =
            |is_special: &Vec<bool>| codes.iter().any(|&code| is_special[usize::from(code)]);
        if self.is_special.as_ref().is_some_and(is_special) {
            return ScaleRange {
                most: f32::NAN,
                ..range
            };
        }
        range
    }
}
