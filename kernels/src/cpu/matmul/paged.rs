//! Matrices in pages, as caches of keys and values keep them.

use crate::cpu::simd::Simd;
use std::ops::Range;

/// Rows, or columns, of a page.
pub const PAGE: usize = 16;

/// A matrix in pages of [`PAGE`] consecutive rows, or of as many columns.
#[derive(Clone, Copy, Debug)]
pub struct Paged<'a> {
    /// The values that pages lie in.
    pub values: PagedValues<'a>,
    /// Where the first value of page 0 lies.
    pub first: usize,
    /// Distance between pages.
    pub page_stride: usize,
    /// Distance between rows of a page.
    pub stride: usize,
    /// The numbers of the matrix' pages in order; `None` if these are 0, 1, 2, ...
    pub table: Option<&'a [u32]>,
    /// What a page holds.
    pub holds: Lines,
}

/// The values of a matrix in pages.
#[derive(Clone, Copy, Debug)]
pub enum PagedValues<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// The bits of bf16 values.
    Bf16(&'a [u16]),
}

/// What a page holds [`PAGE`] of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Rows, each of all columns.
    Rows,
    /// Columns: a page has [`PAGE`] of each row.
    Columns,
}

impl Paged<'_> {
    /// The matrix without its first rows or columns, `lines` in number: a multiple of [`PAGE`].
    #[must_use]
    pub fn skip(self, lines: usize) -> Self {
        let pages = lines / PAGE;
        match self.table {
            Some(table) => Self {
                table: Some(&table[pages..]),
                ..self
            },
            None => Self {
                first: self.first + pages * self.page_stride,
                ..self
            },
        }
    }

    /// Where a value lies.
    #[inline(always)]
    pub(super) fn place(&self, row: usize, col: usize) -> usize {
        let (page, row, col) = match self.holds {
            Lines::Rows => (row / PAGE, row % PAGE, col),
            Lines::Columns => (col / PAGE, row, col % PAGE),
        };
        let page = self.table.map_or(page, |table| table[page] as usize);
        self.first + page * self.page_stride + row * self.stride + col
    }

    /// How many of some rows, from their first on, lie `stride` apart.
    #[inline(always)]
    pub(super) fn run(&self, rows: &Range<usize>) -> usize {
        match self.holds {
            Lines::Rows => rows.len().min(PAGE - rows.start % PAGE),
            Lines::Columns => rows.len(),
        }
    }
}

/// A value of a matrix in pages.
pub(super) trait Value: Copy {
    /// The first [`Simd::LANES`] values.
    fn load<S: Simd>(s: S, x: &[Self]) -> S::F;
    fn widen(self) -> f32;
}

impl Value for f32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[Self]) -> S::F {
        s.load(x)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

/// The bits of bf16.
impl Value for u16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[Self]) -> S::F {
        s.float(s.shift_left(s.load_halves(x), 16))
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self) << 16)
    }
}
