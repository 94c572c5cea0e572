//! The global bytes that each block touched during a launch, and conflicts between blocks.
//!
//! Blocks of a launch run in no order, so two of them must not touch the same byte unless both only
//! read, or both use atomics. Each block notes the intervals it touches; when all have finished,
//! one sweep over all intervals finds the conflict at the lowest address. The result does not
//! depend on the order in which the host ran the blocks.

use crate::registers::LANES;

/// The kind of an access to bytes.
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
    /// By [`Touch`].
    kinds: [Intervals; 3],
}

/// The intervals of one kind.
#[derive(Debug, Default)]
struct Intervals {
    /// The first `compacted` in order and joined, the rest as they came.
    intervals: Vec<Interval>,
    compacted: usize,
    compact_at: usize,
    /// Which of the rest was pushed or extended last.
    recent: usize,
}

/// Intervals from which on a log is compacted first.
const COMPACT_FROM: usize = 1 << 14;

/// Intervals that may be searched one by one.
const UNSORTED: usize = 64;

impl TouchLog {
    /// Notes an interval.
    #[inline]
    pub fn push(&mut self, interval: Interval) {
        self.kinds[interval.touch as usize].push(interval);
    }

    /// Whether this block wrote all bytes from `start` to `end` itself.
    pub fn has_written(&mut self, start: u64, end: u64) -> bool {
        let [_, writes, atomics] = &mut self.kinds;
        let mut at = start;
        // Every pass reaches further or ends; an access spans few intervals.
        while at < end {
            match writes.until(at).or_else(|| atomics.until(at)) {
                Some(reached) => at = reached,
                None => return false,
            }
        }
        true
    }

    /// The intervals by kind, each in order, those that overlap or touch joined.
    pub fn finish(mut self) -> Vec<Interval> {
        self.kinds.iter_mut().for_each(Intervals::compact);
        let [reads, writes, atomics] = self.kinds.map(|kind| kind.intervals);
        [reads, writes, atomics].concat()
    }
}

impl Intervals {
    /// Notes an interval, as part of an earlier one where that is at hand: the last, or that of
    /// the same lane of a warp whose lanes each walk along bytes of their own.
    #[inline]
    fn push(&mut self, interval: Interval) {
        let rest = self.intervals.len();
        for place in [self.recent, self.recent + 1, rest.wrapping_sub(LANES)] {
            if place < self.compacted {
                continue;
            }
            if let Some(earlier) = self.intervals.get_mut(place)
                && (earlier.end == interval.start
                    || earlier.instruction == interval.instruction
                        && earlier.start <= interval.start
                        && earlier.end >= interval.start)
            {
                earlier.end = earlier.end.max(interval.end);
                self.recent = place;
                return;
            }
        }
        self.recent = rest;
        self.intervals.push(interval);
        if self.intervals.len() >= self.compact_at.max(COMPACT_FROM) {
            self.compact();
            self.compact_at = 2 * self.intervals.len();
        }
    }

    /// How far an interval that holds `at` reaches.
    fn until(&mut self, at: u64) -> Option<u64> {
        if self.intervals.len() - self.compacted > UNSORTED.max(self.compacted / 8) {
            self.compact();
        }
        let (compacted, rest) = self.intervals.split_at(self.compacted);
        let holds = |interval: &&Interval| interval.start <= at && at < interval.end;
        let before = compacted.partition_point(|interval| interval.start <= at);
        let sorted = compacted[..before].last().filter(holds);
        let found = sorted.or_else(|| rest.iter().rev().find(holds));
        found.map(|interval| interval.end)
    }

    fn compact(&mut self) {
        self.intervals
            .sort_by_key(|interval| (interval.start, interval.instruction));
        self.intervals.dedup_by(|next, last| {
            let joins = next.start <= last.end;
            if joins {
                last.end = last.end.max(next.end);
            }
            joins
        });
        self.compacted = self.intervals.len();
    }
}

/// A conflict between two blocks.
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

    /// Few in each other's way; or warps whose lanes walk along rows, most of them their own.
    fn touched() -> impl Strategy<Value = Vec<(u32, u64, u64, Touch)>> {
        let few = prop::collection::vec((0u32..4, 0u64..24, 1u64..6, touches()), 0..12);
        let walk = (0u32..4, 0u64..4, 1u64..9, 1u64..4, touches());
        let walks = prop::collection::vec(walk, 0..5).prop_map(|walks| {
            let steps = walks
                .into_iter()
                .flat_map(|(block, row, pitch, bytes, touch)| {
                    let lane = move |i: u64| (i % 32) * pitch + i / 32 * bytes;
                    (0..96).map(move |i| (block, 400 * row + lane(i), bytes, touch))
                });
            steps.collect()
        });
        prop_oneof![few, walks]
    }

    proptest! {
        #[test]
        fn the_sweep_finds_what_comparing_every_pair_of_bytes_finds(touched in touched()) {
            let mut logs: Vec<(u32, TouchLog)> = (0..4).map(|b| (b, TouchLog::default())).collect();
            for &(block, start, bytes, touch) in &touched {
                logs[block as usize].1.push(interval(start, start + bytes, touch));
            }
            let logs: Vec<_> = logs.into_iter().map(|(b, log)| (b, log.finish())).collect();
            let lowest = (0u64..2000).find(|byte| {
                let on: Vec<_> = touched
                    .iter()
                    .filter(|(_, s, n, _)| (*s..s + n).contains(byte))
                    .collect();
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
