//! Keys and values of earlier positions, packed as the configuration says, in pages.
//!
//! A page holds [`PAGE`] consecutive positions of a sequence, in every layer. The table of a slot
//! names the pages of its sequence in order. Sequences that begin alike may share pages: who fills
//! tables sees to it that a page is written for one sequence alone.

use mxlab_kernels::cpu::{Lines, PAGE, Paged};

use super::Cpu;
use super::kept_rows::KeptRows;
use super::pages::{Pages, stride};
use super::recent_keys::RecentKeys;
use crate::model::buffer::Buffer;
use crate::model::{Batch, Llama, LlamaError, Sequence};

/// Keys and values of every layer; or nothing, for sequences that pass through the model in one
/// piece.
pub struct Cache {
    layers: Vec<Layer>,
    kv_heads: usize,
    head_dim: usize,
    /// Positions at the beginning of a sequence that are not packed.
    first: usize,
    slots: Vec<Slot>,
}

/// `[pages, kv_heads, PAGE]` rows each.
struct Layer {
    keys: KeptRows,
    values: KeptRows,
    recent: RecentKeys,
}

/// The sequence in a slot.
#[derive(Clone, Default)]
struct Slot {
    pages: Vec<u32>,
    /// Positions that are filled in the last layer.
    cached: usize,
}

/// Keys, or values.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Keys,
    Values,
}

impl Cache {
    /// A cache that keeps nothing.
    pub fn none() -> Self {
        Self {
            layers: Vec::new(),
            kv_heads: 0,
            head_dim: 0,
            first: 0,
            slots: Vec::new(),
        }
    }

