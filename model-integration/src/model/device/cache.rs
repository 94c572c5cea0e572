//! Packed keys and values of every layer and slot.

use mxlab_harness::device::{Buffer, Device, DeviceError};
use mxlab_kernels::format::BlockFormat;
use mxlab_kernels::fragment::cache::CacheFormat;
use mxlab_kernels::kernel::Slice;

use crate::model::{LlamaError, Sequence};

/// Keys and values in the device's memory.
pub struct DeviceCache {
    /// Keys and values of each layer.
    layers: Vec<[Rows; 2]>,
    /// Capacity in positions, over all slots.
    positions: usize,
    slots: usize,
    capacity: usize,
    /// Positions at the beginning of a sequence that are not quantised.
    first: usize,
    /// Rows of such positions, over all slots.
    exact_rows: usize,
}

/// Codes and scales of all keys, or all values, of a layer; and the rows of first positions beside
/// codes.
struct Rows {
    codes: Buffer,
    scales: Option<Buffer>,
    exact: Option<Buffer>,
}

/// Keys or values of one layer.
#[derive(Clone, Copy)]
pub(super) struct CacheRows<'a> {
    /// [`CacheFormat::row_bytes`] bytes for each of [slots, kv_heads, capacity].
    pub codes: Slice<'a>,
    /// [`CacheFormat::row_scale_bytes`] bytes for each; `None` for bf16.
    pub scales: Option<Slice<'a>>,
    /// The same of bf16 for each of [slots, kv_heads, exact], of a packed cache with such rows.
    pub exact: Option<Slice<'a>>,
}

/// Positions that are kept as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExactRows {
    /// Positions at the beginning of each sequence.
    pub first: usize,
    /// Rows for such positions, over all sequences.
    pub rows: usize,
}

/// Bytes of codes and of scales per position.
pub(super) fn position_bytes(
    format: Option<&BlockFormat>,
    kv_heads: usize,
    head_dim: usize,
) -> [usize; 2] {
    let cache = CacheFormat::new(format);
    [cache.row_bytes(head_dim), cache.row_scale_bytes(head_dim)].map(|bytes| kv_heads * bytes)
}

impl DeviceCache {
    /// Room for `positions` positions, and for those that are kept as they are; `formats` has the
    /// formats of each layer's keys and values.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        device: &Device,
        formats: &[[Option<BlockFormat>; 2]],
        [kv_heads, head_dim]: [usize; 2],
        positions: usize,
        exact: ExactRows,
    ) -> Result<Self, DeviceError> {
        let rows = |name: &str, format: &Option<BlockFormat>| -> Result<Rows, DeviceError> {
            let [codes, scales] =
                position_bytes(format.as_ref(), kv_heads, head_dim).map(|bytes| positions * bytes);
            let scales = (scales > 0).then(|| device.allocate(&format!("{name} (scales)"), scales));
            let [row, _] = position_bytes(None, kv_heads, head_dim);
            let exact = format.filter(|_| exact.rows > 0).map(|_| {
                let name = format!("{name} (first positions)");
                device.allocate(&name, exact.rows * row)
            });
            Ok(Rows {
                codes: device.allocate(name, codes)?,
                scales: scales.transpose()?,
                exact: exact.transpose()?,
            })
        };
        let layers = formats.iter().enumerate();
        let layers = layers.map(|(layer, [keys, values])| {
            Ok([
                rows(&format!("keys of layer {layer}"), keys)?,
                rows(&format!("values of layer {layer}"), values)?,
            ])
        });
        Ok(Self {
            layers: layers.collect::<Result<_, DeviceError>>()?,
            positions,
            slots: 0,
            capacity: 0,
            first: exact.first,
            exact_rows: exact.rows,
        })
    }

    /// Empties the cache and divides it into `slots` sequences of `capacity` positions.
    ///
    /// # Errors
    /// [`LlamaError::CacheFull`] if they do not fit.
    pub fn divide(&mut self, slots: usize, capacity: usize) -> Result<(), LlamaError> {
        if !self.fits(slots, capacity) {
            return Err(LlamaError::CacheFull {
                positions: capacity,
                capacity: self.positions / slots.max(1),
            });
        }
        (self.slots, self.capacity) = (slots, capacity);
        Ok(())
    }

    /// Whether there is room for `slots` sequences of `capacity` positions.
    pub fn fits(&self, slots: usize, capacity: usize) -> bool {
        slots * capacity <= self.positions && slots * self.first.min(capacity) <= self.exact_rows
    }

    /// Positions at the beginning of a slot that are not quantised.
    pub fn exact(&self) -> usize {
        self.first.min(self.capacity)
    }

    /// Number of sequences.
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Positions per sequence.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        let rows = self.layers.iter().flatten();
        rows.map(|rows| {
            let others = [&rows.scales, &rows.exact].into_iter().flatten();
            rows.codes.bytes() + others.map(Buffer::bytes).sum::<usize>()
        })
        .sum()
    }

    pub(super) fn check(&self, sequences: &[Sequence]) -> Result<(), LlamaError> {
        for sequence in sequences {
            if sequence.end() > self.capacity || sequence.slot >= self.slots {
                return Err(LlamaError::CacheFull {
                    positions: sequence.end(),
                    capacity: self.capacity,
                });
            }
        }
        Ok(())
    }

    /// Keys and values of a layer.
    pub(super) fn layer(&self, layer: usize) -> [CacheRows<'_>; 2] {
        let [keys, values] = &self.layers[layer];
        [keys, values].map(|rows| CacheRows {
            codes: Slice::whole(&rows.codes),
            scales: rows.scales.as_ref().map(Slice::whole),
            exact: rows.exact.as_ref().map(Slice::whole),
        })
    }
}
