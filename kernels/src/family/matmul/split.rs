//! Splits the chunks of a product over thread blocks.

use super::MatmulVariant;
use crate::fragment::CHUNK;
use crate::kernel::SplitLimits;

/// The least chunks of a thread block of a split product.
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
