//! Running a kernel of a block operation on a problem.

use super::problems::WORKSPACE;
use super::sizes::{Sizes, View};
use super::{BlockKernel, BlockOperands, BlockOperation, BlockVariant};
use crate::launch::{Dense, Slice};
use crate::registry::{
    ElementType, EntryError, Image, Outputs, Prepared, Problem, Runner, Task, UNTOUCHED, download,
};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A kernel of a block operation on a device.
pub(super) struct BlockRunner {
    pub variant: BlockVariant,
    pub device: Device,
    pub kernel: BlockKernel,
}

impl Runner for BlockRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let (variant, sizes) = (&self.variant, Sizes::of(problem)?);
        let (format, operation) = (variant.format(), variant.operation());
        let input = |is_read: bool, name| is_read.then(|| Image::of(problem, name)).transpose();
        let src = input(variant.reads_dense(), "src")?;
        let (tensor_scale, workspace) = match operation {
            BlockOperation::TensorScale => (
                Some(Image::untouched("tensor_scale", 4)),
                Some(Image::new("workspace", WORKSPACE.to_vec())),
            ),
            _ => (input(variant.reads_tensor_scale(), "tensor_scale")?, None),
        };
        let (code_bytes, _) = format.packed_bytes(sizes.rows, sizes.cols);
        let blocks = sizes.rows * format.blocks_per_row(sizes.cols);
        let codes = match operation {
            BlockOperation::Dequantize => {
                let mut bytes = vec![UNTOUCHED; sizes.codes_offset];
                bytes.extend(problem.tensor("codes")?.to_bytes());
                Some(Image::new("codes", bytes))
            }
            _ => {
                let bytes = sizes.codes_offset + code_bytes;
                let is_written = variant.writes_codes();
                is_written.then(|| Image::untouched("codes", bytes))
            }
        };
        let scales = match operation.reads_scales() {
            true => Some(Image::of(problem, "scales")?),
            false => {
                let bytes = blocks * format.scale().storage_bytes();
                let is_written = operation.stores_scales();
                is_written.then(|| Image::untouched("scales", bytes))
            }
        };
        let dst_bytes = sizes.len(sizes.dst) * variant.dense().bytes();
        let has_dst = variant.writes_dense() && !sizes.is_in_place;
        let dst = has_dst.then(|| Image::untouched("dst", dst_bytes));
        Ok(Prepared::new(move || {
            let upload = |image: &Option<Image>| {
                let image = image.as_ref();
                image.map(|image| image.upload(&self.device)).transpose()
            };
            Ok(BlockTask {
                variant: self.variant,
                kernel: self.kernel.clone(),
                sizes,
                src: upload(&src)?,
                dst: upload(&dst)?,
                codes: upload(&codes)?,
                scales: upload(&scales)?,
                tensor_scale: upload(&tensor_scale)?,
                workspace: upload(&workspace)?,
            })
        }))
    }
}

/// A kernel of a block operation and its buffers.
struct BlockTask {
    variant: BlockVariant,
    kernel: BlockKernel,
    sizes: Sizes,
    src: Option<Buffer>,
    /// Where it is another buffer than src.
    dst: Option<Buffer>,
    codes: Option<Buffer>,
    scales: Option<Buffer>,
    tensor_scale: Option<Buffer>,
    workspace: Option<Buffer>,
}

impl BlockTask {
    /// The dense tensor that is written.
    const fn written(&self) -> Option<&Buffer> {
        match self.sizes.is_in_place {
            true => self.src.as_ref(),
            false => self.dst.as_ref(),
        }
    }
}

impl Task for BlockTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let (sizes, width) = (&self.sizes, self.variant.dense().bytes());
        let view = |buffer, view: View| Dense {
            first: Slice {
                buffer,
                offset: view.offset * width,
            },
            stride: view.stride,
        };
        let codes = self.codes.as_ref().map(|buffer| Slice {
            buffer,
            offset: sizes.codes_offset,
        });
        let operands = BlockOperands {
            rows: sizes.rows,
            cols: sizes.cols,
            src: self.src.as_ref().map(|buffer| view(buffer, sizes.src)),
            dst: self.written().map(|buffer| view(buffer, sizes.dst)),
            codes,
            scales: self.scales.as_ref().map(Slice::whole),
            tensor_scale: self.tensor_scale.as_ref(),
            workspace: self.workspace.as_ref(),
            first_row: sizes.first_row,
            seed: sizes.seed,
            max_blocks: sizes.max_blocks,
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        let (variant, operation) = (&self.variant, self.variant.operation());
        let scale =
            (operation == BlockOperation::TensorScale).then_some(self.tensor_scale.as_ref());
        let codes = variant.writes_codes().then_some(self.codes.as_ref());
        let scales = operation.stores_scales().then_some(self.scales.as_ref());
        // In place there is no other buffer than src.
        let written = [scale, codes, scales, Some(self.dst.as_ref())];
        written.into_iter().flatten().flatten().collect()
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let (variant, mut outputs) = (&self.variant, Outputs::new());
        if let (Some(workspace), Some(scale)) = (&self.workspace, &self.tensor_scale) {
            outputs.insert("tensor_scale", download(scale, ElementType::F32)?);
            outputs.insert("workspace", download(workspace, ElementType::F32)?);
        }
        if let (true, Some(codes)) = (variant.writes_codes(), &self.codes) {
            outputs.insert("codes", download(codes, ElementType::U8)?);
        }
        if let (true, Some(scales)) = (variant.operation().stores_scales(), &self.scales) {
            outputs.insert("scales", download(scales, variant.scale_element())?);
        }
        if let (true, Some(dst)) = (variant.writes_dense(), self.written()) {
            outputs.insert("dst", download(dst, variant.dense().into())?);
        }
        Ok(outputs)
    }
}
