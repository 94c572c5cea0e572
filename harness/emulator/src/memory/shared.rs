//! Shared memory of a block, with who wrote and who read each byte last.
//!
//! Two accesses of different threads to a byte, one of them a write, need something between
//! them that orders them: a barrier of the block, or for threads of one warp `bar.warp.sync`.
//! Time is counted in *epochs*: the block's number of barriers, and each warp's number of warp
//! barriers. Accesses are ordered when the block's epochs differ, or the threads share a warp
//! and its epochs differ.

use crate::registers::LANES;

/// When and by whom an access is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Barriers that the block has passed; less than 2^20.
    pub block_epoch: u32,
    /// Warp barriers that the warp has passed since the last one of the block.
    pub warp_epoch: u32,
    /// Thread of the block; less than 1024.
    pub thread: u32,
}

impl Moment {
    /// The most barriers that are told from each other.
    pub const LAST_BLOCK_EPOCH: u32 = (1 << 20) - 1;
    /// The most warp barriers, between two of the block, that are told from each other.
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

/// Last accesses to a word, or to a byte of a word that was not always accessed as a whole.
#[derive(Clone, Copy, Debug, Default)]
struct Shadow {
    writes: Latest,
    reads: Latest,
    /// The thread, from 1, whose `cp.async` into the bytes is under way.
    pending: u16,
    /// Whether the bytes of this word have shadows of their own.
    is_split: bool,
}

/// One access, in 64 bits: thread + 1 (11 bits, 0 for none), atomic (1), instruction (16), epoch
/// of the warp (16), epoch of the block (20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record(u64);

impl Record {
    fn new(moment: Moment, instruction: u32, is_atomic: bool) -> Self {
        Self(
            u64::from(moment.thread + 1)
                | u64::from(is_atomic) << 11
                | u64::from(instruction & 0xffff) << 12
                | u64::from(moment.warp_epoch & 0xffff) << 28
                | u64::from(moment.block_epoch) << 44,
        )
    }

    fn is_none(self) -> bool {
        self.0 == 0
    }

    fn thread(self) -> u32 {
        ((self.0 & 0x7ff) as u32).wrapping_sub(1)
    }

    fn warp(self) -> u32 {
        self.thread() / LANES as u32
    }

    fn is_atomic(self) -> bool {
        self.0 >> 11 & 1 == 1
    }

    fn instruction(self) -> u32 {
        (self.0 >> 12 & 0xffff) as u32
    }

    /// Whether this access and `now`, which is later, are of different threads and not ordered.
    #[inline(always)]
    fn races(self, now: Self) -> bool {
        !self.is_none()
            && self.0 >> 44 == now.0 >> 44
            && self.thread() != now.thread()
            && (self.warp() != now.warp() || (self.0 ^ now.0) >> 28 & 0xffff == 0)
    }

    fn fault(self, access: Access) -> Fault {
        Fault::Race {
            thread: self.thread(),
            access: if self.is_atomic() {
                Access::Atomic
            } else {
                access
            },
            instruction: self.instruction(),
        }
    }
}

impl Shadow {
    /// Checks an access and remembers it.
    #[inline(always)]
    fn touch(&mut self, access: Access, now: Record) -> Result<(), Fault> {
        if self.pending != 0 {
            return Err(Fault::Pending(u32::from(self.pending) - 1));
        }
        if access.reads() && self.writes.is_none() {
            return Err(Fault::NeverWritten);
        }
        for write in self.writes.0 {
            if write.races(now) && !(now.is_atomic() && write.is_atomic()) {
                return Err(write.fault(Access::Write));
            }
        }
        if access.writes() {
            for read in self.reads.0 {
                if read.races(now) && !(now.is_atomic() && read.is_atomic()) {
                    return Err(read.fault(Access::Read));
                }
            }
            self.writes.remember(now);
        } else {
            self.reads.remember(now);
        }
        Ok(())
    }
}

/// The last access of a kind, and one more of another thread that is not ordered with it.
///
/// A later access is unordered with one of all that were made exactly if it is with one of
/// these: two accesses that are not ordered are of two threads, of which it is at most one; and
/// between one of the same warp and one of another, that of the other is kept.
#[derive(Clone, Copy, Debug, Default)]
struct Latest([Record; 2]);

impl Latest {
    fn is_none(self) -> bool {
        self.0[0].is_none()
    }

