//! The magnitudes of the scales of some rows, which say how their codes may be decoded.

use super::coding::Coding;
use crate::format::{CodeLayout, read_scale};

/// The scales of some rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScaleRange {
    /// The smallest magnitude but 0, of blocks with other elements than 0 if scales have no 0;
    /// infinity if there is none.
    pub least: f32,
    /// The largest magnitude, of minima too; NaN if one is.
    pub most: f32,
    /// Whether all elements are.
    pub is_finite: bool,
}

impl ScaleRange {
    pub const EMPTY: Self = Self {
        least: f32::INFINITY,
        most: 0.0,
        is_finite: true,
    };

    pub fn and(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: larger(self.most, other.most),
            is_finite: self.is_finite && other.is_finite,
        }
    }
}

/// Finds the ranges of rows.
pub(super) struct RangeOf {
    /// By code, where scales are a byte.
    magnitudes: Vec<f32>,
    /// What blocks of zeros have if scales have no 0; else NaN.
    smallest: f32,
}

impl RangeOf {
    pub fn new(coding: &Coding) -> Self {
        let magnitudes = (0..256).map(|code| coding.scale.decode(code).abs());
        Self {
            magnitudes: if coding.scale.storage_bytes() == 1 {
                magnitudes.collect()
            } else {
                Vec::new()
            },
            smallest: match coding.scale.exponent_limit() {
                Some(_) => coding.scale.decode(0),
                None => f32::NAN,
            },
        }
    }

    /// That of a row, whose codes are in the layout of their width.
    pub fn row(&self, coding: &Coding, codes: &[u8], cols: usize, scales: &[u8]) -> ScaleRange {
        let mut range = ScaleRange::EMPTY;
        for (i, bytes) in scales
            .chunks_exact(coding.scale.storage_bytes())
            .enumerate()
        {
            let magnitude = match bytes {
                &[code] => self.magnitudes[usize::from(code)],
                _ => coding.scale.decode(read_scale(bytes)).abs(),
            };
            let is_minimum = coding.has_minimum && i % 2 == 1;
            if magnitude == self.smallest && is_zero(coding, codes, cols, i) {
                continue;
            }
            if magnitude > 0.0 && !is_minimum {
                range.least = range.least.min(magnitude);
            }
            range.most = larger(range.most, magnitude);
        }
        if coding.has_special_codes() {
            let is_finite = |code: u8| coding.values[usize::from(code)].is_finite();
            range.is_finite = match coding.width.layout() {
                CodeLayout::Bits8 => codes.iter().all(|&code| is_finite(code)),
                layout => (0..cols).all(|col| is_finite(layout.code(codes, col))),
            };
        }
        range
    }
}

/// Whether the elements of a block are zeros.
fn is_zero(coding: &Coding, codes: &[u8], cols: usize, block: usize) -> bool {
    let (layout, first) = (coding.width.layout(), block * coding.block_size);
    let mut columns = first..cols.min(first + coding.block_size);
    columns.all(|col| coding.values[usize::from(layout.code(codes, col))] == 0.0)
}

/// The larger of two magnitudes; as integers NaN is above all.
fn larger(a: f32, b: f32) -> f32 {
    f32::from_bits(a.to_bits().max(b.to_bits()))
}
