//! Shared memory of a block, with the last writer and reader of each byte.
//!
//! Two accesses of different threads to a byte, one of them a write, need something between
//! them that orders them: a barrier of the block, or for threads of one warp `bar.warp.sync`.
//! Time is counted in *epochs*: the block's number of barriers, and each warp's number of warp
//! barriers. Accesses are ordered when the block's epochs differ, or the threads share a warp
//! and its epochs differ.

mod shadow;

pub use shadow::Record;
use shadow::{Renewal, Rows, Shadows};

use crate::registers::LANES;

/// The thread and the epochs of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Barriers that the block has passed; at most [`Moment::LAST_BLOCK_EPOCH`].
    pub block_epoch: u32,
    /// Warp barriers that the warp has passed since the last one of the block.
    pub warp_epoch: u32,
    /// Thread of the block; less than 1024.
    pub thread: u32,
}

impl Moment {
    /// The most barriers that can be distinguished.
    pub const LAST_BLOCK_EPOCH: u32 = (1 << 20) - 3;
    /// The most warp barriers, between two of the block, that can be distinguished.
    pub const LAST_WARP_EPOCH: u32 = (1 << 16) - 1;
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Reads and writes at once; atomic accesses do not race with each other.
    Atomic,
    /// Reads, by an atomic load: volatile, relaxed or acquire.
    AtomicRead,
    /// Writes, by an atomic store: volatile, relaxed or release.
    AtomicWrite,
}

impl Access {
    const fn is_atomic(self) -> bool {
        !matches!(self, Self::Read | Self::Write)
    }

    const fn reads(self) -> bool {
        !matches!(self, Self::Write | Self::AtomicWrite)
    }

    const fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::AtomicRead)
    }
}

/// Why an access is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not inside the block's shared memory.
    OutOfBounds,
    /// Nobody wrote the byte.
    NeverWritten,
    /// A `cp.async` of this thread into the byte has not been waited for.
    Pending(u32),
    /// Another thread's access to the byte is not ordered with this one.
    Race {
        /// The other thread.
        thread: u32,
        /// What it did.
        access: Access,
        /// Its instruction.
        instruction: u32,
    },
}

/// The shared memory of one block.
#[derive(Debug)]
pub struct SharedMemory {
    bytes: Vec<u8>,
    words: Shadows,
    /// Those of the bytes of words that are split; of no places before the first is.
    split: Shadows,
}

