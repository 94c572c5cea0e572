//! The kernels of block formats: the scale of a tensor, scales of blocks, rounding to given scales,
//! quantising, dequantising, and both in one pass.

mod context;
mod cut;
mod draw;
mod edges;
mod formats;
mod launcher;
mod operands;
mod pack;
mod part;
mod problems;
mod shaped;
mod signature;
mod sizes;
mod target;
mod values;
mod variant;

pub(crate) use crate::support::PTX_BLOCK_SIZES as BLOCK_SIZES;
pub(crate) use context::Context;
pub(crate) use formats::{formats, is_headline, is_usual};
pub use launcher::BlockLauncher;
pub use pack::{PackedBuffers, Packer};
pub use signature::MAX_BLOCKS;
pub use target::Target;
pub use variant::{Addressing, BlockOperation, BlockVariant};

use super::Family;

pub(super) const FAMILY: Family = Family {
    name: "block",
    members: &[
        "tensor_scale",
        "scale",
        "round",
        "quantize",
        "dequantize",
        "fake_quantize",
    ],
    templates: &[
        (
            "block/tensor_scale.ptx.j2",
            include_str!("tensor_scale.ptx.j2"),
        ),
        ("block/scale.ptx.j2", include_str!("scale.ptx.j2")),
        ("block/round.ptx.j2", include_str!("round.ptx.j2")),
        ("block/quantize.ptx.j2", include_str!("quantize.ptx.j2")),
        ("block/dequantize.ptx.j2", include_str!("dequantize.ptx.j2")),
        (
            "block/fake_quantize.ptx.j2",
            include_str!("fake_quantize.ptx.j2"),
        ),
    ],
    kernels: || Box::new(BlockVariant::all().map(|variant| Box::new(variant) as _)),
};
