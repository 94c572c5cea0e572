//! Keys or values in buffers.

use super::Slice;

/// Keys or values of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// [`row_bytes`](crate::fragment::cache::CacheFormat::row_bytes) for each of [slots, kv_heads,
    /// capacity].
    pub codes: Slice<'a>,
    /// [`row_scale_bytes`](crate::fragment::cache::CacheFormat::row_scale_bytes) for each; none of
    /// bf16.
    pub scales: Option<Slice<'a>>,
}
