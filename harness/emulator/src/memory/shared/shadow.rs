//! Who wrote and who read each place last.

use super::{Access, Fault, Moment};
use crate::registers::LANES;

/// One access, in 64 bits: thread + 1 (11 bits, 0 for none), atomic (1), instruction (16), epoch
/// of the warp (16), epoch of the block + 1 (20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record(u64);

impl Record {
    const ATOMIC: u64 = 1 << 11;

    /// The same access, atomic.
    #[inline(always)]
    pub(super) fn atomic(self) -> Self {
        Self(self.0 | Self::ATOMIC)
    }

    /// An access by an instruction.
    #[inline(always)]
    pub fn new(moment: Moment, instruction: u32) -> Self {
        Self(
            u64::from(moment.thread + 1)
                | u64::from(instruction & 0xffff) << 12
                | u64::from(moment.warp_epoch & 0xffff) << 28
                | u64::from(moment.block_epoch + 1) << 44,
        )
    }

    /// The same access by the thread that is so many behind.
    #[inline(always)]
    pub fn of_lane(self, lane: usize) -> Self {
        Self(self.0 + lane as u64)
    }

    /// The same access by another instruction.
    pub fn of_instruction(self, instruction: u32) -> Self {
        let others = self.0 & !(0xffff << 12);
        Self(others | u64::from(instruction & 0xffff) << 12)
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
        self.0 & Self::ATOMIC != 0
    }

    fn instruction(self) -> u32 {
        (self.0 >> 12 & 0xffff) as u32
    }

    /// Whether a barrier of the block is between this access, or none, and `now`.
    #[inline(always)]
    fn is_past(self, now: Self) -> bool {
        (self.0 ^ now.0) >> 44 != 0
    }

    /// Whether this access and `now`, which is later, are of different threads and not ordered.
    #[inline(always)]
    fn races(self, now: Self) -> bool {
        !self.is_past(now)
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

/// The last access of a kind to each place, and one more of another thread that is not ordered
/// with it.
///
/// A later access is unordered with one of all that were made exactly if it is with one of
/// these: two accesses that are not ordered are of two threads, of which it is at most one; and
/// between one of the same warp and one of another, that of the other is kept.
#[derive(Debug, Default)]
pub(super) struct Latest {
    last: Vec<Record>,
    /// Only of use as long as no barrier of the block has passed since.
    other: Vec<Record>,
}

impl Latest {
    pub fn new(places: usize) -> Self {
        Self {
            last: vec![Record::default(); places],
            other: vec![Record::default(); places],
        }
    }

    pub fn reset(&mut self) {
        self.last.fill(Record::default());
        self.other.fill(Record::default());
    }

    pub fn at(&self, place: usize) -> [Record; 2] {
        [self.last[place], self.other[place]]
    }

    pub fn set(&mut self, place: usize, [last, other]: [Record; 2]) {
        self.last[place] = last;
        self.other[place] = other;
    }

    fn remember(&mut self, place: usize, now: Record) {
        let [last, other] = self.at(place);
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
        self.set(place, [now, kept]);
    }
}

/// What is known of each word, or of each byte of words that were not always accessed whole.
#[derive(Debug)]
pub(super) struct Shadows {
    pub writes: Latest,
    pub reads: Latest,
    /// 0, or the thread + 1 whose `cp.async` is under way, or [`SPLIT`].
    pub marks: Vec<u16>,
}

/// Marks a word whose bytes have shadows of their own.
pub(super) const SPLIT: u16 = u16::MAX;

impl Shadows {
    pub fn new(places: usize) -> Self {
        Self {
            writes: Latest::new(places),
            reads: Latest::new(places),
            marks: vec![0; places],
        }
    }

    pub fn reset(&mut self) {
        self.writes.reset();
        self.reads.reset();
        self.marks.fill(0);
    }

    /// Remembers an access if it is the first since a barrier of the block, so that nothing can
    /// be wrong with it; tells whether it was.
    #[inline(always)]
    pub fn renew(&mut self, place: usize, access: Access, now: Record) -> bool {
        let (write, read) = (self.writes.last[place], self.reads.last[place]);
        let is_first = self.marks[place] == 0 && write.is_past(now) && read.is_past(now);
        let is_defined = !access.reads() || !write.is_none();
        if is_first && is_defined {
            let kind = if access.writes() {
                &mut self.writes
            } else {
                &mut self.reads
            };
            kind.last[place] = now;
        }
        is_first && is_defined
    }

    /// Checks an access and remembers it.
    pub fn touch(&mut self, place: usize, access: Access, now: Record) -> Result<(), Fault> {
        if self.marks[place] != 0 {
            return Err(Fault::Pending(u32::from(self.marks[place]) - 1));
        }
        let writes = self.writes.at(place);
        if access.reads() && writes[0].is_none() {
            return Err(Fault::NeverWritten);
        }
        for write in writes {
            if write.races(now) && !(now.is_atomic() && write.is_atomic()) {
                return Err(write.fault(Access::Write));
            }
        }
        if !access.writes() {
            self.reads.remember(place, now);
            return Ok(());
        }
        for read in self.reads.at(place) {
            if read.races(now) && !(now.is_atomic() && read.is_atomic()) {
                return Err(read.fault(Access::Read));
            }
        }
        self.writes.remember(place, now);
        Ok(())
    }
}
