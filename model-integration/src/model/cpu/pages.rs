//! Keys or values of one head of one sequence, as attention reads them.

use mxlab_kernels::cpu::{Lines, PAGE, Paged, PagedValues};

use crate::model::buffer::Buffer;

/// A matrix in pages: keys by feature, `[head_dim, positions]`, in pages of columns; values
/// `[positions, head_dim]` in pages of rows.
pub(super) enum Pages<'a> {
    /// Where they lie.
    Kept(Paged<'a>),
    /// Read from their packed form, a page behind another, `[head_dim, PAGE]` or `[PAGE,
    /// head_dim]`.
    Read {
        values: Buffer,
        head_dim: usize,
        holds: Lines,
    },
}

impl<'a> Pages<'a> {
    /// Values inside tokens of `stride` features.
    pub fn of_values(values: &'a [f32], stride: usize) -> Self {
        Self::Kept(Paged {
            values: PagedValues::F32(values),
            first: 0,
            page_stride: PAGE * stride,
            stride,
            table: None,
            holds: Lines::Rows,
        })
    }

    /// Keys of `positions` inside tokens of `stride` features, by feature.
    pub fn of_keys(keys: &[f32], positions: usize, head_dim: usize, stride: usize) -> Self {
        let mut values = Buffer::of_any_values(positions.next_multiple_of(PAGE) * head_dim);
        let pages = values.chunks_exact_mut(PAGE * head_dim);
        for (page, first) in pages.zip((0..positions).step_by(PAGE)) {
            by_feature(
                &keys[first * stride..],
                stride,
                PAGE.min(positions - first),
                page,
            );
        }
        Self::Read {
            values,
            head_dim,
            holds: Lines::Columns,
        }
    }

    /// The matrix.
    pub fn matrix(&self) -> Paged<'_> {
        match *self {
            Self::Kept(matrix) => matrix,
            Self::Read {
                ref values,
                head_dim,
                holds,
            } => Paged {
                values: PagedValues::F32(values),
                first: 0,
                page_stride: PAGE * head_dim,
                stride: stride(holds, head_dim),
                table: None,
                holds,
            },
        }
    }
}

/// The distance between rows of a page that has no gaps.
pub(super) fn stride(holds: Lines, head_dim: usize) -> usize {
    match holds {
        Lines::Rows => head_dim,
        Lines::Columns => PAGE,
    }
}

/// A page `[head_dim, PAGE]` from at most [`PAGE`] rows that are `stride` apart; zeros behind them.
pub(super) fn by_feature(rows: &[f32], stride: usize, count: usize, page: &mut [f32]) {
    for (feature, to) in page.as_chunks_mut::<PAGE>().0.iter_mut().enumerate() {
        let rows = &rows[feature..];
        if count == PAGE {
            // A store for all of them.
            for (index, to) in to.iter_mut().enumerate() {
                *to = rows[index * stride];
            }
        } else {
            to.fill(0.0);
            for (to, &x) in to[..count].iter_mut().zip(rows.iter().step_by(stride)) {
                *to = x;
            }
        }
    }
}
