//! A packed matrix in the order in which products read it.

use super::weights::Codecs;
use crate::format::{BlockFormat, CodeLayout, FormatError, PackedTensor, read_scale};
use std::borrow::Cow;
use std::ops::Range;

/// Rows of a panel: the lanes of the longest vector.
pub(super) const PANEL_ROWS: usize = 16;

/// Bytes of a word of codes.
const WORD_BYTES: usize = 4;

/// The widths of codes that products decode. Other codes are widened to the next of these: 2 and 3
/// bits to 4, which one table of sixteen values decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PanelCodes {
    Bits4,
    Bits6,
    Bits8,
}

impl PanelCodes {
    /// The width that holds the codes of a layout.
    const fn holding(layout: CodeLayout) -> Self {
        match layout {
            CodeLayout::Bits2 | CodeLayout::Bits3 | CodeLayout::Bits4 => Self::Bits4,
            CodeLayout::Bits5 | CodeLayout::Bits6 => Self::Bits6,
            CodeLayout::Bits7 | CodeLayout::Bits8 => Self::Bits8,
        }
    }

    /// Their layout in a row.
    const fn layout(self) -> CodeLayout {
        match self {
            Self::Bits4 => CodeLayout::Bits4,
            Self::Bits6 => CodeLayout::Bits6,
            Self::Bits8 => CodeLayout::Bits8,
        }
    }
}

/// A [`PackedTensor`] [rows, cols] with sixteen rows interleaved, so that a vector of rows is one
/// load.
///
/// ```text
/// codes     [panel of 16 rows][word of a row's codes][row]     words of 32 bits, little-endian
/// scales    [panel of 16 rows][byte of a row's scales][row]
/// ```
///
/// Codes of widths other than 4, 6 and 8 bits are widened. Rows are padded with zeros to whole
/// words and panels. Otherwise the size is that of the packed tensor, plus eight bytes about the
/// scales of each panel.
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
    /// The largest; NaN if a scale is, or an element is not finite.
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
        let own = format.element().layout();
        let (layout, cols) = (PanelCodes::holding(own).layout(), packed.cols());
        let packed_codes = repack(packed.codes().into(), cols, [own, layout]);
        let (row_bytes, scale_bytes) = (layout.bytes(cols), packed.row_scale_bytes());
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
            ranges[panel] = ranges[panel].and(range.of_row(row_codes, cols, row_scales));
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

    /// Bytes of codes, scales and tensor scale: those of the packed tensor, plus widening and
    /// padding.
    pub const fn bytes(&self) -> usize {
        let tensor_scale = if self.format.has_tensor_scale() { 4 } else { 0 };
        size_of_val(self.codes.as_slice()) + self.scales.len() + tensor_scale
    }

    /// Some rows as they were packed. Where codes were widened, bits behind the last of a row are
    /// zero.
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
        let (layout, count) = (self.panel_codes().layout(), rows.len());
        let row_bytes = layout.bytes(self.cols);
        let scale_bytes = self.format.row_scale_bytes(self.cols);
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
        let own = self.format.element().layout();
        let codes = repack(codes.into(), self.cols, [layout, own]);
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

    /// The width of the codes here.
    pub(super) const fn panel_codes(&self) -> PanelCodes {
        PanelCodes::holding(self.format.element().layout())
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
        let layout = self.panel_codes().layout();
        let bits = layout.bits() as usize;
        let words = self.words(row / PANEL_ROWS, col * bits / 32).iter();
        let words = words.skip(row % PANEL_ROWS).step_by(PANEL_ROWS).take(2);
        let window = words
            .rev()
            .fold(0, |window, &word| window << 32 | u64::from(word));
        (window >> (col * bits % 32)) as u8 & layout.mask()
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

/// What is asked of a row while it is copied.
struct RangeOf {
    format: BlockFormat,
    /// By code, of scales of a byte.
    scales: Vec<f32>,
    /// How codes lie, and by code whether it is not finite, if some are not.
    codes: CodeLayout,
    is_special: Option<Vec<bool>>,
}

impl RangeOf {
    fn new(format: &BlockFormat) -> Self {
        let (element, scale) = (format.element(), format.scale());
        let is_special = |code| !element.decode(code).is_finite();
        let is_special: Vec<bool> = element.codes().map(is_special).collect();
        let scales = (0..256).map(|code| scale.decode(code));
        Self {
            format: *format,
            scales: if scale.storage_bytes() == 1 {
                scales.collect()
            } else {
                Vec::new()
            },
            codes: PanelCodes::holding(element.layout()).layout(),
            is_special: is_special.contains(&true).then_some(is_special),
        }
    }

    fn of_row(&self, codes: &[u8], cols: usize, scales: &[u8]) -> ScaleRange {
        let scale = self.format.scale();
        let value = |bytes: &[u8]| match bytes {
            &[code] => self.scales[usize::from(code)],
            _ => scale.decode(read_scale(bytes)),
        };
        let scales = scales.chunks_exact(scale.storage_bytes());
        let range = scales.fold(ScaleRange::EMPTY, |all, bytes| {
            all.and(ScaleRange::of(value(bytes)))
        });
        let has_special = |is_special: &Vec<bool>| match self.codes {
            CodeLayout::Bits8 => codes.iter().any(|&code| is_special[usize::from(code)]),
            layout => (0..cols).any(|col| is_special[usize::from(layout.code(codes, col))]),
        };
        if self.is_special.as_ref().is_some_and(has_special) {
            return ScaleRange {
                most: f32::NAN,
                ..range
            };
        }
        range
    }
}
