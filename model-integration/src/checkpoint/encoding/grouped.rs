//! A matrix of codes with a scale for each group, in any of the layouts that quantisers write.

use std::path::Path;

use mxlab_kernels::format::{BlockFormat, CodeLayout, ElementFormat, ScaleFormat};

use super::super::decoded::DecodedRows;
use super::super::packed::{CodedRows, Place};
use super::code_table::CodeTable;
use super::scale_table::ScaleTable;
use super::scheme::{CodeKind, Factor};

/// A matrix `[rows, cols]`: `(code - zero) * scale`.
pub(super) struct Grouped {
    /// The layout's name, for messages.
    pub layout: String,
    pub rows: usize,
    pub cols: usize,
    pub kind: CodeKind,
    /// The value of each code; `None` for integers.
    pub values: Option<Box<[f32; 256]>>,
    pub codes: CodeTable,
    pub scales: ScaleTable,
    pub groups: Groups,
    pub factor: Option<(Factor, f32)>,
    pub zeros: Zeros,
    /// Whether the package that writes this layout rounds values to bf16.
    pub is_rounded: bool,
}

/// The group of a column.
pub(super) enum Groups {
    /// So many columns in turn.
    Width(usize),
    /// A group for each column, as `g_idx` gives them.
    Index(Vec<u32>),
}

/// The zero points of integers.
pub(super) enum Zeros {
    /// Half of all codes.
    Middle,
    /// One for each row and group.
    Stored {
        table: CodeTable,
        /// Whether a line is a group; otherwise a line is a row.
        by_groups: bool,
        /// Rows that share zero points.
        rows: usize,
        /// What is added to a stored value, modulo the number of codes.
        add: u32,
    },
}

impl Grouped {
    /// The values of the codes of an element format.
    pub(super) fn values(kind: CodeKind) -> Option<Box<[f32; 256]>> {
        let CodeKind::Float(element) = kind else {
            return None;
        };
        let codes = 1 << element.bits();
        let value = |code: usize| element.decode((code % codes) as u8);
        Some(Box::new(std::array::from_fn(value)))
    }

    /// The layout of codes in our formats.
    fn code_layout(&self) -> CodeLayout {
        CodeLayout::from_bits(self.kind.bits()).expect("codes have 2 to 8 bits")
    }

    /// Half of all codes of `bits` bits.
    const fn middle(bits: u32) -> u32 {
        1 << (bits - 1)
    }

    /// The format of ours in which the matrix has the same values, if there is one.
    pub(super) fn format(&self) -> Option<BlockFormat> {
        let element = match self.kind {
            CodeKind::Float(element) => element,
            CodeKind::Int(bits) => integers(bits)?,
        };
        let (&Groups::Width(width), Zeros::Middle) = (&self.groups, &self.zeros) else {
            return None;
        };
        let scale = self.scales.format();
        if matches!(self.kind, CodeKind::Int(_)) && scale.float_bits().is_none_or(|(e, _)| e < 5) {
            return None;
        }
        let format = BlockFormat::new(element).scale(scale).block_size(width);
        let format = format.tensor_scale(self.factor.is_some()).build().ok()?;
        let nvfp4 = BlockFormat::NVFP4;
        let is_nvfp4 = (
            format.element(),
            format.scale(),
            width,
            format.has_tensor_scale(),
        ) == (nvfp4.element(), nvfp4.scale(), nvfp4.block_size(), true);
        Some(if is_nvfp4 { nvfp4 } else { format })
    }

    /// The scale of the whole tensor in that format.
    pub(super) fn tensor_scale(&self) -> f32 {
        match self.factor {
            None => 1.0,
            Some((Factor::Multiplies, factor)) => factor,
            Some((Factor::Divides, factor)) => factor.recip(),
        }
    }

    /// The values of codes with a common scale.
    fn decode(&self, codes: &[u8], zero: u32, scale: f32, out: &mut [f32]) {
        match &self.values {
            Some(values) => {
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = values[usize::from(*code)] * scale;
                }
            }
            None => {
                let zero = zero as f32;
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = (f32::from(*code) - zero) * scale;
                }
            }
        }
    }

    fn zero(&self, row: usize, group: usize) -> u32 {
        let bits = self.kind.bits();
        match &self.zeros {
            Zeros::Middle => Self::middle(bits),
            Zeros::Stored {
                table,
                by_groups,
                rows,
                add,
            } => {
                let row = row / rows;
                let (line, index) = if *by_groups {
                    (group, row)
                } else {
                    (row, group)
                };
                (table.get(line, index) + add) & ((1 << bits) - 1)
            }
        }
    }

    /// The scale of a group, with the factor of all scales.
    fn scale(&self, row: usize, group: usize) -> f32 {
        let scale = self.scales.value(row, group);
        match self.factor {
            None => scale,
            Some((Factor::Multiplies, factor)) => scale * factor,
            Some((Factor::Divides, factor)) => scale / factor,
        }
    }
}

