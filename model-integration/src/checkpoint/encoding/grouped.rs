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
        /// What is added to a stored value, modulo the number of codes.
        add: u32,
    },
}

impl Grouped {
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

    fn zero(&self, row: usize, group: usize) -> u32 {
        let bits = self.kind.bits();
        match &self.zeros {
            Zeros::Middle => Self::middle(bits),
            Zeros::Stored {
                table,
                by_groups,
                add,
            } => {
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
        let scale = self.scales.format().decode(self.scales.code(row, group));
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

    fn place(&self) -> (&Path, &str) {
        let (file, tensor) = self.codes.place();
        (file.path(), &file.tensors()[*tensor].0)
    }

    fn row_bytes(&self) -> usize {
        let zeros = match &self.zeros {
            Zeros::Middle => 0,
            Zeros::Stored { table, .. } => table.byte_len(),
        };
        (self.codes.byte_len() + self.scales.byte_len() + zeros).div_ceil(self.rows.max(1))
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        let mut group_before = None;
        let (mut scale, mut zero) = (0.0, 0);
        for (col, out) in out.iter_mut().enumerate() {
            let group = match &self.groups {
                Groups::Width(width) => col / width,
                Groups::Index(groups) => groups[col] as usize,
            };
            if group_before != Some(group) {
                (scale, zero) = (self.scale(row, group), self.zero(row, group));
                group_before = Some(group);
            }
            let code = self.codes.get(row, col);
            let value = match self.kind {
                CodeKind::Float(element) => element.decode(code as u8),
                CodeKind::Int(_) => (code as i32 - zero as i32) as f32,
            };
            *out = value * scale;
        }
    }
}

impl CodedRows for Grouped {
    fn append(&self, row: usize, codes: &mut Vec<u8>, scales: &mut Vec<u8>) {
        let bits = self.kind.bits();
        let layout = CodeLayout::from_bits(bits).expect("codes have 2 to 8 bits");
        // Integers of files count from the lowest value, ours are two's complement.
        let flip = match self.kind {
            CodeKind::Float(_) => 0,
            CodeKind::Int(_) => layout.top_bit(),
        };
        match (self.codes.line(row), layout.repeated(flip)) {
            (Some(line), Some(flip)) => {
                let start = codes.len();
                codes.extend(
                    line[..layout.bytes(self.cols)]
                        .iter()
                        .map(|byte| byte ^ flip),
                );
                layout.clear_behind(self.cols, &mut codes[start..]);
            }
            _ => {
                let own: Vec<u8> = (0..self.cols)
                    .map(|col| self.codes.get(row, col) as u8 ^ flip)
                    .collect();
                let start = codes.len();
                codes.resize(start + layout.bytes(self.cols), 0);
                layout.pack(&own, &mut codes[start..]);
            }
        }
        let Groups::Width(width) = &self.groups else {
            return;
        };
        // Our integers have a binary point behind their first two bits.
        let shift = match self.kind {
            CodeKind::Float(_) => 1.0,
            CodeKind::Int(bits) => f32::from(1_u8 << (bits - 2)),
        };
        let format = self.scales.format();
        for group in 0..self.cols.div_ceil(*width) {
            let mut code = self.scales.code(row, group);
            if shift != 1.0 {
                code = exact(format, format.decode(code) * shift);
            }
            scales.extend_from_slice(&code.to_le_bytes()[..format.storage_bytes()]);
        }
    }

    fn scales(&self) -> &Place {
        self.scales.place()
    }
}

/// The code of a scale that a power of two has moved. A scale beyond the format becomes NaN, so
/// that it is found instead of being clamped.
fn exact(format: ScaleFormat, scale: f32) -> u32 {
    match scale.is_finite() && scale <= format.max() {
        true => format.encode_nearest(scale),
        false => format.nan_code(),
    }
}
