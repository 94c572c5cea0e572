//! Splits the keys of a query over thread blocks.

use super::{AttentionRegime, AttentionVariant};
use crate::kernel::SplitLimits;

/// The least keys of a thread block of a split attention.
const SPLIT_KEYS: usize = 256;

impl AttentionVariant {
    /// The size `splits` for `blocks` [`AttentionVariant::blocks`], in a cache of `capacity`
    /// positions.
    pub fn splits(&self, limits: &SplitLimits, blocks: usize, capacity: usize) -> usize {
        match self.regime() {
            AttentionRegime::Decode => {
                let pieces = capacity.div_ceil(SPLIT_KEYS);
                limits.parts(blocks, pieces, self.partial_bytes())
            }
            AttentionRegime::Prefill => 1,
        }
    }
}
