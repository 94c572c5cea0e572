//! Running an append kernel on a problem.

use crate::fragment::cache::CacheFormat;
use crate::launch::{AppendKernel, AppendOperands, Cache, Dense, Destination, Slice};
use crate::ptx::{AppendVariant, HeadKind};
use crate::registry::task::{Image, download};
use crate::registry::{ElementType, EntryError, Outputs, Prepared, Problem, Runner, Task};
use mxlab_harness::device::{Buffer, Device, Stream};

/// An append kernel on a device.
pub(super) struct AppendRunner {
    pub variant: AppendVariant,
    pub device: Device,
    pub kernel: AppendKernel,
}

impl Runner for AppendRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let size = |name| problem.size(name);
        let head_dim = size("head_dim")?;
        let (rows, cache) = (self.variant.rows(problem)?, self.variant.cache());
        let sizes = Sizes {
            tokens: size("tokens")?,
            heads: size("heads")?,
            head_dim,
            src_stride: size("src_stride")?,
            slots: size("slots")?,
            capacity: size("capacity")?,
            seed: size("seed")? as u32,
        };
        let (src, positions) = (Image::of(problem, "src")?, Image::of(problem, "positions")?);
        let slot_of = Image::of(problem, "slot_of")?;
        let (cos, sin) = (Image::of(problem, "cos")?, Image::of(problem, "sin")?);
        let codes = Image::untouched("codes", rows * cache.row_bytes(head_dim));
        let scales = Image::untouched("scales", rows * cache.row_scale_bytes(head_dim).max(1));
        Ok(Prepared::new(move || {
            let upload = |image: &Image| image.upload(&self.device);
            Ok(AppendTask {
                variant: self.variant,
                kernel: self.kernel.clone(),
                sizes,
                src: upload(&src)?,
                rope: [upload(&cos)?, upload(&sin)?],
                positions: upload(&positions)?,
                slot_of: upload(&slot_of)?,
                codes: upload(&codes)?,
                scales: upload(&scales)?,
            })
        }))
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    heads: usize,
    head_dim: usize,
    src_stride: usize,
    slots: usize,
    capacity: usize,
    seed: u32,
}

/// An append kernel and its buffers.
struct AppendTask {
    variant: AppendVariant,
    kernel: AppendKernel,
    sizes: Sizes,
    src: Buffer,
    /// Cosines and sines.
    rope: [Buffer; 2],
    positions: Buffer,
    slot_of: Buffer,
    codes: Buffer,
    scales: Buffer,
}

impl Task for AppendTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let Sizes {
            slots, capacity, ..
        } = self.sizes;
        let codes = Slice::whole(&self.codes);
        let dst = match self.variant.kind() {
            HeadKind::Queries => Destination::Rows(codes),
            HeadKind::Keys | HeadKind::Values => Destination::Cache {
                cache: Cache {
                    codes,
                    scales: Some(Slice::whole(&self.scales)),
                },
                slot_of: Slice::whole(&self.slot_of),
                slots,
                capacity,
            },
        };
        let operands = AppendOperands {
            tokens: self.sizes.tokens,
            heads: self.sizes.heads,
            head_dim: self.sizes.head_dim,
            src: Dense {
                first: Slice::whole(&self.src),
                stride: self.sizes.src_stride,
            },
            rope: Some(self.rope.each_ref().map(Slice::whole)),
            positions: Slice::whole(&self.positions),
            dst,
            seed: self.sizes.seed,
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        let scales = (self.variant.cache() != CacheFormat::Dense).then_some(&self.scales);
        std::iter::once(&self.codes).chain(scales).collect()
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let stored = download(&self.codes, self.variant.stored())?;
        let mut outputs = Outputs::from([("codes", stored)]);
        if self.variant.cache() != CacheFormat::Dense {
            outputs.insert("scales", download(&self.scales, ElementType::U8)?);
        }
        Ok(outputs)
    }
}