/// The symmetric integers of some bits among our elements.
fn integers(bits: u32) -> Option<ElementFormat> {
    Some(match bits {
        8 => ElementFormat::INT8,
        4 => ElementFormat::INT4,
        3 => ElementFormat::INT3,
        2 => ElementFormat::INT2,
        _ => return None,
    })
}

impl DecodedRows for Grouped {
    fn layout(&self) -> &str {
        &self.layout
    }

    fn place(&self) -> Option<(&Path, &str)> {
        let (file, tensor) = self.codes.place();
        Some((file.path(), &file.tensors()[*tensor].0))
    }

    fn row_bytes(&self) -> usize {
        let zeros = match &self.zeros {
            Zeros::Middle => 0,
            Zeros::Stored { table, .. } => table.byte_len(),
        };
        (self.codes.byte_len() + self.scales.byte_len() + zeros).div_ceil(self.rows.max(1))
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        let mut codes = vec![0; self.cols];
        self.codes.read(row, &mut codes);
        match &self.groups {
            Groups::Width(width) => {
                let groups = out.chunks_mut(*width).zip(codes.chunks(*width));
                for (group, (out, codes)) in groups.enumerate() {
                    let (scale, zero) = (self.scale(row, group), self.zero(row, group));
                    self.decode(codes, zero, scale, out);
                }
            }
            Groups::Index(index) => {
                let groups = 0..index.iter().max().map_or(0, |last| *last as usize + 1);
                let groups = groups.map(|group| (self.scale(row, group), self.zero(row, group)));
                let groups: Vec<(f32, u32)> = groups.collect();
                for ((out, code), group) in out.chunks_mut(1).zip(codes.chunks(1)).zip(index) {
                    let (scale, zero) = groups[*group as usize];
                    self.decode(code, zero, scale, out);
                }
            }
        }
        if self.is_rounded {
            let round = |x: f32| half::bf16::from_f32(x).to_f32();
            out.iter_mut().for_each(|x| *x = round(*x));
        }
    }
}

impl CodedRows for Grouped {
    fn write(&self, row: usize, codes: &mut [u8], scales: &mut [u8]) {
        let layout = self.code_layout();
        // Integers of files count from the lowest value, ours are two's complement.
        let flip = match self.kind {
            CodeKind::Float(_) => 0,
            CodeKind::Int(_) => layout.top_bit(),
        };
        match (self.codes.line(row), layout.repeated(flip)) {
            (Some(line), Some(flip)) => {
                for (out, byte) in codes.iter_mut().zip(line) {
                    *out = byte ^ flip;
                }
                layout.clear_behind(self.cols, codes);
            }
            _ => {
                let mut own = vec![0; self.cols];
                self.codes.read(row, &mut own);
                own.iter_mut().for_each(|code| *code ^= flip);
                layout.pack(&own, codes);
            }
        }
        // Our integers have a binary point behind their first two bits.
        let shift = match self.kind {
            CodeKind::Float(_) => 1.0,
            CodeKind::Int(bits) => f32::from(1_u8 << (bits - 2)),
        };
        let format = self.scales.format();
        for (group, out) in scales.chunks_exact_mut(format.storage_bytes()).enumerate() {
            let mut code = self.scales.code(row, group);
            if shift != 1.0 {
                code = exact(format, format.decode(code) * shift);
            }
            out.copy_from_slice(&code.to_le_bytes()[..out.len()]);
        }
    }

    fn values(&self) -> Option<&dyn DecodedRows> {
        Some(self)
    }

    fn scales(&self) -> &Place {
        self.scales.place()
    }

    fn is_rounded(&self) -> bool {
        self.is_rounded
    }

    fn divisor(&self) -> Option<f32> {
        match self.factor {
            Some((Factor::Divides, divisor)) => Some(divisor),
            _ => None,
        }
    }
}

/// The code of a scale that a power of two has moved. A scale beyond the format becomes NaN, so
/// that it is found instead of being clamped.
fn exact(format: ScaleFormat, scale: f32) -> u32 {
    match scale.is_finite() && scale.abs() <= format.max() {
        // The sign stays, to be found.
        true if scale < 0.0 => format.encode_nearest(-scale) | 1 << (format.bits() - 1),
        true => format.encode_nearest(scale),
        false => format.nan_code(),
    }
}
