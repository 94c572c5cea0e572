//! Running attention on a problem.

use super::{Sequence, Side, Sizes};
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::launch::{AttentionKernel, AttentionOperands, Cache, Dense, Slice, Split};
use crate::ptx::{AttentionRegime, AttentionVariant};
use crate::registry::{
    ElementType, EntryError, Outputs, Problem, ProblemError, Runner, Tensor, UNTOUCHED,
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

impl AttentionRunner {
    fn upload(&self, problem: &Problem, name: &'static str) -> Result<Buffer, EntryError> {
        Ok(self
            .device
            .upload(name, &problem.tensor(name)?.to_bytes())?)
    }
}

impl Runner for AttentionRunner {
    fn run(&self, stream: &Stream, problem: &Problem) -> Result<Outputs, EntryError> {
        let sizes = Sizes::of(problem)?;
        let sequences = Sequence::all(problem)?;
        let longest = sequences.iter().map(|s| s.tokens).max().unwrap_or(0);
        fn whole(buffer: &Buffer) -> Slice<'_> {
            Slice { buffer, offset: 0 }
        }
        let src = self.upload(problem, "src")?;
        let table = self.upload(problem, "sequences")?;
        let dst = self
            .device
            .upload("dst", &vec![UNTOUCHED; 2 * sizes.dst_len()])?;
        let mut caches = Vec::new();
        for side in self.variant.sides() {
            let codes = self
                .device
                .upload(side.codes, &side.stored(problem, sizes.head_dim)?)?;
            let scales = match side.format {
                CacheFormat::Dense => None,
                CacheFormat::Packed { .. } => Some(self.upload(problem, side.scales)?),
            };
            caches.push((codes, scales));
        }
        let cache = |index: usize| Cache {
            codes: whole(&caches[index].0),
            scales: caches[index].1.as_ref().map(whole),
        };
        let blocks = self
            .kernel
            .blocks(sequences.len(), longest, sizes.kv_heads, sizes.group);
        let is_split = self.variant.regime() == AttentionRegime::Decode;
        let sums = blocks * sizes.splits * self.variant.partial_bytes();
        let workspace = self
            .device
            .upload("workspace", &vec![UNTOUCHED; sums.max(16)])?;
        let arrivals = self.device.upload("arrivals", &vec![0u32; blocks.max(1)])?;
        let operands = AttentionOperands {
            sequences: sequences.len(),
            longest,
            tokens: sizes.tokens,
            kv_heads: sizes.kv_heads,
            group: sizes.group,
            head_dim: sizes.head_dim,
            scale: sizes.scale,
            src: whole(&src),
            dst: Dense {
                first: whole(&dst),
                stride: sizes.dst_stride,
            },
            slots: sizes.slots,
            capacity: sizes.capacity,
            keys: cache(0),
            values: cache(1),
            table: whole(&table),
            split: is_split.then_some(Split {
                parts: sizes.splits,
                workspace: &workspace,
                arrivals: &arrivals,
            }),
        };
        self.kernel.launch(stream, &operands)?;
        stream.synchronize()?;
        let tensor = |element, buffer: &Buffer| -> Result<Tensor, EntryError> {
            Ok(Tensor::from_bytes(element, &buffer.download::<u8>()?))
        };
        let mut outputs = Outputs::from([("dst", tensor(ElementType::Bf16, &dst)?)]);
        if is_split {
            outputs.insert("arrivals", tensor(ElementType::U32, &arrivals)?);
        }
        Ok(outputs)
    }
}
