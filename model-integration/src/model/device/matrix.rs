//! Weights on a device: in fragment order for products, in row order for lookups.

use half::bf16;
use mxlab_harness::device::{Buffer, Device, DeviceError, Stream};
use mxlab_kernels::family::matmul::Weights;
use mxlab_kernels::family::shuffle::{PackedOperand, ShuffleError, Stack, Tiles};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor};
use mxlab_kernels::fragment::{FragmentError, OperandType, TILE, WeightFormat};
use mxlab_kernels::kernel::{Dense, Slice};

use super::input::weight_format;
use super::kernels::Kernels;
use super::plan::Storage;
use crate::checkpoint::TensorView;
use crate::description::parameters::Usage;
use crate::model::LlamaError;

/// A matrix [rows, cols].
pub struct DeviceMatrix {
    /// bf16 in row order.
    pub(super) table: Option<Buffer>,
    /// In fragment order.
    pub(super) weights: Option<Weights>,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// Bytes of a matrix.
///
/// # Errors
/// If tensor cores do not support the format.
pub(super) fn bytes(
    [rows, cols]: [usize; 2],
    usage: Usage,
    format: Option<&BlockFormat>,
    operand: OperandType,
) -> Result<usize, FragmentError> {
    let table = match usage {
        Usage::Lookup | Usage::LookupAndProduct => 2 * rows * cols,
        Usage::Product => 0,
    };
    let weights = match usage {
        Usage::Lookup => 0,
        Usage::LookupAndProduct | Usage::Product => {
            let format = weight_format(format, operand)?;
            let (codes, scales) = format.bytes(rows, cols);
            codes + scales + 4 * rows.div_ceil(TILE)
        }
    };
    Ok(table + weights)
}

/// Puts tensors on a device.
pub(super) struct Loader<'a> {
    pub device: &'a Device,
    pub stream: &'a Stream,
    pub kernels: &'a Kernels,
    /// How quantised tensors are stored.
    pub storage: Storage,
}

