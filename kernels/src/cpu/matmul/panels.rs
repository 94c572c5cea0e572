//! A packed matrix in the order in which products read it.

use super::codecs::Codecs;
use super::coding::{Coding, PanelCodes};
use super::range::{RangeOf, ScaleRange};
use crate::format::{
    BlockFormat, CodeLayout, FormatError, GgmlFormat, PackedTensor, ggml_mxfp4_codes,
};
use std::borrow::Cow;
use std::ops::Range;

/// Rows of a panel: the lanes of the longest vector.
pub(super) const PANEL_ROWS: usize = 16;

/// Bytes of a word of codes.
const WORD_BYTES: usize = 4;

/// Codes of six bits, of which three words hold sixteen.
const SIXES: usize = 16;

/// A matrix [rows, cols] of codes and scales with sixteen rows interleaved, so that a vector of
/// rows is one load.
///
/// ```text
/// codes     [panel of 16 rows][word of a row's codes][row]     words of 32 bits, little-endian
/// scales    [panel of 16 rows][byte of a row's scales][row]
/// ```
///
/// Codes of widths other than 4, 6 and 8 bits are widened. Sixteen codes of 6 bits take three
/// words: their bytes have codes 0..12 in the low bits. Above code j, j + 4 and j + 8 there are two
/// bits of code j + 12 each, low ones first. Rows are padded with zeros to whole words and panels.
/// Otherwise the size is that of the packed tensor, plus twelve bytes about the scales of each
/// panel.
#[derive(Clone, Debug)]
pub struct Panels {
    format: PanelFormat,
    coding: Coding,
    rows: usize,
    cols: usize,
    codes: Vec<u32>,
    scales: Vec<u8>,
    /// Of each panel.
    ranges: Vec<ScaleRange>,
    codecs: Box<Codecs>,
}

/// Where the codes come from.
#[derive(Clone, Copy, Debug)]
enum PanelFormat {
    Blocks(BlockFormat),
    /// Beside it the block format that it is, and the tensor scale that its values have already.
    Ggml(GgmlFormat, Option<(BlockFormat, f32)>),
}

impl Panels {
    /// Reorders a packed tensor.
    pub fn new(packed: &PackedTensor) -> Self {
        let (format, cols) = (*packed.format(), packed.cols());
        let coding = Coding::of_blocks(&format, packed.tensor_scale());
        let own = format.element().layout();
        let layouts = [own, coding.width.layout()];
        let (row_bytes, scale_bytes) = (packed.row_code_bytes(), packed.row_scale_bytes());
        let mut panels = Self::empty(
            PanelFormat::Blocks(format),
            coding,
            [packed.rows(), cols],
            scale_bytes,
        );
        let range_of = RangeOf::new(&panels.coding);
        for row in 0..packed.rows() {
            let codes = &packed.codes()[row * row_bytes..][..row_bytes];
            let scales = &packed.scales()[row * scale_bytes..][..scale_bytes];
            panels.put_row(&range_of, row, &repack(codes.into(), cols, layouts), scales);
        }
        panels
    }

