//! Rows of a packed cache that stay as they are, beside it.

use std::collections::BTreeMap;

use mxlab_kernels::format::FloatType;

/// Rows by their number, in the bytes of the model's type.
pub(super) struct ExactRows {
    dtype: FloatType,
    rows: BTreeMap<usize, Box<[u8]>>,
}

impl ExactRows {
    pub fn new(dtype: FloatType) -> Self {
        Self {
            dtype,
            rows: BTreeMap::new(),
        }
    }

    /// Keeps `x`, values of the model's type, as row `at`.
    pub fn keep(&mut self, at: usize, x: &[f32]) {
        let bytes = self.dtype.bytes();
        let bits = x.iter().map(|&x| self.dtype.to_bits(x).to_le_bytes());
        let row = bits.flat_map(|bits| bits.into_iter().take(bytes));
        self.rows.insert(at, row.collect());
    }

    /// Row `at` is no longer one of these.
    pub fn forget(&mut self, at: usize) {
        if !self.rows.is_empty() {
            self.rows.remove(&at);
        }
    }

    /// Puts the rows among those from row `first` on over `out`, `cols` values each.
    pub fn read(&self, first: usize, cols: usize, out: &mut [f32]) {
        let bytes = self.dtype.bytes();
        for (&at, row) in self.rows.range(first..first + out.len() / cols) {
            let out = &mut out[(at - first) * cols..][..cols];
            for (x, bits) in out.iter_mut().zip(row.chunks_exact(bytes)) {
                let mut whole = [0; 4];
                whole[..bytes].copy_from_slice(bits);
                *x = self.dtype.from_bits(u32::from_le_bytes(whole));
            }
        }
    }

    /// Bytes of the rows.
    pub fn bytes(&self) -> usize {
        self.rows.values().map(|row| row.len()).sum()
    }
}
