//! y, which tasks write by ranges of columns.

use std::marker::PhantomData;
use std::ops::Range;

/// y [tokens, rows of W].
pub(super) struct Output<'a> {
    y: *mut f32,
    len: usize,
    rows: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: the only access is `part`, whose callers keep threads apart.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    pub fn new(y: &'a mut [f32], rows: usize) -> Self {
        Self {
            y: y.as_mut_ptr(),
            len: y.len(),
            rows,
            borrow: PhantomData,
        }
    }

    /// The elements of y of a token, for some rows of W.
    ///
    /// # Safety
    /// While the result lives, nobody else asks for the same rows.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "callers hold different rows")]
    pub unsafe fn part(&self, token: usize, rows: Range<usize>) -> &mut [f32] {
        let first = token * self.rows + rows.start;
        assert!(rows.start <= rows.end && rows.end <= self.rows && first + rows.len() <= self.len);
        // SAFETY: the range lies inside the borrowed slice, and the caller has it alone.
        unsafe { std::slice::from_raw_parts_mut(self.y.add(first), rows.len()) }
    }
}
