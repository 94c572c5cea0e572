//! Keys and values of earlier positions, as attention reads them.

use crate::model::{LlamaError, Sequence};

/// Dequantised keys and values of every layer and slot; or nothing, for sequences that pass through
/// the model in one piece.
pub struct Cache {
    layers: Vec<Layer>,
    /// Positions per slot.
    capacity: usize,
    /// Positions of each slot that are filled in the last layer.
    cached: Vec<usize>,
}

/// `[slots, capacity, features]` each.
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// A cache that keeps nothing.
    pub fn none() -> Self {
        Self::new(0, 0, 0, 0)
    }

    /// Room for `capacity` positions in each of `slots`. A position has `features` keys, and as
    /// many values, in every layer.
    pub fn new(layers: usize, slots: usize, capacity: usize, features: usize) -> Self {
        let empty = || vec![0.0; slots * capacity * features];
        let layer = |_| Layer {
            keys: empty(),
            values: empty(),
        };
        Self {
            layers: (0..layers).map(layer).collect(),
            capacity,
            cached: vec![0; slots],
        }
    }

    /// Appends keys and values of a layer, and returns those of each whole sequence. They start at
    /// index 0 of the slices.
    ///
    /// # Errors
    /// `CacheFull` and `NotCached`; the layer is unchanged then.
    pub(super) fn append<'a>(
        &'a mut self,
        layer: usize,
        sequences: &[Sequence],
        [keys, values]: [&'a [f32]; 2],
    ) -> Result<Vec<[&'a [f32]; 2]>, LlamaError> {
        for sequence in sequences {
            self.check(sequence)?;
        }
        let tokens: usize = sequences.iter().map(|sequence| sequence.length).sum();
        let features = keys.len() / tokens.max(1);
        let mut start = 0;
        let mut own = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let end = start + sequence.length * features;
            own.push([&keys[start..end], &values[start..end]]);
            start = end;
        }
        if self.layers.is_empty() {
            return Ok(own);
        }
        let is_last = layer + 1 == self.layers.len();
        let at = |slot: usize, position: usize| (slot * self.capacity + position) * features;
        let kept = &mut self.layers[layer];
        for (sequence, [keys, values]) in sequences.iter().zip(own) {
            let to = at(sequence.slot, sequence.past)..at(sequence.slot, sequence.end());
            kept.keys[to.clone()].copy_from_slice(keys);
            kept.values[to].copy_from_slice(values);
            if is_last {
                self.cached[sequence.slot] = sequence.end();
            }
        }
        let whole = |sequence: &Sequence| {
            let at = at(sequence.slot, 0);
            [&kept.keys[at..], &kept.values[at..]]
        };
        Ok(sequences.iter().map(whole).collect())
    }

    /// Checks that a sequence continues at the end of its slot or before it, and fits.
    fn check(&self, sequence: &Sequence) -> Result<(), LlamaError> {
        let (past, positions) = (sequence.past, sequence.end());
        let (capacity, keeps) = (self.capacity, !self.layers.is_empty());
        let cached = if keeps { self.cached[sequence.slot] } else { 0 };
        if past > cached {
            return Err(LlamaError::NotCached { past, cached });
        }
        if keeps && positions > capacity {
            return Err(LlamaError::CacheFull {
                positions,
                capacity,
            });
        }
        Ok(())
    }
}