impl SharedMemory {
    /// Memory that nobody has written.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            words: Shadows::new(bytes.div_ceil(4)),
            split: Shadows::new(0),
        }
    }

    /// Makes everything unwritten again.
    pub fn reset(&mut self) {
        self.words.reset();
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Checks an access to `count` bytes at `offset`, and remembers it.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline(always)]
    pub fn touch(
        &mut self,
        offset: u64,
        count: u32,
        access: Access,
        now: Record,
    ) -> Result<(), Fault> {
        if offset.saturating_add(u64::from(count)) > self.bytes.len() as u64 {
            return Err(Fault::OutOfBounds);
        }
        let now = if access.is_atomic() {
            now.atomic()
        } else {
            now
        };
        let (start, end) = (offset as usize, offset as usize + count as usize);
        if !(start | end).is_multiple_of(4) {
            return self.touch_each(start, end, access, now);
        }
        let (first, last) = (start / 4, end / 4);
        for word in first..last {
            if !self.words.last[word].renew(access, now) {
                return self.touch_each(4 * word, end, access, now);
            }
        }
        Ok(())
    }

    /// As [`SharedMemory::touch`] for 16 bytes of each of eight lanes, at multiples of 16, unless
    /// it would have to look into one of them: whether they were touched.
    #[inline(always)]
    pub fn touch_rows(&mut self, rows: &[u64; 8], access: Access, first: Record) -> bool {
        let whole = self.bytes.len() / 4;
        let words = self.words.last[..whole].as_chunks_mut::<4>().0;
        let mut known = Rows::default();
        let mut places = 0u32;
        for (known, row) in known.iter_mut().zip(rows) {
            match words.get((row / 16) as usize) {
                Some(words) => *known = *words,
                None => return false,
            }
            places |= 1 << (row / 16 % 8);
        }
        match Renewal::of_rows(&known, access, first) {
            Renewal::Repeated => true,
            // Only of rows that are surely not the same each lane's access is the first.
            Renewal::First if places == 0xff => {
                for (lane, row) in rows.iter().enumerate() {
                    for word in &mut words[(row / 16) as usize] {
                        match access {
                            Access::Read => word.read = first.of_lane(lane),
                            _ => word.write = first.of_lane(lane),
                        }
                    }
                }
                true
            }
            _ => false,
        }
    }

    /// As [`SharedMemory::touch`] for a word of each lane, from the first to the last or until
    /// the first that it would have to look into: how many were touched. Atomic accesses are left
    /// to [`SharedMemory::touch`].
    #[inline(always)]
    pub fn touch_words(
        &mut self,
        offset: impl Fn(usize) -> u64,
        access: Access,
        first: Record,
    ) -> usize {
        let whole = self.bytes.len() / 4;
        let words = &mut self.words.last[..whole];
        let mut touch_all = |access| {
            (0..LANES).find(|&lane| match words.get_mut((offset(lane) / 4) as usize) {
                Some(word) => !word.renew(access, first.of_lane(lane)),
                None => true,
            })
        };
        let stopped = match access {
            Access::Read => touch_all(Access::Read),
            Access::Write => touch_all(Access::Write),
            Access::Atomic | Access::AtomicRead | Access::AtomicWrite => Some(0),
        };
        stopped.unwrap_or(LANES)
    }

    #[inline(never)]
    fn touch_each(
        &mut self,
        start: usize,
        end: usize,
        access: Access,
        now: Record,
    ) -> Result<(), Fault> {
        self.each(start, end, |shadows, place| {
            shadows.touch(place, access, now)
        })
    }

    /// Marks bytes that [`SharedMemory::touch`] has checked as the target of an unfinished
    /// `cp.async` of `thread`.
    pub fn begin_copy(&mut self, offset: u64, count: u32, thread: u32) {
        let (start, end) = (offset as usize, offset as usize + count as usize);
        let begun = self.each(start, end, |shadows, place| {
            shadows.last[place].write = Record::pending(thread);
            Ok(())
        });
        debug_assert!(begun.is_ok());
    }

    /// Ends an unfinished `cp.async`: its bytes arrive.
    pub fn end_copy(&mut self, offset: u64, bytes: &[u8], now: Record) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.bytes[start..end].copy_from_slice(bytes);
        let ended = self.each(start, end, |shadows, place| {
            shadows.last[place].write = now;
            shadows.other[place].write = Record::default();
            for plain in &mut shadows.plain[place] {
                plain.write = Record::default();
            }
            Ok(())
        });
        debug_assert!(ended.is_ok());
    }

    /// The word that lies at a multiple of four in bytes that [`SharedMemory::touch`] has checked.
    #[inline(always)]
    pub fn word(&self, offset: u64) -> u32 {
        let bytes = &self.bytes[offset as usize..][..4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    /// Four words as [`SharedMemory::word`] reads them.
    #[inline(always)]
    pub fn words(&self, offset: u64) -> [u32; 4] {
        let bytes = &self.bytes[offset as usize..][..16];
        std::array::from_fn(|i| {
            u32::from_le_bytes([
                bytes[4 * i],
                bytes[4 * i + 1],
                bytes[4 * i + 2],
                bytes[4 * i + 3],
            ])
        })
    }

    /// The number that lies in `count` (1, 2, 4 or 8) bytes that [`SharedMemory::touch`] has
    /// checked.
    #[inline]
    pub fn load(&self, offset: u64, count: u32) -> u64 {
        let mut number = [0; 8];
        let bytes = &self.bytes[offset as usize..][..count as usize];
        number[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(number)
    }

    /// Changes bytes that [`SharedMemory::touch`] has checked to the low ones of a number.
    #[inline]
    pub fn store(&mut self, offset: u64, count: u32, number: u64) {
        let bytes = &mut self.bytes[offset as usize..][..count as usize];
        bytes.copy_from_slice(&number.to_le_bytes()[..count as usize]);
    }

    /// Changes a word as [`SharedMemory::word`] reads it.
    #[inline(always)]
    pub fn set_word(&mut self, offset: u64, word: u32) {
        self.bytes[offset as usize..][..4].copy_from_slice(&word.to_le_bytes());
    }

    /// Calls `visit` for the shadow of each whole word from `start` to `end`, or each byte where
    /// a word is split.
    fn each(
        &mut self,
        start: usize,
        end: usize,
        mut visit: impl FnMut(&mut Shadows, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut at = start;
        while at < end {
            let word = at / 4;
            let stop = end.min(4 * word + 4);
            if stop - at == 4 && self.words.last[word].write != Record::SPLIT {
                visit(&mut self.words, word)?;
            } else {
                self.split(word);
                for byte in at..stop {
                    visit(&mut self.split, byte)?;
                }
            }
            at = stop;
        }
        Ok(())
    }

    /// Gives the bytes of a word shadows of their own.
    fn split(&mut self, word: usize) {
        let (last, other) = (self.words.last[word], self.words.other[word]);
        if last.write == Record::SPLIT {
            return;
        }
        if self.split.last.is_empty() {
            self.split = Shadows::new(4 * self.words.last.len());
        }
        self.split.last[4 * word..4 * word + 4].fill(last);
        self.split.other[4 * word..4 * word + 4].fill(other);
        self.split.plain[4 * word..4 * word + 4].fill(self.words.plain[word]);
        self.words.last[word].write = Record::SPLIT;
    }
}
