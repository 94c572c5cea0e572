//! How many thread blocks share the work of one.

use mxlab_harness::device::Properties;

/// Multiprocessors assumed for a device that does not report them.
const MULTIPROCESSORS: usize = 4;
/// Approximate thread blocks for each multiprocessor that a product or attention is split into.
/// Some kernels run one at a time there, some more.
const BLOCKS: usize = 2;
/// Approximate bytes of the sums of a thread block: 128 rows by 64 tokens. Blocks with larger sums
/// are fewer.
const SUMS: usize = 4 * 128 * 64;

/// Thread blocks that fill a device.
pub fn thread_blocks(properties: &Properties) -> usize {
    let multiprocessors = properties.multiprocessors;
    BLOCKS * multiprocessors.map_or(MULTIPROCESSORS, |n| n as usize)
}

/// The resources for thread blocks that share work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLimits {
    /// Thread blocks that fill the device.
    pub thread_blocks: usize,
    /// Bytes of their sums.
    pub workspace: usize,
    /// Thread blocks whose work may be shared.
    pub arrivals: usize,
}

impl SplitLimits {
    /// The limits of a device that `thread_blocks` thread blocks fill.
    pub const fn new(thread_blocks: usize) -> Self {
        Self {
            thread_blocks,
            workspace: 2 * thread_blocks * SUMS,
            arrivals: 2 * thread_blocks,
        }
    }

    /// How many thread blocks share the work of each of `blocks`, so that each gets at least one of
    /// its `pieces`.
    pub(crate) fn parts(&self, blocks: usize, pieces: usize, part_bytes: usize) -> usize {
        let parts = (self.thread_blocks / blocks.max(1)).clamp(1, pieces.max(1));
        let room = self.workspace / (blocks * part_bytes).max(1);
        match blocks <= self.arrivals {
            true => parts.min(room.max(1)),
            false => 1,
        }
    }
}
