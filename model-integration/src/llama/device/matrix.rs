//! Weights on a device: in fragment order for products, row after row for looking up.

use half::bf16;
use mxlab_harness::device::{Buffer, Device, Stream};
use mxlab_kernels::format::{BlockFormat, FloatType};
use mxlab_kernels::fragment::{FragmentError, FragmentFormat, WeightFormat};
use mxlab_kernels::launch::{Dense, PackedOperand, ShuffleError, Slice, Weights};

use super::kernels::Kernels;
use super::plan::Storage;
use crate::checkpoint::TensorView;
use crate::llama::LlamaError;
use crate::llama::load::Role;

/// A matrix [rows, cols].
pub struct DeviceMatrix {
    /// bf16, row after row.
    pub(super) table: Option<Buffer>,
    /// In fragment order.
    pub(super) weights: Option<Weights>,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// Bytes that a matrix takes.
///
/// # Errors
/// If tensor cores do not take the format.
pub(super) fn bytes(
    [rows, cols]: [usize; 2],
    role: Role,
    format: Option<&BlockFormat>,
) -> Result<usize, FragmentError> {
    let table = match role {
        Role::Embedding | Role::EmbeddingAndHead => 2 * rows * cols,
        Role::Product => 0,
    };
    let weights = match role {
        Role::Embedding => 0,
        Role::EmbeddingAndHead | Role::Product => {
            let format = format.map(FragmentFormat::new).transpose()?;
            let format = format.map_or(WeightFormat::Dense, WeightFormat::Packed);
            let (codes, scales) = format.bytes(rows, cols);
            codes + scales
        }
    };
    Ok(table + weights)
}

impl DeviceMatrix {
    /// Copies a tensor to a device, packs it there if it has a format, and brings it into fragment
    /// order if it is multiplied by.
    ///
    /// # Errors
    /// If no kernel takes the format, or there is no room.
    pub(super) fn load(
        device: &Device,
        stream: &Stream,
        kernels: &Kernels,
        view: &TensorView,
        role: Role,
        format: Option<(&BlockFormat, Storage)>,
    ) -> Result<Self, LlamaError> {
        let (rows, cols) = (view.shape()[0], view.shape()[1]);
        let name = view.name();
        let table = match view.dtype() {
            FloatType::Bf16 => device.upload(name, view.bytes())?,
            FloatType::F32 | FloatType::F16 => {
                let table = device.allocate(name, 2 * rows * cols)?;
                let mut row = vec![0.0; cols];
                for index in 0..rows {
                    view.read_f32(index * cols..(index + 1) * cols, &mut row);
                    let bits: Vec<u16> = row.iter().map(|&x| bf16::from_f32(x).to_bits()).collect();
                    table.write(2 * index * cols, &bits)?;
                }
                table
            }
        };
        let src = Dense {
            first: Slice {
                buffer: &table,
                offset: 0,
            },
            stride: cols,
        };
        let order = || -> Result<Weights, ShuffleError> {
            let dense = || {
                kernels
                    .shuffle(None)?
                    .dense(stream, name, [rows, cols], src)
            };
            let Some((format, storage)) = format else {
                return dense();
            };
            let packer = kernels.packer(*format)?;
            let packed = packer.pack(stream, src, [rows, cols])?;
            if storage == Storage::Fake {
                packer.unpack(stream, &packed, src, [rows, cols])?;
                return dense();
            }
            let shuffle = kernels.shuffle(Some(*format))?;
            let whole = |buffer| Slice { buffer, offset: 0 };
            let operand = PackedOperand {
                rows,
                cols,
                codes: whole(&packed.codes),
                scales: whole(&packed.scales),
                tensor_scale: Some(whole(&packed.tensor_scale)),
            };
            shuffle.packed(stream, name, &operand)
        };
        let weights = match role {
            Role::Embedding => None,
            Role::EmbeddingAndHead | Role::Product => {
                Some(order().map_err(|error| LlamaError::Weight {
                    tensor: name.to_owned(),
                    error,
                })?)
            }
        };
        Ok(Self {
            table: (role != Role::Product).then_some(table),
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
