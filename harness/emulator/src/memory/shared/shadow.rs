//! The last writer and reader of each place.

use super::{Access, Fault, Moment};
use crate::registers::LANES;

/// One access, in 64 bits: thread + 1 (11 bits, 0 for none), atomic (1), instruction (16), epoch
/// of the warp (16), epoch of the block + 1 (20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record(u64);

impl Record {
    const ATOMIC: u64 = 1 << 11;
    const INSTRUCTION: u64 = 0xffff << 12;
    const EPOCH: u64 = !0 << 44;
    /// Marks have an epoch that no access has.
    const MARKS: u64 = Self::EPOCH;
    /// A word whose bytes have shadows of their own, instead of its last write.
    pub(super) const SPLIT: Self = Self(u64::MAX);

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
        Self(self.0 & !Self::INSTRUCTION | u64::from(instruction & 0xffff) << 12)
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

    /// A word or byte that a `cp.async` of a thread is under way to, instead of its last write.
    pub(super) fn pending(thread: u32) -> Self {
        Self(Self::MARKS | u64::from(thread + 1))
    }

    /// Whether it is no access but a mark.
    #[inline(always)]
    fn is_mark(self) -> bool {
        self.0 >= Self::MARKS
    }

    /// The thread whose `cp.async` is under way.
    fn pending_thread(self) -> Option<u32> {
        self.is_mark().then(|| self.thread())
    }

    /// The first of all accesses that no barrier of the block separates from this one.
    #[inline(always)]
    pub(super) fn floor(self) -> Self {
        Self(self.0 & Self::EPOCH)
    }

    /// Whether this access is over before that of which `floor` is the floor; never if it is a
    /// mark.
    #[inline(always)]
    fn is_below(self, floor: Self) -> bool {
        self.0 < floor.0
    }

    /// Whether `now` is of the same thread, with no barrier in between.
    #[inline(always)]
    fn is_repeated(self, now: Self) -> bool {
        (self.0 ^ now.0) & !Self::INSTRUCTION == 0
    }

    /// Whether this access and `now`, which is later, are of different threads and not ordered.
    #[inline(always)]
    fn races(self, now: Self) -> bool {
        (self.0 ^ now.0) & Self::EPOCH == 0
            && self.thread() != now.thread()
            && (self.warp() != now.warp() || (self.0 ^ now.0) >> 28 & 0xffff == 0)
    }

    /// `atomic` is what an atomic access of its kind is called.
    fn fault(self, plain: Access, atomic: Access) -> Fault {
        Fault::Race {
            thread: self.thread(),
            access: if self.is_atomic() { atomic } else { plain },
            instruction: self.instruction(),
        }
    }
}

/// The last write and the last read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accessed {
    /// Or a mark: [`Record::SPLIT`] or [`Record::pending`].
    pub write: Record,
    pub read: Record,
}

impl Accessed {
    /// Remembers an access with which nothing can be wrong: the first since the last barrier of
    /// the block, or one more read by the thread that read last. Tells whether it is one.
    #[inline(always)]
    pub fn renew(&mut self, access: Access, now: Record) -> bool {
        let floor = now.floor();
        let is_first = self.write.is_below(floor) && self.read.is_below(floor);
        match access {
            Access::Read => {
                if is_first && !self.write.is_none() {
                    self.read = now;
                    return true;
                }
                // Writes between the two reads were ordered with the first one.
                self.read.is_repeated(now) && !self.write.is_mark()
            }
            Access::Write | Access::AtomicWrite => {
                if is_first {
                    self.write = now;
                }
                is_first
            }
            // A repeated read that is atomic may follow one that was not.
            Access::AtomicRead => {
                let is_harmless = is_first && !self.write.is_none();
                if is_harmless {
                    self.read = now;
                }
                is_harmless
            }
            Access::Atomic => {
                let is_harmless = is_first && !self.write.is_none();
                if is_harmless {
                    self.write = now;
                }
                is_harmless
            }
        }
    }
}

/// What is known of the places of accesses of 16 bytes by eight lanes, in the order of the lanes.
pub(super) type Rows = [[Accessed; 4]; 8];

/// Whether [`Accessed::renew`] would do the same in all places: remember the access, which is the
/// first of each, or nothing, for they are reads that are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    First,
    Repeated,
    Other,
}