    #[inline(always)]
    fn remember(&mut self, now: Record) {
        let [last, other] = self.0;
        // Most accesses find none that they are unordered with.
        let kept = if last.races(now) {
            if other.races(now) && other.warp() != now.warp() && last.warp() == now.warp() {
                other
            } else {
                last
            }
        } else if other.races(now) {
            other
        } else {
            Record::default()
        };
        self.0 = [now, kept];
    }
}

/// The shared memory of one block.
#[derive(Debug)]
pub struct SharedMemory {
    bytes: Vec<u8>,
    words: Vec<Shadow>,
    /// Those of the bytes of words that are split; none before the first is.
    split: Vec<Shadow>,
}

impl SharedMemory {
    /// Memory that nobody has written.
    pub fn new(bytes: usize) -> Self {
        Self {
            bytes: vec![0; bytes],
            words: vec![Shadow::default(); bytes.div_ceil(4)],
            split: Vec::new(),
        }
    }

    /// Makes everything unwritten again.
    pub fn reset(&mut self) {
        self.words.fill(Shadow::default());
        self.split.clear();
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
    #[inline]
    pub fn touch(
        &mut self,
        offset: u64,
        count: u32,
        access: Access,
        moment: Moment,
        instruction: u32,
    ) -> Result<(), Fault> {
        if offset.saturating_add(u64::from(count)) > self.bytes.len() as u64 {
            return Err(Fault::OutOfBounds);
        }
        let now = Record::new(moment, instruction, access.is_atomic());
        self.each(offset, count, |shadow| shadow.touch(access, now))
    }

    /// Marks bytes as the target of an unfinished `cp.async` of `thread`.
    pub fn begin_copy(&mut self, offset: u64, count: u32, thread: u32) {
        let begun = self.each(offset, count, |shadow| {
            shadow.pending = thread as u16 + 1;
            Ok(())
        });
        debug_assert!(begun.is_ok());
    }

    /// Ends an unfinished `cp.async`: its bytes arrive.
    pub fn end_copy(&mut self, offset: u64, bytes: &[u8], moment: Moment, instruction: u32) {
        self.store(offset, bytes);
        let now = Record::new(moment, instruction, false);
        let ended = self.each(offset, bytes.len() as u32, |shadow| {
            shadow.pending = 0;
            shadow.writes = Latest([now, Record::default()]);
            Ok(())
        });
        debug_assert!(ended.is_ok());
    }

    /// Bytes that [`SharedMemory::touch`] has checked.
    #[inline(always)]
    pub fn load(&self, offset: u64, out: &mut [u8]) {
        out.copy_from_slice(&self.bytes[offset as usize..][..out.len()]);
    }

    /// Changes bytes that [`SharedMemory::touch`] has checked.
    #[inline(always)]
    pub fn store(&mut self, offset: u64, bytes: &[u8]) {
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Calls `visit` for the shadow of each whole word, or each byte where a word is split.
    #[inline(always)]
    fn each(
        &mut self,
        offset: u64,
        count: u32,
        mut visit: impl FnMut(&mut Shadow) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let end = offset as usize + count as usize;
        let mut at = offset as usize;
        let size = 4 * self.words.len();
        while at < end {
            let (word, skip) = (at / 4, at % 4);
            let part = (end - at).min(4 - skip);
            let shadow = &mut self.words[word];
            if part == 4 && !shadow.is_split {
                visit(shadow)?;
            } else {
                if self.split.is_empty() {
                    self.split = vec![Shadow::default(); size];
                }
                let bytes = &mut self.split[4 * word..4 * word + 4];
                if !shadow.is_split {
                    bytes.fill(*shadow);
                    shadow.is_split = true;
                }
                bytes[skip..skip + part]
                    .iter_mut()
                    .try_for_each(&mut visit)?;
            }
            at += part;
        }
        Ok(())
    }
}