impl Loader<'_> {
    /// A copy of a tensor in bf16, in row order.
    ///
    /// # Errors
    /// If there is no room.
    pub fn table(&self, view: &TensorView) -> Result<Buffer, DeviceError> {
        let (rows, cols) = (view.shape()[0], view.shape()[1]);
        match (view.dtype(), view.bytes()) {
            (Some(FloatType::Bf16), Some(bytes)) => self.device.upload(view.name(), bytes),
            _ => {
                let table = self.device.allocate(view.name(), 2 * rows * cols)?;
                let mut row = vec![0.0; cols];
                for index in 0..rows {
                    view.read_f32(index * cols..(index + 1) * cols, &mut row);
                    let bits: Vec<u16> = row.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
                    table.write(2 * index * cols, &bits)?;
                }
                Ok(table)
            }
        }
    }

    /// Allocates fragments for matrices of a format, with [rows, cols] in total, to be multiplied
    /// as `operand`.
    ///
    /// # Errors
    /// If no kernel supports the format, or there is no room.
    pub fn stack(
        &self,
        name: &str,
        shape: [usize; 2],
        format: Option<&BlockFormat>,
        operand: OperandType,
    ) -> Result<Stack, ShuffleError> {
        let format = weight_format(self.storage.keeps(format), operand)?;
        let shuffle = self.kernels.shuffle(format)?;
        Ok(shuffle.stack(name, shape)?)
    }

    /// Packs a tensor, if it has a format, and brings it into fragment order in tiles of a stack.
    /// `table` is its copy, if there is one. A tensor that is stored in this format is taken as
    /// stored.
    ///
    /// # Errors
    /// If no kernel supports the format, or there is no room.
    pub fn put(
        &self,
        stack: &mut Stack,
        tiles: Tiles,
        view: &TensorView,
        table: Option<&Buffer>,
        format: Option<&BlockFormat>,
    ) -> Result<(), ShuffleError> {
        let stored = format.and_then(|format| view.packed(format));
        match (stored, format) {
            (Some(stored), Some(_)) if self.storage.is_packed() => {
                self.put_stored(stack, tiles, &stored)
            }
            // Stored codes are exact.
            (Some(_), _) => self.put_copy(stack, tiles, view, table, None),
            (None, _) => self.put_copy(stack, tiles, view, table, format),
        }
    }

    fn put_stored(
        &self,
        stack: &mut Stack,
        tiles: Tiles,
        packed: &PackedTensor,
    ) -> Result<(), ShuffleError> {
        let codes = self.device.upload("codes", packed.codes())?;
        let scales = self.device.upload("scales", packed.scales())?;
        let tensor_scale = [packed.tensor_scale()];
        let tensor_scale = self.device.upload("tensor scale", &tensor_scale)?;
        let operand = PackedOperand {
            rows: packed.rows(),
            cols: packed.cols(),
            codes: Slice::whole(&codes),
            scales: Slice::whole(&scales),
            tensor_scale: Some(Slice::whole(&tensor_scale)),
        };
        let shuffle = self.kernels.shuffle(*stack.format())?;
        shuffle.put_packed(self.stream, stack, tiles, &operand)
    }

    /// Copies the tensor in bf16 first. If it is not kept packed, the copy becomes the values of
    /// its codes.
    fn put_copy(
        &self,
        stack: &mut Stack,
        tiles: Tiles,
        view: &TensorView,
        table: Option<&Buffer>,
        format: Option<&BlockFormat>,
    ) -> Result<(), ShuffleError> {
        let (rows, cols) = (view.shape()[0], view.shape()[1]);
        let (stream, kernels) = (self.stream, self.kernels);
        let own;
        let table = match table {
            Some(table) => table,
            None => {
                own = self.table(view)?;
                &own
            }
        };
        let src = Dense {
            first: Slice::whole(table),
            stride: cols,
        };
        let dense = |stack: &mut Stack| {
            let shuffle = kernels.shuffle(WeightFormat::Dense)?;
            shuffle.put_dense(stream, stack, tiles, [rows, cols], src)
        };
        let Some(&format) = format else {
            return dense(stack);
        };
        let packer = kernels.packer(format)?;
        let packed = packer.pack(stream, src, [rows, cols])?;
        if !self.storage.is_packed() {
            packer.unpack(stream, &packed, src, [rows, cols])?;
            return dense(stack);
        }
        let operand = PackedOperand {
            rows,
            cols,
            codes: Slice::whole(&packed.codes),
            scales: Slice::whole(&packed.scales),
            tensor_scale: Some(Slice::whole(&packed.tensor_scale)),
        };
        let shuffle = kernels.shuffle(*stack.format())?;
        shuffle.put_packed(stream, stack, tiles, &operand)
    }
}

impl DeviceMatrix {
    /// Copies a tensor to a device, packs it if it has a format, and brings it into fragment order
    /// for `operand` if it is multiplied.
    ///
    /// # Errors
    /// If no kernel supports the format, or there is no room.
    pub(super) fn load(
        loader: &Loader,
        view: &TensorView,
        usage: Usage,
        format: Option<&BlockFormat>,
        operand: OperandType,
    ) -> Result<Self, LlamaError> {
        let (rows, cols) = (view.shape()[0], view.shape()[1]);
        let table = match usage {
            Usage::Product => None,
            Usage::Lookup | Usage::LookupAndProduct => Some(loader.table(view)?),
        };
        let order = || -> Result<Weights, ShuffleError> {
            let mut stack = loader.stack(view.name(), [rows, cols], format, operand)?;
            loader.put(&mut stack, Tiles::ALL, view, table.as_ref(), format)?;
            Ok(stack.weights(loader.device)?)
        };
        let weights = match usage {
            Usage::Lookup => None,
            Usage::LookupAndProduct | Usage::Product => {
                Some(order().map_err(|error| LlamaError::Weight {
                    tensor: view.name().to_owned(),
                    error,
                })?)
            }
        };
        Ok(Self {
            table,
            weights,
            rows,
            cols,
        })
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.table.as_ref().map_or(0, Buffer::bytes)
            + self.weights.as_ref().map_or(0, Weights::bytes)
    }
}
