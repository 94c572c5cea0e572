//! Matrices with a common input, stacked in fragment order.

use half::bf16;
use mxlab_harness::device::Buffer;
use mxlab_kernels::family::matmul::Weights;
use mxlab_kernels::family::shuffle::Tiles;
use mxlab_kernels::format::BlockFormat;
use mxlab_kernels::fragment::{OperandType, TILE};

use super::matrix::Loader;
use crate::checkpoint::TensorView;
use crate::model::LlamaError;
use crate::model::load::{Arrangement, Member};

/// Weights of several matrices that one product multiplies.
pub struct DeviceStack {
    pub(super) weights: Weights,
    /// In the order of the weights' rows.
    pub(super) bias: Option<Buffer>,
    /// Rows of each matrix.
    pub(super) rows: Vec<usize>,
}

/// Whether matrices with these numbers of rows can be stacked: their tiles must be whole.
pub(super) fn is_stacked(mut rows: impl Iterator<Item = usize>) -> bool {
    rows.all(|rows| rows.is_multiple_of(TILE))
}

impl DeviceStack {
    /// Puts matrices on a device, to be multiplied as `operand`; `None` if they cannot be stacked.
    ///
    /// # Errors
    /// If no kernel supports the format, or there is no room.
    pub(super) fn load(
        loader: &Loader,
        members: Vec<Member>,
        arrangement: Arrangement,
        format: Option<&BlockFormat>,
        operand: OperandType,
    ) -> Result<Option<Self>, LlamaError> {
        let weights = members.iter().map(|member| &member.weight);
        let rows: Vec<usize> = weights.clone().map(|weight| weight.shape()[0]).collect();
        if !is_stacked(rows.iter().copied()) {
            return Ok(None);
        }
        let names: Vec<&str> = weights.clone().map(TensorView::name).collect();
        let names = names.join(", ");
        let whole = |error| LlamaError::Weight {
            tensor: names.clone(),
            error,
        };
        let cols = members.first().map_or(0, |member| member.weight.shape()[1]);
        let shape = [rows.iter().sum(), cols];
        let stack = loader.stack(&names, shape, format, operand);
        let mut stack = stack.map_err(whole)?;
        let mut first = 0;
        for (index, weight) in weights.enumerate() {
            let tiles = match arrangement {
                Arrangement::InOrder => Tiles { first, skip: 0 },
                Arrangement::Interleaved => Tiles {
                    first: index,
                    skip: rows.len() - 1,
                },
            };
            first += rows[index] / TILE;
            let put = loader.put(&mut stack, tiles, weight, None, format);
            put.map_err(|error| LlamaError::Weight {
                tensor: weight.name().to_owned(),
                error,
            })?;
        }
        let has_bias = members.iter().any(|member| member.bias.is_some());
        let biases = members.into_iter().zip(&rows);
        let biases = biases.map(|(member, &rows)| member.bias.unwrap_or_else(|| vec![0.0; rows]));
        let biases: Vec<Vec<f32>> = biases.collect();
        let bias = has_bias.then(|| {
            let values = arranged(&biases, arrangement);
            let bits: Vec<u16> = values
                .iter()
                .map(|&x| bf16::from_f32(x).to_bits())
                .collect();
            loader.device.upload(&format!("{names} (biases)"), &bits)
        });
        Ok(Some(Self {
            weights: stack.weights(loader.device)?,
            bias: bias.transpose()?,
            rows,
        }))
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.weights.bytes() + self.bias.as_ref().map_or(0, Buffer::bytes)
    }
}

/// The rows of several matrices, one value each, in the order of the stack.
fn arranged(values: &[Vec<f32>], arrangement: Arrangement) -> Vec<f32> {
    match arrangement {
        Arrangement::InOrder => values.concat(),
        Arrangement::Interleaved => {
            let rows = values.first().map_or(0, Vec::len);
            let tiles = (0..rows).step_by(TILE);
            let turns = tiles.flat_map(|tile| values.iter().map(move |of| &of[tile..tile + TILE]));
            turns.flatten().copied().collect()
        }
    }
}
