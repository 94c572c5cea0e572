//! Who touched which global bytes during a launch, and who was in whose way.
//!
//! Blocks of a launch run in no order, so two of them must not touch the same byte unless both
//! only read, or both use atomics. Each block notes the intervals it touches; when all have
//! finished, one sweep over all intervals finds the conflict at the lowest address. What is
//! found does not depend on the order in which the host happened to run the blocks.

/// What was done to some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// Read.
    Read,
    /// Written.
    Write,
    /// Read or written by an atomic or volatile access.
    Atomic,
}

/// Touched bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// How.
    pub touch: Touch,
    /// Instruction that touched the first byte.
    pub instruction: u32,
    /// Thread of the block that touched the first byte.
    pub thread: u32,
}

/// The intervals of a block.
#[derive(Debug, Default)]
pub struct TouchLog {
    /// The first `compacted` in order and joined, the rest as they came.
    intervals: Vec<Interval>,
    compacted: usize,
    compact_at: usize,
}

/// Intervals from which on a log is compacted first.
const COMPACT_FROM: usize = 1 << 14;

/// Intervals that may be searched one by one.
const UNSORTED: usize = 64;

impl TouchLog {
    /// Notes an interval.
    #[inline]
    pub fn push(&mut self, interval: Interval) {
        if let Some(last) = self.intervals[self.compacted..].last_mut()
            && last.touch == interval.touch
            && last.instruction == interval.instruction
            && last.start <= interval.start
            && last.end >= interval.start
        {
            last.end = last.end.max(interval.end);
            return;
        }
        self.intervals.push(interval);
        if self.intervals.len() >= self.compact_at.max(COMPACT_FROM) {
            self.compact();
            self.compact_at = 2 * self.intervals.len();
        }
    }

    /// Whether this block wrote all bytes from `start` to `end` itself.
    pub fn has_written(&mut self, start: u64, end: u64) -> bool {
        if self.intervals.len() - self.compacted > UNSORTED.max(self.compacted / 8) {
            self.compact();
        }
        let mut at = start;
        // Every pass reaches further or ends; an access spans few intervals.
        while at < end {
            match self.written_until(at) {
                Some(reached) => at = reached,
                None => return false,
            }
        }
        true
    }

    /// How far an interval that holds `at` and was written reaches.
    fn written_until(&self, at: u64) -> Option<u64> {
        let (compacted, rest) = self.intervals.split_at(self.compacted);
        let holds = |interval: &&Interval| interval.start <= at && at < interval.end;
        let mut recent = rest.iter().rev();
        let found = recent.find(|interval| interval.touch != Touch::Read && holds(interval));
        let sorted = [Touch::Write, Touch::Atomic].into_iter().find_map(|touch| {
            let key = |interval: &Interval| (interval.touch, interval.start) <= (touch, at);
            let last = compacted[..compacted.partition_point(key)].last();
            last.filter(|interval| interval.touch == touch && holds(interval))
        });
        found.or(sorted).map(|interval| interval.end)
    }

    /// The intervals in order, those of one kind that overlap or touch joined.
    pub fn finish(mut self) -> Vec<Interval> {
        self.compact();
        self.intervals
    }

    fn compact(&mut self) {
        self.intervals
            .sort_by_key(|interval| (interval.touch, interval.start, interval.instruction));
        self.intervals.dedup_by(|next, last| {
            let joins = next.touch == last.touch && next.start <= last.end;
            if joins {
                last.end = last.end.max(next.end);
            }
            joins
        });
        self.compacted = self.intervals.len();
    }
}

/// Two blocks in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// First byte that both touched.
    pub address: u64,
    /// The blocks, the lower first, and what each did.
    pub sides: [(u32, Interval); 2],
}

