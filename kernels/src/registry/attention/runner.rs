//! Running attention on a problem.

use super::{Sequence, Side, Sizes};
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::launch::{AttentionKernel, AttentionOperands, Cache, Dense, Slice, Split};
use crate::ptx::{AttentionRegime, AttentionVariant};
use crate::registry::task::{Image, download};
use crate::registry::{
    ElementType, EntryError, Outputs, Prepared, Problem, ProblemError, Runner, Task,
};
use mxlab_harness::device::{Buffer, Device, Stream};

/// An attention kernel on a device.
pub(super) struct AttentionRunner {
    pub variant: AttentionVariant,
    pub device: Device,
    pub kernel: AttentionKernel,
}

impl Side {
    /// The rows as they lie in the cache.
    fn stored(&self, problem: &Problem, head_dim: usize) -> Result<Vec<u8>, ProblemError> {
        let tensor = problem.tensor(self.codes)?;
        let mut bytes = Vec::new();
        for row in tensor.bits.chunks(head_dim) {
            let mut row = row.to_vec();
            row.resize(head_dim.next_multiple_of(RUN), 0);
            match self.format {
                CacheFormat::Dense => {
                    bytes.extend(row.iter().flat_map(|&bits| (bits as u16).to_le_bytes()));
                }
                CacheFormat::Packed { element, .. } => {
                    let codes: Vec<u8> = row.iter().map(|&code| code as u8).collect();
                    let words = StoredBits::of(element).store(element, &codes).into_iter();
                    bytes.extend(words.flat_map(u32::to_le_bytes));
                }
            }
        }
        Ok(bytes)
    }
}

impl Runner for AttentionRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let sizes = Sizes::of(problem)?;
        let all = Sequence::all(problem)?;
        let (sequences, longest) = (all.len(), all.iter().map(|s| s.tokens).max().unwrap_or(0));
        let src = Image::of(problem, "src")?;
        let table = Image::of(problem, "sequences")?;
        let dst = Image::untouched("dst", 2 * sizes.dst_len());
        let cache = |side: Side| -> Result<_, EntryError> {
            let codes = Image::new(side.codes, side.stored(problem, sizes.head_dim)?);
            let scales = match side.format {
                CacheFormat::Dense => None,
                CacheFormat::Packed { .. } => Some(Image::of(problem, side.scales)?),
            };
            Ok((codes, scales))
        };
        let [keys, values] = self.variant.sides().map(cache);
        let (keys, values) = (keys?, values?);
        let blocks = self
            .variant
            .blocks(sequences, longest, sizes.kv_heads, sizes.group);
        let sums = blocks * sizes.splits * self.variant.partial_bytes();
        let is_split = self.variant.regime() == AttentionRegime::Decode;
        let split = is_split.then(|| {
            let arrivals = Image::new("arrivals", vec![0; 4 * blocks.max(1)]);
            [Image::untouched("workspace", sums.max(16)), arrivals]
        });
        Ok(Prepared::new(move || {
            let upload = |image: &Image| image.upload(&self.device);
            let cache = |(codes, scales): &(Image, Option<Image>)| {
                let scales = scales.as_ref().map(upload).transpose()?;
                Ok::<_, EntryError>((upload(codes)?, scales))
            };
            let split = split.as_ref().map(|[workspace, arrivals]| {
                Ok::<_, EntryError>([upload(workspace)?, upload(arrivals)?])
            });
            Ok(AttentionTask {
                kernel: self.kernel.clone(),
                sizes,
                sequences,
                longest,
                src: upload(&src)?,
                table: upload(&table)?,
                dst: upload(&dst)?,
                keys: cache(&keys)?,
                values: cache(&values)?,
                split: split.transpose()?,
            })
        }))
    }
}

/// An attention kernel and its buffers.
struct AttentionTask {
    kernel: AttentionKernel,
    sizes: Sizes,
    sequences: usize,
    /// Tokens of the longest.
    longest: usize,
    src: Buffer,
    table: Buffer,
    dst: Buffer,
    /// Codes and scales.
    keys: (Buffer, Option<Buffer>),
    values: (Buffer, Option<Buffer>),
    /// Workspace and arrivals.
    split: Option<[Buffer; 2]>,
}

impl Task for AttentionTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        fn cache((codes, scales): &(Buffer, Option<Buffer>)) -> Cache<'_> {
            Cache {
                codes: Slice::whole(codes),
                scales: scales.as_ref().map(Slice::whole),
            }
        }
        let sizes = self.sizes;
        let split = self.split.as_ref().map(|[workspace, arrivals]| Split {
            parts: sizes.splits,
            workspace,
            arrivals,
        });
        let operands = AttentionOperands {
            sequences: self.sequences,
            longest: self.longest,
            tokens: sizes.tokens,
            kv_heads: sizes.kv_heads,
            group: sizes.group,
            head_dim: sizes.head_dim,
            scale: sizes.scale,
            src: Slice::whole(&self.src),
            dst: Dense {
                first: Slice::whole(&self.dst),
                stride: sizes.dst_stride,
            },
            slots: sizes.slots,
            capacity: sizes.capacity,
            keys: cache(&self.keys),
            values: cache(&self.values),
            table: Slice::whole(&self.table),
            split,
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        vec![&self.dst]
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        let mut outputs = Outputs::from([("dst", download(&self.dst, ElementType::Bf16)?)]);
        if let Some([_, arrivals]) = &self.split {
            outputs.insert("arrivals", download(arrivals, ElementType::U32)?);
        }
        Ok(outputs)
    }
}
