//! How many thread blocks share the chunks of a product.

use super::MatmulVariant;
use crate::fragment::CHUNK;
use crate::kernel::SplitLimits;

/// Chunks that a thread block of a split product has at least.
const SPLIT_CHUNKS: usize = 4;

impl MatmulVariant {
    /// The size `parts` for weights [rows, cols].
    pub fn parts(&self, limits: &SplitLimits, [rows, cols]: [usize; 2], tokens: usize) -> usize {
        match self.regime().splits() {
            true => {
                let pieces = cols.div_ceil(CHUNK) / SPLIT_CHUNKS;
                limits.parts(self.blocks(rows, tokens), pieces, self.sums_bytes())
            }
            false => 1,
        }
    }
}