    /// `pages` pages, and `slots` slots without pages.
    ///
    /// # Errors
    /// If a format does not exist for the model's arithmetic.
    pub fn paged(
        engine: &Cpu,
        llama: &Llama<Cpu>,
        slots: usize,
        pages: usize,
    ) -> Result<Self, LlamaError> {
        let (kv_heads, head_dim) = (llama.kv_heads, llama.head_dim);
        let pages = pages * kv_heads;
        let layers = llama.layers.iter().map(|layer| {
            let rows = |holds: Lines, format: &Option<_>| {
                KeptRows::new(pages, head_dim, holds, format.as_ref(), engine.dtype())
            };
            Ok(Layer {
                keys: rows(Lines::Columns, &layer.keys)?,
                values: rows(Lines::Rows, &layer.values)?,
                recent: RecentKeys::new(
                    layer.keys.map_or(0, |_| llama.key_recent),
                    [kv_heads, head_dim],
                    slots,
                    engine.dtype(),
                ),
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_, LlamaError>>()?,
            kv_heads,
            head_dim,
            first: llama.kv_first,
            slots: vec![Slot::default(); slots],
        })
    }

    /// Writes to all memory of the pages, which are not in use, so that it is there from now on.
    ///
    /// # Errors
    /// If a row cannot be written.
    pub fn occupy(&mut self) -> Result<(), LlamaError> {
        self.layers.iter_mut().try_for_each(|layer| {
            layer.keys.occupy()?;
            layer.values.occupy()
        })
    }

    /// Room for `capacity` positions in each of `slots`.
    ///
    /// # Errors
    /// As [`Cache::paged`].
    pub fn divided(
        engine: &Cpu,
        llama: &Llama<Cpu>,
        slots: usize,
        capacity: usize,
    ) -> Result<Self, LlamaError> {
        let each = capacity.div_ceil(PAGE);
        let mut cache = Self::paged(engine, llama, slots, slots * each)?;
        for slot in 0..slots {
            let pages = slot * each..(slot + 1) * each;
            cache.assign(slot, pages.map(|page| page as u32), 0);
        }
        Ok(cache)
    }

    /// Gives `pages` to a slot. They hold the first `cached` positions of its sequence.
    pub fn assign(&mut self, slot: usize, pages: impl IntoIterator<Item = u32>, cached: usize) {
        let slot = &mut self.slots[slot];
        slot.pages.clear();
        slot.pages.extend(pages);
        slot.cached = cached;
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter();
        layers
            .map(|layer| layer.keys.bytes() + layer.values.bytes() + layer.recent.bytes())
            .sum()
    }

    pub(super) fn keeps_nothing(&self) -> bool {
        self.layers.is_empty()
    }

    /// Checks that each sequence of a batch continues at the end of its slot or before it, and
    /// fits.
    ///
    /// # Errors
    /// `CacheFull` and `NotCached`.
    pub(super) fn check(&self, batch: &Batch) -> Result<(), LlamaError> {
        for sequence in &batch.sequences {
            let (past, positions) = (sequence.past, sequence.end());
            let slot = self.slots.get(sequence.slot);
            let cached = slot.map_or(0, |slot| slot.cached);
            if past > cached {
                return Err(LlamaError::NotCached { past, cached });
            }
            let capacity = slot.map_or(0, |slot| slot.pages.len() * PAGE);
            if !self.keeps_nothing() && positions > capacity {
                return Err(LlamaError::CacheFull {
                    positions,
                    capacity,
                });
            }
        }
        Ok(())
    }

    /// Appends the batch's keys and values of a layer, of which each head is a row.
    ///
    /// # Errors
    /// As [`Cache::check`], and `NotRecent`; the layer is unchanged then.
    pub(super) fn append(
        &mut self,
        layer: usize,
        batch: &Batch,
        [keys, values]: [&[f32]; 2],
    ) -> Result<(), LlamaError> {
        self.check(batch)?;
        let (kv_heads, head_dim, first) = (self.kv_heads, self.head_dim, self.first);
        let is_last = layer + 1 == self.layers.len();
        let kept = &mut self.layers[layer];
        for sequence in &batch.sequences {
            kept.recent.check(sequence)?;
        }
        let mut rows = keys
            .chunks_exact(head_dim)
            .zip(values.chunks_exact(head_dim));
        for sequence in &batch.sequences {
            let slot = &mut self.slots[sequence.slot];
            kept.recent.begin(sequence);
            for position in sequence.past..sequence.end() {
                let page = slot.pages[position / PAGE] as usize;
                for (head, (key, value)) in rows.by_ref().take(kv_heads).enumerate() {
                    let at = (page * kv_heads + head) * PAGE + position % PAGE;
                    let number = position * kv_heads + head;
                    kept.recent.keep(sequence.slot, head, position, key);
                    for (kept, row) in [(&mut kept.keys, key), (&mut kept.values, value)] {
                        match position < first {
                            true => kept.write_exact(at, row)?,
                            false => kept.write(at, row, number)?,
                        }
                    }
                }
            }
            if is_last {
                slot.cached = sequence.end();
            }
        }
        Ok(())
    }

    /// Exact keys of a head that queries of a sequence see, and the position of the first; `None`
    /// if they see none.
    pub(super) fn recent(
        &self,
        layer: usize,
        sequence: &Sequence,
        head: usize,
    ) -> Option<(Pages<'static>, usize)> {
        self.layers[layer].recent.pages(sequence, head)
    }

    /// Forgets the exact keys that no query behind a batch sees.
    pub(super) fn forget_old(&mut self, layer: usize, batch: &Batch) {
        if let Some(layer) = self.layers.get_mut(layer) {
            for sequence in &batch.sequences {
                layer.recent.end(sequence);
            }
        }
    }

    /// Keys or values of a head of a sequence.
    pub(super) fn pages(
        &self,
        (layer, part): (usize, Part),
        sequence: &Sequence,
        head: usize,
    ) -> Pages<'_> {
        let (kept, holds) = match part {
            Part::Keys => (&self.layers[layer].keys, Lines::Columns),
            Part::Values => (&self.layers[layer].values, Lines::Rows),
        };
        let size = PAGE * self.head_dim;
        let table = &self.slots[sequence.slot].pages[..sequence.end().div_ceil(PAGE)];
        if let Some(values) = kept.values() {
            return Pages::Kept(Paged {
                values,
                first: head * size,
                page_stride: self.kv_heads * size,
                stride: stride(holds, self.head_dim),
                table: Some(table),
                holds,
            });
        }
        let mut values = Buffer::of_any_values(table.len() * size);
        for (&page, out) in table.iter().zip(values.chunks_exact_mut(size)) {
            kept.read(page as usize * self.kv_heads + head, out);
        }
        Pages::Read {
            values,
            head_dim: self.head_dim,
            holds,
        }
    }
}
