//! Keys of the last positions of each sequence, as they are, beside their packed form.

use mxlab_kernels::cpu::PAGE;
use mxlab_kernels::format::FloatType;

use super::exact_rows::ExactRows;
use super::pages::Pages;
use crate::model::buffer::Buffer;
use crate::model::{LlamaError, Sequence};

/// Rows between the first ones of heads: more than positions.
const HEAD: usize = 1 << 40;

/// Of a layer: the keys that the next query of each slot sees exactly, and while a batch is
/// attended those that its first query does.
pub(super) struct RecentKeys {
    /// How many a query sees, its own included; 0 to keep none.
    count: usize,
    heads: usize,
    cols: usize,
    slots: Vec<Slot>,
}

struct Slot {
    rows: ExactRows,
    /// The position behind the last one.
    end: usize,
    /// The first position.
    start: usize,
}

impl RecentKeys {
    pub fn new(count: usize, [heads, cols]: [usize; 2], slots: usize, dtype: FloatType) -> Self {
        let slot = || Slot {
            rows: ExactRows::new(dtype),
            end: 0,
            start: 0,
        };
        let slots = if count == 0 { 0 } else { slots };
        Self {
            count,
            heads,
            cols,
            slots: (0..slots).map(|_| slot()).collect(),
        }
    }

    /// The first position that a query at `position` sees exactly.
    fn oldest(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.count)
    }

    /// Checks that the exact keys before a sequence are there.
    ///
    /// # Errors
    /// `NotRecent`.
    pub fn check(&self, sequence: &Sequence) -> Result<(), LlamaError> {
        let Some(slot) = self.slots.get(sequence.slot) else {
            return Ok(());
        };
        let (past, oldest) = (sequence.past, self.oldest(sequence.past));
        match oldest >= past || (slot.start <= oldest && past <= slot.end) {
            true => Ok(()),
            false => Err(LlamaError::NotRecent {
                past,
                recent: past - oldest,
            }),
        }
    }

    /// Forgets what a sequence no longer has or sees: positions from `past` on, and old ones.
    pub fn begin(&mut self, sequence: &Sequence) {
        self.keep_between(sequence.slot, self.oldest(sequence.past)..sequence.past);
    }

    /// Keeps the key of a head at the position behind the last one, or at the last one.
    pub fn keep(&mut self, slot: usize, head: usize, position: usize, key: &[f32]) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.rows.keep(head * HEAD + position, key);
            slot.end = position + 1;
        }
    }

    /// Forgets what queries behind a sequence do not see.
    pub fn end(&mut self, sequence: &Sequence) {
        let end = sequence.end();
        self.keep_between(sequence.slot, self.oldest(end)..end);
    }

    fn keep_between(&mut self, slot: usize, kept: std::ops::Range<usize>) {
        let heads = self.heads;
        let Some(slot) = self.slots.get_mut(slot) else {
            return;
        };
        let old = slot.start..slot.end;
        for position in old.filter(|position| !kept.contains(position)) {
            for head in 0..heads {
                slot.rows.forget(head * HEAD + position);
            }
        }
        (slot.start, slot.end) = (kept.start, kept.end);
    }

    /// The keys of a head that a sequence's queries see, by feature, and the position of the first
    /// page.
    pub fn pages(&self, sequence: &Sequence, head: usize) -> Option<(Pages<'static>, usize)> {
        let slot = self.slots.get(sequence.slot)?;
        let from = self.oldest(sequence.past) / PAGE * PAGE;
        let positions = sequence.end() - from;
        let mut rows = Buffer::of_any_values(positions * self.cols);
        rows.fill(0.0);
        slot.rows.read(head * HEAD + from, self.cols, &mut rows);
        Some((Pages::of_keys(&rows, positions, self.cols, self.cols), from))
    }

    /// Bytes of the keys.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.rows.bytes()).sum()
    }
}
