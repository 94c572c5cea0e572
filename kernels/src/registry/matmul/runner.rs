//! Running a matmul kernel on a problem.

use super::Sizes;
use crate::launch::{Dense, MatmulKernel, MatmulOperands, Slice, SourceScales, Split, Weights};
use crate::ptx::MatmulVariant;
use crate::registry::{ElementType, EntryError, Outputs, Problem, Runner, Tensor, UNTOUCHED};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A matmul kernel on a device.
pub(super) struct MatmulRunner {
    pub variant: MatmulVariant,
    pub device: Device,
    pub kernel: MatmulKernel,
}

impl MatmulRunner {
    fn input(&self, problem: &Problem, name: &'static str) -> Result<Option<Buffer>, EntryError> {
        let tensor = problem.tensors.get(name);
        let upload = |tensor: &Tensor| self.device.upload(name, &tensor.to_bytes());
        Ok(tensor.map(upload).transpose()?)
    }
}

impl Runner for MatmulRunner {
    fn run(&self, stream: &Stream, problem: &Problem) -> Result<Outputs, EntryError> {
        let sizes = Sizes::of(problem)?;
        let fragments = self.variant.fragments(&sizes, problem)?;
        let weights = Weights::upload(&self.device, "weights", &fragments)?;
        let src = self
            .device
            .upload("src", &problem.tensor("src")?.to_bytes())?;
        let bias = self.input(problem, "bias")?;
        let residual = self.input(problem, "residual")?;
        let width = self.variant.output().bytes();
        let dst = match (&residual, sizes.is_in_place) {
            (Some(_), true) => None,
            _ => Some(
                self.device
                    .upload("dst", &vec![UNTOUCHED; sizes.dst_len() * width])?,
            ),
        };
        let written = dst.as_ref().or(residual.as_ref());
        let written = written.expect("one of the two is there");
        fn whole(buffer: &Buffer) -> Slice<'_> {
            Slice { buffer, offset: 0 }
        }
        let shape = self.variant.regime().shape();
        let blocks = sizes.rows.div_ceil(shape.rows() as usize)
            * sizes.tokens.div_ceil(shape.tokens() as usize);
        let sums = blocks * sizes.parts * self.variant.sums_bytes();
        let buffers = (sizes.parts > 1).then(|| -> Result<_, EntryError> {
            let workspace = self.device.upload("workspace", &vec![UNTOUCHED; sums])?;
            Ok((
                workspace,
                self.device.upload("arrivals", &vec![0u32; blocks])?,
            ))
        });
        let buffers = buffers.transpose()?;
        let split = buffers.as_ref().map(|(workspace, arrivals)| Split {
            parts: sizes.parts,
            workspace,
            arrivals,
        });
        let scales = self.input(problem, "src_scales")?;
        let src_scales = scales.as_ref().map(|scales| -> Result<_, EntryError> {
            Ok(SourceScales {
                scales: Dense {
                    first: whole(scales),
                    stride: problem.size("src_scales_stride")?,
                },
                factor: problem.tensor("src_factor")?.values()[0],
            })
        });
        let operands = MatmulOperands {
            split,
            src_scales: src_scales.transpose()?,
            weights: &weights,
            tokens: sizes.tokens,
            src: Dense {
                first: whole(&src),
                stride: sizes.src_stride,
            },
            dst: Dense {
                first: whole(written),
                stride: sizes.dst_stride,
            },
            bias: bias.as_ref().map(whole),
            residual: residual.as_ref().map(whole),
        };
        self.kernel.launch(stream, &operands)?;
        stream.synchronize()?;
        let bytes = written.download::<u8>()?;
        let output = Tensor::from_bytes(self.variant.output().into(), &bytes);
        let mut outputs = Outputs::from([("dst", output)]);
        if let Some((_, arrivals)) = &buffers {
            let bytes = arrivals.download::<u8>()?;
            outputs.insert("arrivals", Tensor::from_bytes(ElementType::U32, &bytes));
        }
        Ok(outputs)
    }
}
