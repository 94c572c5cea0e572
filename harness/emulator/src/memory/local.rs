//! Local memory: each thread's own bytes, and which of them it has written.

use crate::registers::LANES;

/// The local memory of a warp.
#[derive(Debug)]
pub struct LocalMemory {
    per_thread: usize,
    bytes: Vec<u8>,
    written: Vec<bool>,
}

impl LocalMemory {
    /// `per_thread` unwritten bytes for each lane.
    pub fn new(per_thread: usize) -> Self {
        Self {
            per_thread,
            bytes: vec![0; per_thread * LANES],
            written: vec![false; per_thread * LANES],
        }
    }

    /// Makes everything unwritten again.
    pub fn reset(&mut self) {
        self.written.fill(false);
    }

    /// The bytes of a lane at `offset`; `None` outside.
    pub fn range(&self, lane: usize, offset: u64, count: u32) -> Option<std::ops::Range<usize>> {
        let end = offset.checked_add(u64::from(count))?;
        (end <= self.per_thread as u64).then(|| {
            let start = lane * self.per_thread + offset as usize;
            start..start + count as usize
        })
    }

    /// Bytes of [`LocalMemory::range`]; `None` if one was never written.
    pub fn load(&self, range: std::ops::Range<usize>) -> Option<&[u8]> {
        let is_written = self.written[range.clone()].iter().all(|&written| written);
        is_written.then(|| &self.bytes[range])
    }

    /// Changes bytes of [`LocalMemory::range`].
    pub fn store(&mut self, range: std::ops::Range<usize>, bytes: &[u8]) {
        self.written[range.clone()].fill(true);
        self.bytes[range].copy_from_slice(bytes);
    }
}
