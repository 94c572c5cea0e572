//! Running a matmul kernel on a problem.

use super::problems::Sizes;
use super::{MatmulKernel, MatmulOperands, MatmulVariant, SourceScales, Split, Weights};
use crate::fragment::TILE;
use crate::launch::{Dense, Slice};
use crate::registry::{
    ElementType, EntryError, Image, Outputs, Prepared, Problem, Runner, Task, Tensor, download,
};
use mxlab_harness::device::{Buffer, Device, Stream};

/// A matmul kernel on a device.
pub(super) struct MatmulRunner {
    pub variant: MatmulVariant,
    pub device: Device,
    pub kernel: MatmulKernel,
}

impl Runner for MatmulRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let sizes = Sizes::of(problem)?;
        self.variant.check_rows(sizes.rows)?;
        let matrices = self.variant.matrices().iter();
        let fragments = matrices.map(|&matrix| self.variant.fragments(matrix, &sizes, problem));
        let fragments = fragments.collect::<Result<Vec<_>, _>>()?;
        let fragments = match fragments.as_slice() {
            [gate, up] => gate.in_turns(up),
            whole => whole[0].clone(),
        };
        let given = |name| -> Result<Option<Image>, EntryError> {
            let is_there = problem.tensors.contains_key(name);
            Ok(is_there.then(|| Image::of(problem, name)).transpose()?)
        };
        let src = Image::of(problem, "src")?;
        let (bias, residual) = (self.bias(problem)?, given("residual")?);
        let src_scales = match given("src_scales")? {
            None => None,
            Some(scales) => {
                let factor = problem.tensor("src_factor")?.values()[0];
                Some((scales, problem.size("src_scales_stride")?, factor))
            }
        };
        let is_in_place = sizes.is_in_place && residual.is_some();
        let output = ElementType::from(self.variant.output().float_type());
        let (dst, residual) = match residual {
            Some(residual) if is_in_place => (residual, None),
            residual => {
                let dst = Image::untouched("dst", sizes.dst_len() * output.bytes());
                (dst, residual)
            }
        };
        let blocks = self.variant.blocks(fragments.rows, sizes.tokens);
        let sums = blocks * sizes.parts * self.variant.sums_bytes();
        let split = (sizes.parts > 1).then(|| {
            let arrivals = Image::new("arrivals", vec![0; 4 * blocks]);
            [Image::untouched("workspace", sums), arrivals]
        });
        Ok(Prepared::new(move || {
            let upload = |image: &Image| image.upload(&self.device);
            let split = split.as_ref().map(|[workspace, arrivals]| {
                Ok::<_, EntryError>([upload(workspace)?, upload(arrivals)?])
            });
            let src_scales = src_scales.as_ref().map(|(scales, stride, factor)| {
                Ok::<_, EntryError>(ScalesBuffer {
                    scales: upload(scales)?,
                    stride: *stride,
                    factor: *factor,
                })
            });
            Ok(MatmulTask {
                kernel: self.kernel.clone(),
                sizes,
                output,
                is_in_place,
                weights: Weights::upload(&self.device, "weights", &fragments)?,
                src: upload(&src)?,
                src_scales: src_scales.transpose()?,
                dst: upload(&dst)?,
                bias: bias.as_ref().map(upload).transpose()?,
                residual: residual.as_ref().map(upload).transpose()?,
                split: split.transpose()?,
            })
        }))
    }
}

impl MatmulRunner {
    /// The bias as rows of W are: those of two matrices 16 by 16 in turns.
    fn bias(&self, problem: &Problem) -> Result<Option<Image>, EntryError> {
        let matrices = self.variant.matrices().iter();
        let tensors = matrices.filter_map(|matrix| problem.tensors.get(&matrix.name("bias")));
        let tensors: Vec<&Tensor> = tensors.collect();
        Ok(match tensors.as_slice() {
            [] => None,
            [whole] => Some(Image::new("bias", whole.to_bytes())),
            [gate, up, ..] => {
                let tiles = gate.bits.chunks(TILE).zip(up.bits.chunks(TILE));
                let bits = tiles.flat_map(|(gate, up)| [gate, up].concat()).collect();
                let element = gate.element;
                Some(Image::new("bias", Tensor { element, bits }.to_bytes()))
            }
        })
    }
}

/// Scales of x, blocks `stride` elements apart, and what all are multiplied by.
struct ScalesBuffer {
    scales: Buffer,
    stride: usize,
    factor: f32,
}

/// A matmul kernel and its buffers.
struct MatmulTask {
    kernel: MatmulKernel,
    sizes: Sizes,
    /// What y is of.
    output: ElementType,
    /// Whether the residual is y.
    is_in_place: bool,
    weights: Weights,
    src: Buffer,
    /// Of x of 8 bits.
    src_scales: Option<ScalesBuffer>,
    dst: Buffer,
    bias: Option<Buffer>,
    /// Where it is another buffer than y.
    residual: Option<Buffer>,
    /// Workspace and arrivals.
    split: Option<[Buffer; 2]>,
}

impl Task for MatmulTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let residual = self.residual.as_ref();
        let split = self.split.as_ref().map(|[workspace, arrivals]| Split {
            parts: self.sizes.parts,
            workspace,
            arrivals,
        });
        let src_scales = self.src_scales.as_ref().map(|source| SourceScales {
            scales: Dense {
                first: Slice::whole(&source.scales),
                stride: source.stride,
            },
            factor: source.factor,
        });
        let operands = MatmulOperands {
            src_scales,
            weights: &self.weights,
            tokens: self.sizes.tokens,
            src: Dense {
                first: Slice::whole(&self.src),
                stride: self.sizes.src_stride,
            },
            dst: Dense {
                first: Slice::whole(&self.dst),
                stride: self.sizes.dst_stride,
            },
            bias: self.bias.as_ref().map(Slice::whole),
            residual: residual
                .or(self.is_in_place.then_some(&self.dst))
                .map(Slice::whole),
            split,
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        let is_written = (!self.is_in_place).then_some(&self.dst);
        is_written.into_iter().collect()
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let mut outputs = Outputs::from([("dst", download(&self.dst, self.output)?)]);
        if let Some([_, arrivals]) = &self.split {
            outputs.insert("arrivals", download(arrivals, ElementType::U32)?);
        }
        Ok(outputs)
    }
}
