//! What runs in the next step: which sequences, how many tokens of each, and in which pages.
//!
//! - Every running sequence whose prompt is done gets its next token in every step.
//! - Prompts share the tokens of a step evenly: those that need less than their share leave the
//!   rest to the others, so a short prompt never waits for a long one.
//! - Sequences are admitted in the order of arrival, as soon as the pages for their prompt are
//!   free.
//! - When no page is left, the youngest running sequence gives its pages back and waits in its
//!   place by arrival. Later it is computed again, with the tokens that it already has.

use std::collections::BTreeMap;
use std::ops::Range;

use super::pages::{Pages, Prefix};

/// The number of a sequence; later ones are greater.
pub type Id = u64;

/// A sequence to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Prompt and chosen tokens.
    pub tokens: Vec<u32>,
    /// Its class, as in [`crate::engine::Piece::class`].
    pub class: usize,
    /// The first position whose logits are wanted. Those of the last position always are.
    pub wanted: usize,
}

/// A sequence and what the cache holds of it.
#[derive(Clone, Debug)]
struct State {
    sequence: Sequence,
    slot: usize,
    pages: Vec<u32>,
    /// Positions in the pages.
    computed: usize,
    /// The prefix that the full pages hold.
    prefix: Prefix,
}

/// Tokens of a sequence that run in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The sequence.
    pub id: Id,
    /// Positions of the tokens.
    pub positions: Range<usize>,
    /// How many of the last tokens give logits.
    pub logits: usize,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sequences that gave their pages back to be computed again.
    pub preemptions: u64,
    /// Positions whose keys and values were found in pages of others.
    pub shared: u64,
}

/// The limits of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sequences that run.
    pub slots: usize,
    /// Most prompt tokens.
    pub chunk: usize,
    /// Whether sequences share pages of equal beginnings.
    pub shares: bool,
}

/// All sequences, waiting and running.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    pages: Pages,
    waiting: BTreeMap<Id, Sequence>,
    running: BTreeMap<Id, State>,
    free_slots: Vec<usize>,
    counts: Counts,
}

impl State {
    /// Tokens that are not in the cache.
    fn remaining(&self) -> usize {
        self.sequence.tokens.len() - self.computed
    }

    fn is_decoding(&self) -> bool {
        self.remaining() == 1
    }
}

impl Scheduler {
    /// A scheduler of a cache's pages.
    pub fn new(limits: Limits, pages: Pages) -> Self {
        Self {
            limits,
            pages,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            free_slots: (0..limits.slots).rev().collect(),
            counts: Counts::default(),
        }
    }

    /// Most positions of a sequence.
    pub fn capacity(&self) -> usize {
        self.pages.size() * self.pages.count()
    }

    /// Adds a sequence that may grow to [`Scheduler::capacity`] tokens. Its id is greater than all
    /// before.
    pub fn add(&mut self, id: Id, sequence: Sequence) {
        self.waiting.insert(id, sequence);
    }

