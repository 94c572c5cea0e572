//! Memory of results that is used again: pages that are given back come back empty and must be
//! cleared and mapped once more, and every operation has a result of some megabytes.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Most buffers that a thread keeps: as many as a layer holds at a time.
const MOST: usize = 12;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Values whose memory the thread that drops them keeps for its next ones.
#[derive(Debug)]
pub struct Buffer {
    /// At least `len` values.
    values: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// Room for `len` values, which are zeros or left from earlier use.
    pub fn of_any_values(len: usize) -> Self {
        let mut values = FREE.with_borrow_mut(|free| {
            // The smallest that is large enough, or else the largest.
            let fit = |values: &Vec<f32>| match values.len() {
                size if size >= len => (0, size),
                size => (1, usize::MAX - size),
            };
            let best = (0..free.len()).min_by_key(|&index| fit(&free[index]));
            best.map_or_else(Vec::new, |best| free.swap_remove(best))
        });
        if values.len() < len {
            values.clear();
            values.resize(len, 0.0);
        }
        Self { values, len }
    }

    /// A copy of `values`.
    pub fn of(values: &[f32]) -> Self {
        let mut buffer = Self::of_any_values(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // At the end of a thread there is nothing to keep them.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < MOST {
                free.push(values);
            }
        });
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::of(self)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_length_that_was_asked_for() {
        for len in [5, 3, 8, 0, 4] {
            let mut buffer = Buffer::of_any_values(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(len as f32);
            assert_eq!(*Buffer::of(&buffer), vec![len as f32; len]);
        }
        let kept = FREE.with_borrow(|free| free.iter().map(Vec::len).max());
        assert_eq!(kept, Some(8));
    }
}
