//! What memory and caches give at most, by kind of traffic and size of the working set.

use super::caches::Caches;
use super::pass::{LINE, Line, STEP, Traffic, Walk, pass};
use crate::cpu::Timer;
use crate::{BenchError, Case, Opened, Target};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Bytes that a run moves at least, so that waking threads takes none of its time.
const LEAST_MOVED: usize = 256 << 20;
/// Working sets of memory are at most so large.
const MOST: usize = 256 << 20;
/// Time to try each walk.
const TRIAL: Duration = Duration::from_millis(8);

/// A level of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The end of the roofs' names.
    pub name: &'static str,
    /// Bytes that all threads touch together.
    pub working_set: usize,
    /// Whether it lies beyond the caches.
    pub is_memory: bool,
}

/// The levels of this CPU for so many threads, the innermost first.
///
/// A working set of twice a cache's size is taken for the level behind it: a smaller one may still
/// find most of itself in that cache. So a roof is an upper bound for all working sets from its own
/// on.
pub fn levels(Caches([first, second, third]): Caches, threads: usize) -> [Level; 4] {
    let level = |name, bytes: usize, is_memory| Level {
        name,
        working_set: bytes.next_multiple_of(2 * threads * STEP * LINE),
        is_memory,
    };
    let second_set = 2 * threads * first;
    let third_set = (2 * threads * second).max(2 * second_set);
    let memory = (2 * third).clamp(64 << 20, MOST).max(2 * third_set);
    [
        level("l1", threads * first / 2, false),
        level("l2", second_set, false),
        level("l3", third_set, false),
        level("memory", memory, true),
    ]
}

/// A kind of traffic at a level.
pub struct Memory {
    traffic: Traffic,
    threads: usize,
    /// Lines of the destination, or of what is read.
    lines: usize,
    passes: usize,
    case: Case,
}

impl Memory {
    /// By so many threads of the current pool.
    pub fn new(traffic: Traffic, level: Level, threads: usize) -> Self {
        let parts = if traffic.has_source() { 2 } else { 1 };
        let bytes = level.working_set / parts;
        let [reads, writes] = traffic.counts();
        let passes = LEAST_MOVED.div_ceil(level.working_set);
        let moved = (bytes * passes) as u64;
        let cols = bytes / 4 / threads;
        Self {
            traffic,
            threads,
            lines: bytes / LINE,
            passes,
            case: Case {
                kernel: format!("{}__{}", traffic.name(), level.name),
                family: "roof".to_owned(),
                rows: threads,
                cols,
                bytes: (reads + writes) * moved,
                written: Some(writes * moved),
                working_set: Some(level.working_set as u64),
                ..Case::default()
            },
        }
    }

    fn run(&self, walk: Walk, passes: usize, from: &[Line], to: &mut [Line]) {
        let part = self.lines / self.threads;
        let empty = from.is_empty();
        let parts = to.par_chunks_mut(part).enumerate();
        parts.for_each(|(index, to)| {
            let from = if empty {
                &[]
            } else {
                &from[index * part..][..part]
            };
            for _ in 0..passes {
                pass(self.traffic, walk, from, to);
            }
            std::hint::black_box(to);
        });
    }

    /// The walk that takes this CPU the least time.
    fn fastest(&self, from: &[Line], to: &mut [Line]) -> Walk {
        let mut time = |walk: Walk| {
            let mut least = Duration::MAX;
            let begin = Instant::now();
            while begin.elapsed() < TRIAL {
                let start = Instant::now();
                self.run(walk, self.passes.min(4), from, to);
                least = least.min(start.elapsed());
            }
            least
        };
        let walks = Walk::ALL.into_iter();
        walks
            .min_by_key(|&walk| time(walk))
            .unwrap_or(Walk::Straight)
    }
}

impl Target for Memory {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.case.working_set()
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let source = if self.traffic.has_source() {
            self.lines
        } else {
            0
        };
        let [from, mut to] = [source, self.lines].map(|lines| vec![Line::ONES; lines]);
        // Pages are there before anything is timed.
        self.run(Walk::Straight, 1, &from, &mut to);
        let walk = self.fastest(&from, &mut to);
        Ok(Box::new(Timer(move || {
            self.run(walk, self.passes, &from, &mut to);
            Ok(())
        })))
    }
}