/// The first conflict, by address, among the intervals of all blocks (by their numbers).
pub fn first_conflict(logs: &[(u32, Vec<Interval>)]) -> Option<Conflict> {
    let mut all: Vec<(u32, Interval)> = logs
        .iter()
        .flat_map(|(block, intervals)| intervals.iter().map(|&interval| (*block, interval)))
        .collect();
    all.sort_by_key(|(block, interval)| (interval.start, *block, interval.touch));
    // For each kind the two intervals, of different blocks, that reach furthest: if any earlier
    // interval conflicts with the next one, one of these does.
    let mut furthest: [[Option<(u32, Interval)>; 2]; 3] = [[None; 2]; 3];
    for &(block, interval) in &all {
        for touch in [Touch::Read, Touch::Write, Touch::Atomic] {
            let is_harmless = touch == interval.touch && touch != Touch::Write;
            if is_harmless {
                continue;
            }
            let other = furthest[touch as usize]
                .into_iter()
                .flatten()
                .find(|(earlier, reaching)| *earlier != block && reaching.end > interval.start);
            if let Some(other) = other {
                let mut sides = [other, (block, interval)];
                sides.sort_by_key(|(block, _)| *block);
                return Some(Conflict {
                    address: interval.start,
                    sides,
                });
            }
        }
        keep(&mut furthest[interval.touch as usize], (block, interval));
    }
    None
}

/// Keeps the two intervals that reach furthest, of different blocks; the first reaches further.
fn keep(furthest: &mut [Option<(u32, Interval)>; 2], new: (u32, Interval)) {
    let reach = |slot: &Option<(u32, Interval)>| slot.map_or(0, |(_, interval)| interval.end);
    let of_block = furthest
        .iter()
        .position(|slot| slot.is_some_and(|(block, _)| block == new.0));
    match of_block {
        Some(index) if reach(&furthest[index]) >= new.1.end => return,
        Some(index) => furthest[index] = Some(new),
        None if reach(&furthest[1]) < new.1.end => furthest[1] = Some(new),
        None => return,
    }
    if reach(&furthest[1]) > reach(&furthest[0]) {
        furthest.swap(0, 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn interval(start: u64, end: u64, touch: Touch) -> Interval {
        Interval {
            start,
            end,
            touch,
            instruction: 0,
            thread: 0,
        }
    }

    fn touches() -> impl Strategy<Value = Touch> {
        prop_oneof![Just(Touch::Read), Just(Touch::Write), Just(Touch::Atomic)]
    }

    proptest! {
        #[test]
        fn the_sweep_finds_what_comparing_every_pair_of_bytes_finds(
            touched in prop::collection::vec((0u32..4, 0u64..24, 1u64..6, touches()), 0..12)
        ) {
            let mut logs: Vec<(u32, TouchLog)> = (0..4).map(|b| (b, TouchLog::default())).collect();
            for &(block, start, bytes, touch) in &touched {
                logs[block as usize].1.push(interval(start, start + bytes, touch));
            }
            let logs: Vec<_> = logs.into_iter().map(|(b, log)| (b, log.finish())).collect();
            let lowest = (0u64..32).find(|byte| {
                let on: Vec<_> = touched.iter().filter(|(_, s, n, _)| (*s..s + n).contains(byte)).collect();
                on.iter().any(|a| on.iter().any(|b| {
                    a.0 != b.0 && (a.3 == Touch::Write || b.3 == Touch::Write || a.3 != b.3)
                }))
            });
            prop_assert_eq!(first_conflict(&logs).map(|conflict| conflict.address), lowest);
        }
    }

    #[test]
    fn a_block_knows_what_it_wrote() {
        let mut log = TouchLog::default();
        log.push(interval(0, 8, Touch::Write));
        log.push(interval(8, 12, Touch::Read));
        log.push(interval(12, 16, Touch::Write));
        assert!(log.has_written(2, 8));
        assert!(!log.has_written(2, 9));
        assert!(log.has_written(12, 16));
        assert!(!log.has_written(16, 17));
    }
}