impl Renewal {
    /// Of an access by eight lanes from that of `first` on.
    #[inline(always)]
    pub fn of_rows(rows: &Rows, access: Access, first: Record) -> Self {
        let places = rows.as_flattened();
        let (mut oldest_write, mut newest_write) = (u64::MAX, 0);
        let (mut newest_read, mut changed) = (0, 0);
        for (i, &Accessed { write, read }) in places.iter().enumerate() {
            oldest_write = write.0.min(oldest_write);
            newest_write = write.0.max(newest_write);
            newest_read = read.0.max(newest_read);
            changed |= read.0 ^ (first.0 + i as u64 / 4);
        }
        let is_written = oldest_write != 0;
        let is_first = Record(newest_write.max(newest_read)).is_below(first.floor());
        let is_repeated = changed & !Record::INSTRUCTION == 0;
        match access {
            Access::Read if is_repeated && !Record(newest_write).is_mark() => Self::Repeated,
            Access::Read if is_first && is_written => Self::First,
            Access::Write if is_first => Self::First,
            _ => Self::Other,
        }
    }
}

/// What is known of each word, or of each byte of words that were not always accessed whole: the
/// last access of either kind, and one more of another thread that is not ordered with it.
///
/// A later access is unordered with one of all that were made exactly if it is with one of
/// these: two accesses that are not ordered are of two threads, of which it is at most one; and
/// between one of the same warp and one of another, that of the other is kept.
///
/// An atomic access races only with those that are not. These are kept too, where others have
/// come after them: of them the same holds.
#[derive(Debug)]
pub(super) struct Shadows {
    pub last: Vec<Accessed>,
    /// All but `last` are only of use as long as no barrier of the block has passed since.
    pub other: Vec<Accessed>,
    /// The last that are not atomic, before `last`.
    pub plain: Vec<[Accessed; 2]>,
}

/// The last two of a kind after one more access.
fn remember([last, other]: [Record; 2], now: Record) -> [Record; 2] {
    let is_first_kept =
        !other.races(now) || other.warp() == now.warp() || last.warp() != now.warp();
    let kept = match (last.races(now), other.races(now)) {
        (true, _) if is_first_kept => last,
        (_, true) => other,
        _ => Record::default(),
    };
    [now, kept]
}

/// The last two that are not atomic, where `displaced` is no longer the last of all.
fn remember_plain(plain: [Record; 2], displaced: Record) -> [Record; 2] {
    match displaced.is_none() || displaced.is_mark() || displaced.is_atomic() {
        true => plain,
        false => remember(plain, displaced),
    }
}

impl Shadows {
    pub fn new(places: usize) -> Self {
        Self {
            last: vec![Accessed::default(); places],
            other: vec![Accessed::default(); places],
            plain: vec![Default::default(); places],
        }
    }

    pub fn reset(&mut self) {
        self.last.fill(Accessed::default());
        self.other.fill(Accessed::default());
        self.plain.fill(Default::default());
    }

    /// Checks an access and remembers it.
    pub fn touch(&mut self, place: usize, access: Access, now: Record) -> Result<(), Fault> {
        let (last, other) = (&mut self.last[place], &mut self.other[place]);
        let [plain, plain_other] = &mut self.plain[place];
        if let Some(thread) = last.write.pending_thread() {
            return Err(Fault::Pending(thread));
        }
        if access.reads() && last.write.is_none() {
            return Err(Fault::NeverWritten);
        }
        for write in [last.write, other.write, plain.write, plain_other.write] {
            if write.races(now) && !(now.is_atomic() && write.is_atomic()) {
                return Err(write.fault(Access::Write, Access::Atomic));
            }
        }
        if !access.writes() {
            [plain.read, plain_other.read] =
                remember_plain([plain.read, plain_other.read], last.read);
            [last.read, other.read] = remember([last.read, other.read], now);
            return Ok(());
        }
        for read in [last.read, other.read, plain.read, plain_other.read] {
            if read.races(now) && !(now.is_atomic() && read.is_atomic()) {
                return Err(read.fault(Access::Read, Access::AtomicRead));
            }
        }
        [plain.write, plain_other.write] =
            remember_plain([plain.write, plain_other.write], last.write);
        [last.write, other.write] = remember([last.write, other.write], now);
        Ok(())
    }
}
