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
}

/// Codes and scales of all keys, or all values, of a layer.
struct Rows {
    codes: Buffer,
    scales: Option<Buffer>,
}

/// Keys or values of one layer.
#[derive(Clone, Copy)]
pub(super) struct CacheRows<'a> {
    /// [`CacheFormat::row_bytes`] bytes for each of [slots, kv_heads, capacity].
    pub codes: Slice<'a>,
    /// [`CacheFormat::row_scale_bytes`] bytes for each; `None` for bf16.
    pub scales: Option<Slice<'a>>,
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
    /// Room for `positions` positions; `formats` has the formats of each layer's keys and values.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        device: &Device,
        formats: &[[Option<BlockFormat>; 2]],
        [kv_heads, head_dim]: [usize; 2],
        positions: usize,
    ) -> Result<Self, DeviceError> {
        let rows = |name: &str, format: &Option<BlockFormat>| -> Result<Rows, DeviceError> {
            let [codes, scales] =
                position_bytes(format.as_ref(), kv_heads, head_dim).map(|bytes| positions * bytes);
            let scales = (scales > 0).then(|| device.allocate(&format!("{name} (scales)"), scales));
            Ok(Rows {
                codes: device.allocate(name, codes)?,
                scales: scales.transpose()?,
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
        })
    }

    /// Empties the cache and divides it into `slots` sequences of `capacity` positions.
    ///
    /// # Errors
    /// [`LlamaError::CacheFull`] if they do not fit.
    pub fn divide(&mut self, slots: usize, capacity: usize) -> Result<(), LlamaError> {
        let each = self.positions / slots.max(1);
        if capacity > each {
            return Err(LlamaError::CacheFull {
                positions: capacity,
                capacity: each,
            });
        }
        (self.slots, self.capacity) = (slots, capacity);
        Ok(())
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
        rows.map(|rows| rows.codes.bytes() + rows.scales.as_ref().map_or(0, Buffer::bytes))
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
            codes: Slice {
                buffer: &rows.codes,
                offset: 0,
            },
            scales: rows
                .scales
                .as_ref()
                .map(|buffer| Slice { buffer, offset: 0 }),
        })
    }
}
