//! How many thread blocks share the work of one.

use crate::family::attention::{AttentionRegime, AttentionVariant};
use crate::family::matmul::MatmulVariant;
use crate::fragment::CHUNK;
use mxlab_harness::device::Properties;

/// Multiprocessors of a device that does not say.
const MULTIPROCESSORS: usize = 4;
/// Thread blocks, for each multiprocessor, that a product or attention is split into, about: some
/// kernels run one there at once, some more.
const BLOCKS: usize = 2;
/// Bytes of sums of a thread block, about: 128 rows and 64 tokens. Of larger ones there are fewer.
const SUMS: usize = 4 * 128 * 64;
/// Keys that a thread block of a split attention has at least.
const SPLIT_KEYS: usize = 256;
/// Chunks that a thread block of a split product has at least.
const SPLIT_CHUNKS: usize = 4;

/// Thread blocks that fill a device.
pub fn thread_blocks(properties: &Properties) -> usize {
    let multiprocessors = properties.multiprocessors;
    BLOCKS * multiprocessors.map_or(MULTIPROCESSORS, |n| n as usize)
}

/// What there is for thread blocks that share work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLimits {
    /// Thread blocks that fill the device.
    pub thread_blocks: usize,
    /// Bytes of their sums.
    pub workspace: usize,
    /// Thread blocks whose work others share.
    pub arrivals: usize,
}

impl SplitLimits {
    /// For a device that so many thread blocks fill.
    pub const fn new(thread_blocks: usize) -> Self {
        Self {
            thread_blocks,
            workspace: 2 * thread_blocks * SUMS,
            arrivals: 2 * thread_blocks,
        }
    }

    /// How many thread blocks share the chunks of a product with weights [rows, cols].
    pub fn matmul(
        &self,
        variant: &MatmulVariant,
        [rows, cols]: [usize; 2],
        tokens: usize,
    ) -> usize {
        match variant.regime().splits() {
            true => {
                let pieces = cols.div_ceil(CHUNK) / SPLIT_CHUNKS;
                self.parts(variant.blocks(rows, tokens), pieces, variant.sums_bytes())
            }
            false => 1,
        }
    }

    /// How many thread blocks share the keys of `blocks`, see [`AttentionVariant::blocks`], in a cache of
    /// `capacity` positions.
    pub fn attention(&self, variant: &AttentionVariant, blocks: usize, capacity: usize) -> usize {
        match variant.regime() {
            AttentionRegime::Decode => {
                let pieces = capacity.div_ceil(SPLIT_KEYS);
                self.parts(blocks, pieces, variant.partial_bytes())
            }
            AttentionRegime::Prefill => 1,
        }
    }

    /// How many thread blocks share the work of each of so many, with at least one of `pieces` each.
    fn parts(&self, blocks: usize, pieces: usize, part_bytes: usize) -> usize {
        let parts = (self.thread_blocks / blocks.max(1)).clamp(1, pieces.max(1));
        let room = self.workspace / (blocks * part_bytes).max(1);
        match blocks <= self.arrivals {
            true => parts.min(room.max(1)),
            false => 1,
        }
    }
}