    /// Whether there is nothing to run.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Pages in use, and all.
    pub fn pages(&self) -> [usize; 2] {
        let count = self.pages.count();
        [count - self.pages.available(), count]
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The slot, class, pages and tokens of a running sequence.
    pub fn running_sequence(&self, id: Id) -> Option<(usize, usize, &[u32], &[u32])> {
        let state = self.running.get(&id)?;
        let Sequence { tokens, class, .. } = &state.sequence;
        Some((state.slot, *class, &state.pages, tokens))
    }

    /// The parts of the next step, which have their pages. Empty only if there is nothing to run.
    pub fn plan(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        self.decode(&mut parts);
        self.admit();
        let mut left = self.limits.chunk;
        let prefilling = self.running.iter_mut();
        let mut prefilling: Vec<(usize, Id)> = prefilling
            .filter(|(id, state)| parts.iter().all(|part| part.id != **id) && state.remaining() > 0)
            .map(|(&id, state)| {
                self.counts.shared += share(&mut self.pages, self.limits, state);
                (state.remaining(), id)
            })
            .collect();
        prefilling.sort_unstable();
        for (index, &(remaining, id)) in prefilling.iter().enumerate() {
            let even = left.div_ceil(prefilling.len() - index);
            let length = remaining.min(even);
            if length > 0 && self.make_room(id, length, &mut parts) {
                let start = self.running[&id].computed;
                parts.push(self.part(id, start..start + length));
                left -= length;
            }
        }
        parts
    }

    /// The next token of every sequence whose prompt is done, the oldest first.
    fn decode(&mut self, parts: &mut Vec<Part>) {
        let decoding = self.running.iter().filter(|(_, state)| state.is_decoding());
        let decoding: Vec<Id> = decoding.map(|(&id, _)| id).collect();
        for id in decoding {
            // An older one may have taken its pages.
            if self.running.contains_key(&id) && self.make_room(id, 1, parts) {
                let start = self.running[&id].computed;
                parts.push(self.part(id, start..start + 1));
            }
        }
    }

    fn part(&self, id: Id, positions: Range<usize>) -> Part {
        let Sequence { tokens, wanted, .. } = &self.running[&id].sequence;
        let first = (*wanted).min(tokens.len() - 1).max(positions.start);
        let logits = positions.end.saturating_sub(first);
        Part {
            id,
            positions,
            logits,
        }
    }

    /// Moves sequences from waiting to running while there is room for their prompts.
    fn admit(&mut self) {
        while let Some((&id, sequence)) = self.waiting.first_key_value() {
            if self.free_slots.is_empty() {
                return;
            }
            let size = self.pages.size();
            let prefix = Prefix::Empty(sequence.class);
            let sharable = &sequence.tokens[..sharable(size, sequence)];
            let [used, idle] = match self.limits.shares {
                true => self.pages.held(prefix, sharable),
                false => [0, 0],
            };
            // Room for the first chosen token too, and for the prompts that are being computed. A
            // page for each running sequence stays free, so that nothing is preempted at once.
            let needed = (sequence.tokens.len() + 1).div_ceil(size) - used - idle;
            let promised = self.running.values().map(|state| {
                let all = (state.sequence.tokens.len() + 1).div_ceil(size);
                all.saturating_sub(state.pages.len())
            });
            let promised = promised.sum::<usize>() + self.running.len();
            let is_first = self.running.is_empty();
            if !is_first && needed + idle + promised > self.pages.available() {
                return;
            }
            let (id, sequence) = (id, self.waiting.remove(&id));
            let (Some(sequence), Some(slot)) = (sequence, self.free_slots.pop()) else {
                return;
            };
            let state = State {
                sequence,
                slot,
                pages: Vec::new(),
                computed: 0,
                prefix,
            };
            self.running.insert(id, state);
        }
    }

    /// Gives pages to a running sequence for `length` more positions; the youngest sequences give
    /// theirs back if there are none. Returns whether the sequence still runs.
    fn make_room(&mut self, id: Id, length: usize, parts: &mut Vec<Part>) -> bool {
        loop {
            let Some(state) = self.running.get_mut(&id) else {
                return false;
            };
            if state.pages.len() * self.pages.size() >= state.computed + length {
                return true;
            }
            match self.pages.take() {
                Some(page) => state.pages.push(page),
                None => {
                    let Some((&youngest, _)) = self.running.last_key_value() else {
                        return false;
                    };
                    self.preempt(youngest);
                    parts.retain(|part| part.id != youngest);
                }
            }
        }
    }

    fn preempt(&mut self, id: Id) {
        if let Some(state) = self.stop(id) {
            self.waiting.insert(id, state.sequence);
            self.counts.preemptions += 1;
        }
    }

    /// Takes a sequence out of those that run; its pages and slot are free.
    fn stop(&mut self, id: Id) -> Option<State> {
        let state = self.running.remove(&id)?;
        self.pages.release(&state.pages);
        self.free_slots.push(state.slot);
        Some(state)
    }

    /// A part has run: its keys and values are in the pages.
    pub fn computed(&mut self, part: &Part) {
        let Some(state) = self.running.get_mut(&part.id) else {
            return;
        };
        let size = self.pages.size();
        let full = state.computed / size..part.positions.end / size;
        state.computed = part.positions.end;
        state.sequence.wanted = state.sequence.wanted.max(part.positions.end);
        if !self.limits.shares {
            return;
        }
        for page in full {
            let tokens = &state.sequence.tokens[page * size..(page + 1) * size];
            state.prefix = self.pages.fill(state.pages[page], state.prefix, tokens);
        }
    }

    /// Appends a chosen token to a sequence.
    pub fn append(&mut self, id: Id, token: u32) {
        if let Some(state) = self.running.get_mut(&id) {
            state.sequence.tokens.push(token);
        }
    }

    /// Ends a sequence, whether it waits or runs.
    pub fn remove(&mut self, id: Id) {
        self.waiting.remove(&id);
        self.stop(id);
    }
}

/// Positions that may come from pages of others: whole pages before the first wanted logits.
fn sharable(size: usize, sequence: &Sequence) -> usize {
    let end = sequence.wanted.min(sequence.tokens.len() - 1);
    end / size * size
}

/// Adds the pages that hold the next tokens of a sequence already; returns their positions.
fn share(pages: &mut Pages, limits: Limits, state: &mut State) -> u64 {
    let size = pages.size();
    let end = sharable(size, &state.sequence);
    let mut shared = 0;
    // What is behind the computed positions must be free of pages of its own.
    while limits.shares
        && state.computed.is_multiple_of(size)
        && state.pages.len() * size == state.computed
        && state.computed + size <= end
    {
        let tokens = &state.sequence.tokens[state.computed..state.computed + size];
        let Some((page, prefix)) = pages.share(state.prefix, tokens) else {
            break;
        };
        state.pages.push(page);
        state.prefix = prefix;
        state.computed += size;
        shared += size as u64;
    }
    shared
}
