//! Large copies through pinned memory.

use super::{Buffer, Device, Pinned, Result, Stream};

/// The default bytes of a lane: long enough to hide the start of a copy.
const LANE_BYTES: usize = 8 << 20;

/// Copies large data in pieces through two lanes of pinned memory: while the device copies one,
/// the host fills or empties the other.
///
/// The copies run beside launches on other streams: those that use the buffer must have ended.
#[derive(Debug)]
pub struct Staging {
    lanes: [Lane; 2],
    bytes: usize,
}

#[derive(Debug)]
struct Lane {
    stream: Stream,
    memory: Pinned,
}

impl Staging {
    /// Two lanes of 8 MiB.
    ///
    /// # Errors
    /// As [`Device::pinned`] and [`Device::stream`].
    pub fn new(device: &Device) -> Result<Self> {
        Self::with_lanes_of(device, LANE_BYTES)
    }

    /// Two lanes of `bytes`, at least one.
    ///
    /// # Errors
    /// As [`Staging::new`].
    pub fn with_lanes_of(device: &Device, bytes: usize) -> Result<Self> {
        let bytes = bytes.max(1);
        let lane = || -> Result<Lane> {
            Ok(Lane {
                stream: device.stream()?,
                memory: device.pinned(bytes)?,
            })
        };
        Ok(Self {
            lanes: [lane()?, lane()?],
            bytes,
        })
    }

    /// Copies host data to byte `offset` of a buffer and waits.
    ///
    /// # Errors
    /// As [`Buffer::write`].
    pub fn write<T: bytemuck::NoUninit>(
        &mut self,
        buffer: &Buffer,
        offset: usize,
        data: &[T],
    ) -> Result<()> {
        buffer.check(offset, size_of_val(data))?;
        let data: &[u8] = bytemuck::cast_slice(data);
        let pieces = data.chunks_exact(self.bytes);
        let (tail, tail_offset) = (pieces.remainder(), data.len() - pieces.remainder().len());
        for (i, piece) in pieces.enumerate() {
            let lane = &mut self.lanes[i % 2];
            lane.stream.synchronize()?;
            lane.memory.bytes()?.copy_from_slice(piece);
            let at = offset + i * self.bytes;
            lane.stream.copy_in(buffer, at, &lane.memory)?;
        }
        for lane in &self.lanes {
            lane.stream.synchronize()?;
        }
        buffer.write(offset + tail_offset, tail)
    }

    /// Copies from byte `offset` of a buffer on to the host.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn read<T: bytemuck::Pod>(
        &mut self,
        buffer: &Buffer,
        offset: usize,
        data: &mut [T],
    ) -> Result<()> {
        buffer.check(offset, size_of_val(data))?;
        let data: &mut [u8] = bytemuck::cast_slice_mut(data);
        let whole = data.len() / self.bytes * self.bytes;
        let (pieces, tail) = data.split_at_mut(whole);
        let count = whole / self.bytes;
        // Piece `i` is begun two pieces before it is needed.
        for i in 0..count.min(2) {
            self.begin_read(buffer, offset, i)?;
        }
        for (i, piece) in pieces.chunks_exact_mut(self.bytes).enumerate() {
            let lane = &mut self.lanes[i % 2];
            lane.stream.synchronize()?;
            piece.copy_from_slice(lane.memory.bytes()?);
            if i + 2 < count {
                self.begin_read(buffer, offset, i + 2)?;
            }
        }
        buffer.read(offset + whole, tail)
    }

    fn begin_read(&self, buffer: &Buffer, offset: usize, i: usize) -> Result<()> {
        let lane = &self.lanes[i % 2];
        let at = offset + i * self.bytes;
        lane.stream.copy_out(buffer, at, &lane.memory)
    }
}
