//! Weights of several matrices as one matrix, so that one launch computes all their products.

use crate::family::matmul::Weights;
use crate::fragment::{TILE, WeightFormat};
use crate::kernel::Slice;
use mxlab_harness::device::{Buffer, Device, DeviceError};

/// The tiles of one matrix in a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// The first.
    pub first: usize,
    /// Tiles of other matrices after each.
    pub skip: usize,
}

impl Tiles {
    /// All from the first on.
    pub const ALL: Self = Self { first: 0, skip: 0 };
}

/// Weights that are yet to be put in place, matrix by matrix.
#[derive(Debug)]
pub struct Stack {
    name: String,
    format: WeightFormat,
    shape: [usize; 2],
    codes: Buffer,
    scales: Option<Buffer>,
    alphas: Vec<f32>,
}

impl Stack {
    /// Room for weights [rows, cols] of all matrices; `name` is what reports call them.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        device: &Device,
        name: &str,
        format: WeightFormat,
        [rows, cols]: [usize; 2],
    ) -> Result<Self, DeviceError> {
        let (codes, scales) = format.bytes(rows, cols);
        let scales = match format {
            WeightFormat::Dense => None,
            WeightFormat::Packed(_) => Some(device.allocate(&format!("{name} (scales)"), scales)?),
        };
        Ok(Self {
            name: name.to_owned(),
            format,
            shape: [rows, cols],
            codes: device.allocate(name, codes)?,
            scales,
            alphas: vec![0.0; rows.div_ceil(TILE)],
        })
    }

    /// The weights, when all matrices are in place.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn weights(self, device: &Device) -> Result<Weights, DeviceError> {
        let alphas = device.upload(&format!("{} (alphas)", self.name), &self.alphas)?;
        let Self {
            format,
            shape,
            codes,
            scales,
            ..
        } = self;
        Ok(Weights::of_parts(format, shape, codes, scales, alphas))
    }

    /// How they lie.
    pub const fn format(&self) -> &WeightFormat {
        &self.format
    }

    /// Where codes of tile `first` begin.
    pub(super) fn codes(&self, first: usize) -> Slice<'_> {
        self.tile(&self.codes, first)
    }

    /// Where scales of tile `first` begin; bf16 has none.
    pub(super) fn scales(&self, first: usize) -> Option<Slice<'_>> {
        let scales = self.scales.as_ref();
        scales.map(|scales| self.tile(scales, first))
    }

    fn tile<'a>(&self, buffer: &'a Buffer, first: usize) -> Slice<'a> {
        let tile_bytes = buffer.bytes() / self.alphas.len().max(1);
        Slice {
            buffer,
            offset: first * tile_bytes,
        }
    }

    /// Sets the factor of results for the tiles of a matrix with `rows` rows.
    pub(super) fn set_alpha(&mut self, tiles: Tiles, rows: usize, alpha: f32) {
        let alphas = self.alphas.iter_mut().skip(tiles.first);
        let alphas = alphas.step_by(tiles.skip + 1).take(rows.div_ceil(TILE));
        alphas.for_each(|place| *place = alpha);
    }
}
