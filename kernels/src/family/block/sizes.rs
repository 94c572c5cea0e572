//! The sizes of a problem, read once.

use super::MAX_BLOCKS;
use crate::registry::{MAX_ELEMENTS, Problem, ProblemError};

/// The sizes of a problem.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub rows: usize,
    pub cols: usize,
    pub src: View,
    pub dst: View,
    pub codes_offset: usize,
    pub first_row: usize,
    pub seed: u32,
    pub max_blocks: usize,
    pub is_in_place: bool,
}

/// The position of a dense tensor in its buffer, in elements.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub offset: usize,
    pub stride: usize,
}

impl Sizes {
    pub fn of(problem: &Problem) -> Result<Self, ProblemError> {
        let size = |name| problem.size(name);
        let view = |offset, stride| {
            let (offset, cols) = (size(offset)?, size("cols")?);
            match size(stride)? {
                found if found < cols => Err(ProblemError::Unfit {
                    name: stride.to_owned(),
                    reason: format!("it is {found}; expected at least {cols}"),
                }),
                stride => Ok(View { offset, stride }),
            }
        };
        let sizes = Self {
            rows: size("rows")?,
            cols: size("cols")?,
            src: view("src_offset", "src_stride")?,
            dst: view("dst_offset", "dst_stride")?,
            codes_offset: size("codes_offset")?,
            first_row: size("first_row")?,
            seed: size("seed")? as u32,
            // 0 and older problems have no limit of their own.
            max_blocks: match size("max_blocks") {
                Ok(0) | Err(_) => MAX_BLOCKS,
                Ok(most) => most.min(MAX_BLOCKS),
            },
            is_in_place: size("in_place")? == 1,
        };
        let extents = [
            ("rows", sizes.rows),
            ("src_stride", sizes.len(sizes.src)),
            ("dst_stride", sizes.len(sizes.dst)),
            ("codes_offset", sizes.codes_offset),
        ];
        match extents.into_iter().find(|(_, size)| *size > MAX_ELEMENTS) {
            None => Ok(sizes),
            Some((name, size)) => Err(ProblemError::Unfit {
                name: name.to_owned(),
                reason: format!("a buffer of {size} elements; expected at most {MAX_ELEMENTS}"),
            }),
        }
    }

    /// Elements of a buffer up to the end of the last row.
    pub fn len(&self, view: View) -> usize {
        match self.rows {
            0 => view.offset,
            rows => view.offset + (rows - 1) * view.stride + self.cols,
        }
    }

    /// Positions of the elements in a buffer, row-major.
    pub fn positions(&self, view: View) -> impl Iterator<Item = usize> {
        let (rows, cols) = (self.rows, self.cols);
        (0..rows).flat_map(move |row| {
            let first = view.offset + row * view.stride;
            first..first + cols
        })
    }
}
