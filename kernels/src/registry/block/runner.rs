//! Running a kernel of a block family on a problem.

use super::WORKSPACE;
use super::sizes::{Sizes, View};
use crate::launch::{BlockKernel, BlockOperands, Dense, Slice};
use crate::ptx::{Family, Variant};
use crate::registry::{ElementType, EntryError, Outputs, Problem, Runner, Tensor, UNTOUCHED};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A kernel of a block family on a device.
pub(super) struct BlockRunner {
    pub variant: Variant,
    pub device: Device,
    pub kernel: BlockKernel,
}

impl BlockRunner {
    /// A buffer that holds nothing yet, of `bytes` bytes.
    fn untouched(&self, name: &'static str, bytes: usize) -> Result<Buffer, EntryError> {
        Ok(self.device.upload(name, &vec![UNTOUCHED; bytes])?)
    }

    fn input(&self, problem: &Problem, name: &'static str) -> Result<Buffer, EntryError> {
        let tensor = problem.tensor(name)?;
        Ok(self.device.upload(name, &tensor.to_bytes())?)
    }

    fn output(&self, buffer: &Buffer, element: ElementType) -> Result<Tensor, EntryError> {
        Ok(Tensor::from_bytes(element, &buffer.download::<u8>()?))
    }
}

impl Runner for BlockRunner {
    fn run(&self, stream: &Stream, problem: &Problem) -> Result<Outputs, EntryError> {
        let (variant, sizes) = (&self.variant, Sizes::of(problem)?);
        let format = variant.format();
        let dense = ElementType::from(variant.dense());
        let input = |is_read: bool, name| is_read.then(|| self.input(problem, name)).transpose();
        let src = input(variant.reads_dense(), "src")?;
        let (tensor_scale, workspace) = match variant.family() {
            Family::TensorScale => {
                let workspace = self.device.upload("workspace", &WORKSPACE)?;
                (Some(self.untouched("tensor_scale", 4)?), Some(workspace))
            }
            _ => (input(variant.reads_tensor_scale(), "tensor_scale")?, None),
        };
        let (code_bytes, _) = format.packed_bytes(sizes.rows, sizes.cols);
        let blocks = sizes.rows * format.blocks_per_row(sizes.cols);
        let scale_bytes = blocks * format.scale().storage_bytes();
        let codes = match variant.family() {
            Family::Dequantize => {
                let mut bytes = vec![UNTOUCHED; sizes.codes_offset];
                bytes.extend(problem.tensor("codes")?.to_bytes());
                Some(self.device.upload("codes", &bytes)?)
            }
            _ if variant.writes_codes() => {
                Some(self.untouched("codes", sizes.codes_offset + code_bytes)?)
            }
            _ => None,
        };
        let scales = match variant.family().reads_scales() {
            true => Some(self.input(problem, "scales")?),
            false if variant.family().stores_scales() => {
                Some(self.untouched("scales", scale_bytes)?)
            }
            false => None,
        };
        let dst = (variant.writes_dense() && !sizes.is_in_place)
            .then(|| self.untouched("dst", sizes.len(sizes.dst) * dense.bytes()))
            .transpose()?;
        let written = if sizes.is_in_place { &src } else { &dst };
        let view = |buffer, view: View| Dense {
            first: Slice {
                buffer,
                offset: view.offset * dense.bytes(),
            },
            stride: view.stride,
        };
        let slice = |buffer, offset| Slice { buffer, offset };
        let operands = BlockOperands {
            rows: sizes.rows,
            cols: sizes.cols,
            src: src.as_ref().map(|buffer| view(buffer, sizes.src)),
            dst: written.as_ref().map(|buffer| view(buffer, sizes.dst)),
            codes: codes
                .as_ref()
                .map(|buffer| slice(buffer, sizes.codes_offset)),
            scales: scales.as_ref().map(|buffer| slice(buffer, 0)),
            tensor_scale: tensor_scale.as_ref(),
            workspace: workspace.as_ref(),
            first_row: sizes.first_row,
            seed: sizes.seed,
            max_blocks: sizes.max_blocks,
        };
        self.kernel.launch(stream, &operands)?;
        stream.synchronize()?;
        let mut outputs = Outputs::new();
        if let (Some(workspace), Some(scale)) = (&workspace, &tensor_scale) {
            outputs.insert("tensor_scale", self.output(scale, ElementType::F32)?);
            outputs.insert("workspace", self.output(workspace, ElementType::F32)?);
        }
        if let (true, Some(codes)) = (variant.writes_codes(), &codes) {
            outputs.insert("codes", self.output(codes, ElementType::U8)?);
        }
        if let (true, Some(scales)) = (variant.family().stores_scales(), &scales) {
            outputs.insert("scales", self.output(scales, variant.scale_element())?);
        }
        if let (true, Some(dst)) = (variant.writes_dense(), written) {
            outputs.insert("dst", self.output(dst, dense)?);
        }
        Ok(outputs)
    }
}