    /// Reorders `rows` rows of ggml's blocks, which `row_of` finds. `None` for a format of
    /// super-blocks and for F16.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless rows are whole blocks and as long as `cols` asks for.
    pub fn of_ggml<'a>(
        format: GgmlFormat,
        [rows, cols]: [usize; 2],
        row_of: impl Fn(usize) -> &'a [u8],
    ) -> Result<Option<Self>, FormatError> {
        let Some(coding) = Coding::of_ggml(format) else {
            return Ok(None);
        };
        let (block, width) = (format.block_size(), coding.width);
        let row_scales = cols / block * coding.scale_bytes();
        let block_scales = coding.scale_bytes();
        let (mut codes, mut scales) = (vec![0; width.layout().bytes(cols)], vec![0; row_scales]);
        let as_ggml = PanelFormat::Ggml(format, format.as_blocks());
        let mut panels = Self::empty(as_ggml, coding, [rows, cols], row_scales);
        let range_of = RangeOf::new(&panels.coding);
        for row in 0..rows {
            let stored = row_of(row);
            if !cols.is_multiple_of(block) || stored.len() != format.row_bytes(cols) {
                return Err(FormatError::Length {
                    what: "bytes of a row",
                    got: stored.len(),
                    expected: format.row_bytes(cols),
                });
            }
            let blocks = stored.chunks_exact(format.block_bytes());
            let codes_of = codes.chunks_exact_mut(width.layout().bytes(block));
            let scales_of = scales.chunks_exact_mut(block_scales);
            for ((stored, codes), scales) in blocks.zip(codes_of).zip(scales_of) {
                let (own, stored) = stored.split_at(block_scales);
                scales.copy_from_slice(own);
                write_ggml_codes(format, stored, codes);
            }
            panels.put_row(&range_of, row, &codes, &scales);
        }
        Ok(Some(panels))
    }

    fn empty(
        format: PanelFormat,
        coding: Coding,
        [rows, cols]: [usize; 2],
        row_scales: usize,
    ) -> Self {
        let panels = rows.div_ceil(PANEL_ROWS);
        let words = match coding.width {
            PanelCodes::Bits4 => cols.div_ceil(8),
            PanelCodes::Bits6 => 3 * cols.div_ceil(SIXES),
            PanelCodes::Bits8 => cols.div_ceil(4),
        };
        Self {
            format,
            rows,
            cols,
            codes: vec![0; panels * words * PANEL_ROWS],
            scales: vec![0; panels * row_scales * PANEL_ROWS],
            ranges: vec![ScaleRange::EMPTY; panels],
            codecs: Box::new(Codecs::new(&coding)),
            coding,
        }
    }

    /// Puts a row where it belongs; `codes` are in the layout of the width.
    fn put_row(&mut self, range_of: &RangeOf, row: usize, codes: &[u8], scales: &[u8]) {
        let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
        let range = range_of.row(&self.coding, codes, self.cols, scales);
        self.ranges[panel] = self.ranges[panel].and(range);
        let len = self.codes.len() / self.ranges.len();
        let to = self.codes[panel * len..][..len].iter_mut();
        let mut to = to.skip(lane).step_by(PANEL_ROWS);
        if self.coding.width == PanelCodes::Bits6 {
            for run in codes.chunks(SIXES * 6 / 8) {
                for word in words_of_sixes(run) {
                    *to.next().expect("three words for each run") = word;
                }
            }
        } else {
            for (to, bytes) in to.zip(codes.chunks(WORD_BYTES)) {
                let mut word = [0; WORD_BYTES];
                word[..bytes.len()].copy_from_slice(bytes);
                *to = u32::from_le_bytes(word);
            }
        }
        let len = self.scales.len() / self.ranges.len();
        let to = self.scales[panel * len..][..len].iter_mut();
        for (to, &byte) in to.skip(lane).step_by(PANEL_ROWS).zip(scales) {
            *to = byte;
        }
    }

    /// Number of rows.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// The scale of the tensor as a whole, for the elements of [`Panels::block_format`]; 1 where
    /// the format has none.
    pub const fn tensor_scale(&self) -> f32 {
        match self.format {
            PanelFormat::Ggml(_, Some((_, tensor_scale))) => tensor_scale,
            PanelFormat::Ggml(_, None) | PanelFormat::Blocks(_) => self.coding.tensor_scale,
        }
    }

    /// Bytes in memory: codes, scales, and the tensor's scale where there is one.
    pub fn bytes(&self) -> usize {
        let has_tensor_scale = match &self.format {
            PanelFormat::Blocks(format) => format.has_tensor_scale(),
            PanelFormat::Ggml(..) => false,
        };
        let tensor_scale = if has_tensor_scale {
            size_of::<f32>()
        } else {
            0
        };
        size_of_val(self.codes.as_slice()) + self.scales.len() + tensor_scale
    }

    /// The format; of ggml's the one that has its values, see [`GgmlFormat::as_blocks`].
    ///
    /// # Errors
    /// [`FormatError::GgmlBlocks`] if it is one of ggml that is no block format.
    pub const fn block_format(&self) -> Result<&BlockFormat, FormatError> {
        match &self.format {
            PanelFormat::Blocks(format) | PanelFormat::Ggml(_, Some((format, _))) => Ok(format),
            PanelFormat::Ggml(format, None) => Err(FormatError::GgmlBlocks { format: *format }),
        }
    }

    /// Some rows as they were packed. Where codes were widened, bits behind the last of a row are
    /// zero.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless the rows exist, and as [`Panels::block_format`].
    pub fn packed_rows(&self, rows: Range<usize>) -> Result<PackedTensor, FormatError> {
        self.check_rows(&rows)?;
        let format = *self.block_format()?;
        let (layout, count) = (self.coding.width.layout(), rows.len());
        let row_bytes = layout.bytes(self.cols);
        let scale_bytes = format.row_scale_bytes(self.cols);
        let (mut codes, mut scales) = (vec![0; count * row_bytes], vec![0; count * scale_bytes]);
        for (i, row) in rows.enumerate() {
            let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
            let to = &mut codes[i * row_bytes..][..row_bytes];
            let mut words = self.words(panel, 0).iter().skip(lane).step_by(PANEL_ROWS);
            if self.coding.width == PanelCodes::Bits6 {
                for to in to.chunks_mut(SIXES * 6 / 8) {
                    let words = std::array::from_fn(|_| words.next().map_or(0, |&word| word));
                    to.copy_from_slice(&sixes_of_words(words)[..to.len()]);
                }
            } else {
                for (to, word) in to.chunks_mut(WORD_BYTES).zip(words) {
                    to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
                }
            }
            let to = scales[i * scale_bytes..][..scale_bytes].iter_mut();
            let from = self.scale_bytes(panel, 0).iter();
            for (to, &byte) in to.zip(from.skip(lane).step_by(PANEL_ROWS)) {
                *to = byte;
            }
        }
        let own = format.element().layout();
        let codes = repack(codes.into(), self.cols, [layout, own]).into_owned();
        PackedTensor::new(format, count, self.cols, codes, scales, self.tensor_scale())
    }

    fn check_rows(&self, rows: &Range<usize>) -> Result<(), FormatError> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(FormatError::Length {
                what: "rows",
                got: rows.end,
                expected: self.rows,
            });
        }
        Ok(())
    }

    /// The values of some rows, row-major.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless the rows exist and `out` has their size.
    pub fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), FormatError> {
        if matches!(self.format, PanelFormat::Blocks(_)) {
            return crate::cpu::dequantize(&self.packed_rows(rows)?, out);
        }
        self.check_rows(&rows)?;
        if out.len() != rows.len() * self.cols {
            return Err(FormatError::Length {
                what: "output",
                got: out.len(),
                expected: rows.len() * self.cols,
            });
        }
        for (row, out) in rows.zip(out.chunks_exact_mut(self.cols.max(1))) {
            for (col, out) in out.iter_mut().enumerate() {
                *out = self.value(row, col);
            }
        }
        Ok(())
    }

    /// What codes and scales mean.
    pub(super) const fn coding(&self) -> &Coding {
        &self.coding
    }

    /// The code at (row, col).
    pub(super) fn code(&self, row: usize, col: usize) -> u8 {
        let words = self.words(row / PANEL_ROWS, 0).iter();
        let mut words = words.skip(row % PANEL_ROWS).step_by(PANEL_ROWS);
        let byte = |word: Option<&u32>, at: usize| word.map_or(0, |word| word.to_le_bytes()[at]);
        match self.coding.width {
            PanelCodes::Bits4 => byte(words.nth(col / 8), col % 8 / 2) >> (col % 2 * 4) & 15,
            PanelCodes::Bits8 => byte(words.nth(col / 4), col % 4),
            PanelCodes::Bits6 => {
                let mut words = words.skip(col / SIXES * 3);
                let run = std::array::from_fn(|_| words.next().map_or(0, |&word| word));
                CodeLayout::Bits6.code(&sixes_of_words(run), col % SIXES)
            }
        }
    }

    /// The value at (row, col).
    pub(super) fn value(&self, row: usize, col: usize) -> f32 {
        let coding = &self.coding;
        let width = coding.scale.storage_bytes();
        let at = col / coding.block_size * coding.scale_bytes();
        let scale = |at: usize| {
            let bytes = self.scale_bytes(row / PANEL_ROWS, at).iter();
            let bytes = bytes.skip(row % PANEL_ROWS).step_by(PANEL_ROWS).take(width);
            let code = bytes.enumerate();
            let code = code.fold(0, |code, (i, &byte)| code | u32::from(byte) << (8 * i));
            coding.scale.decode(code)
        };
        let value = coding.values[usize::from(self.code(row, col))] * scale(at);
        if coding.has_minimum {
            value + scale(at + width)
        } else {
            value * coding.tensor_scale
        }
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

/// Rows of `cols` codes of one layout in another.
fn repack(codes: Cow<[u8]>, cols: usize, [from, to]: [CodeLayout; 2]) -> Cow<[u8]> {
    if from == to || cols == 0 {
        return codes;
    }
    let rows = codes.chunks_exact(from.bytes(cols));
    let row_bytes = to.bytes(cols);
    let (mut row_codes, mut repacked) = (vec![0; cols], vec![0; rows.len() * row_bytes]);
    for (from_row, to_row) in rows.zip(repacked.chunks_exact_mut(row_bytes)) {
        from.unpack(from_row, &mut row_codes);
        to.pack(&row_codes, to_row);
    }
    repacked.into()
}

/// The words of up to sixteen packed codes of six bits, those behind the last 0.
fn words_of_sixes(packed: &[u8]) -> [u32; 3] {
    let mut bytes = [0; 16];
    bytes[..packed.len()].copy_from_slice(packed);
    let bits = u128::from_le_bytes(bytes);
    let mut words = [0; 3];
    for i in 0..12 {
        words[i / 4] |= ((bits >> (6 * i) & 63) as u32) << (8 * (i % 4));
    }
    for j in 0..4 {
        for (k, word) in words.iter_mut().enumerate() {
            *word |= ((bits >> (72 + 6 * j + 2 * k) & 3) as u32) << (8 * j + 6);
        }
    }
    words
}

/// The reverse of [`words_of_sixes`].
fn sixes_of_words(words: [u32; 3]) -> [u8; 12] {
    let mut bits = 0;
    for i in 0..12 {
        bits |= u128::from(words[i / 4] >> (8 * (i % 4)) & 63) << (6 * i);
    }
    for j in 0..4 {
        for (k, word) in words.iter().enumerate() {
            bits |= u128::from(word >> (8 * j + 6) & 3) << (72 + 6 * j + 2 * k);
        }
    }
    let bytes = bits.to_le_bytes();
    std::array::from_fn(|i| bytes[i])
}

/// The codes of a block behind its scale and minimum, in the order of columns.
fn write_ggml_codes(format: GgmlFormat, stored: &[u8], codes: &mut [u8]) {
    let fives = |offset: u8, codes: &mut [u8]| {
        let (high, nibbles) = stored.split_at(4);
        let mut values = [0; 32];
        for (i, value) in values.iter_mut().enumerate() {
            let low = nibbles[i % 16] >> (i / 16 * 4) & 15;
            let signed = (low | (high[i / 8] >> (i % 8) & 1) << 4).wrapping_sub(offset) as i8;
            *value = signed.unsigned_abs() | if signed < 0 { 32 } else { 0 };
        }
        CodeLayout::Bits6.pack(&values, codes);
    };
    match format {
        GgmlFormat::Q5_0 => fives(16, codes),
        GgmlFormat::Q5_1 => fives(0, codes),
        GgmlFormat::Q8_0 => codes.copy_from_slice(stored),
        GgmlFormat::Q4_0 => {
            let pairs = stored.try_into().expect("sixteen bytes of a block of 32");
            codes.copy_from_slice(&ggml_mxfp4_codes(pairs).map(|codes| codes ^ 0x88));
        }
        _ => {
            let pairs = stored.try_into().expect("sixteen bytes of a block of 32");
            codes.copy_from_slice(&ggml_mxfp4_codes(pairs));
        }
    }
}
