//! Launcher of attention.

use super::loaded::Loaded;
use super::{Dense, LaunchError, Slice, Split};
use crate::format::pow2;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::ptx::{AttentionRegime, AttentionVariant};
use mxlab_harness::device::{Argument, Device, Geometry, Stream};
use std::f64::consts::LOG2_E;

/// Keys or values of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// [`CacheFormat::row_bytes`] for each of [slots, kv_heads, capacity].
    pub codes: Slice<'a>,
    /// [`CacheFormat::row_scale_bytes`] for each; none of bf16.
    pub scales: Option<Slice<'a>>,
}

/// What attention works on.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOperands<'a> {
    /// Sequences; there are four u32 for each in `table`.
    pub sequences: usize,
    /// The most tokens that one of them has.
    pub longest: usize,
    /// Tokens of all of them.
    pub tokens: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Query heads that share one of them.
    pub group: usize,
    /// Features of a head: even.
    pub head_dim: usize,
    /// What scores are multiplied by before the softmax.
    pub scale: f32,
    /// Queries: bf16 [tokens, heads, head_dim padded to runs of 16].
    pub src: Slice<'a>,
    /// Contexts: bf16 [tokens, heads * head_dim].
    pub dst: Dense<'a>,
    /// Slots of the cache.
    pub slots: usize,
    /// Positions of a slot.
    pub capacity: usize,
    /// Keys.
    pub keys: Cache<'a>,
    /// Values.
    pub values: Cache<'a>,
    /// For each sequence u32 [first token, tokens, slot, position of the first token]: tokens within `tokens`,
    /// slots below `slots`, positions below `capacity`.
    pub table: Slice<'a>,
    /// Thread blocks that share the keys of a query, if more than one; of [`AttentionVariant::partial_bytes`] each.
    pub split: Option<Split<'a>>,
}

/// One kernel, loaded.
#[derive(Clone, Debug)]
pub struct AttentionKernel {
    variant: AttentionVariant,
    loaded: Loaded,
}

impl AttentionKernel {
    /// Renders a kernel and loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device, variant: AttentionVariant) -> Result<Self, LaunchError> {
        Self::of_text(device, variant, &variant.render())
    }

    /// Loads a kernel from a text that stands for [`AttentionVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(
        device: &Device,
        variant: AttentionVariant,
        ptx: &str,
    ) -> Result<Self, LaunchError> {
        let loaded = Loaded::of_text(device, variant.id(), ptx)?;
        Ok(Self { variant, loaded })
    }

    /// Launches it; nothing happens without tokens.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is missing, too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &AttentionOperands) -> Result<(), LaunchError> {
        let AttentionOperands {
            sequences,
            longest,
            tokens,
            kv_heads,
            group,
            head_dim,
            slots,
            capacity,
            dst,
            ..
        } = *operands;
        let loaded = &self.loaded;
        let heads = kv_heads * group;
        if sequences == 0 || longest == 0 || heads == 0 || head_dim == 0 {
            return Ok(());
        }
        if longest > tokens {
            return Err(loaded.layout(format!("{longest} of {tokens} tokens in one sequence")));
        }
        if head_dim % 2 == 1 || head_dim > self.variant.max_head_dim() {
            let most = self.variant.max_head_dim();
            return Err(loaded.layout(format!(
                "heads of {head_dim} features are odd or longer than {most}"
            )));
        }
        if dst.stride < heads * head_dim || dst.stride % 2 == 1 {
            let stride = dst.stride;
            return Err(loaded.layout(format!(
                "rows of dst are {stride} elements apart, an odd number or less than {}",
                heads * head_dim
            )));
        }
        let scale = operands.scale;
        if !(scale.is_finite() && scale > 0.0) {
            // A score of -inf stands for a key that is not seen.
            return Err(loaded.layout(format!("scores are multiplied by {scale}")));
        }
        let splits = operands.split.map_or(1, |split| split.parts.max(1));
        let decodes = self.variant.regime() == AttentionRegime::Decode;
        if splits > 1 && !decodes {
            return Err(loaded.layout("its keys cannot be split".to_owned()));
        }
        let dst_bytes = 2 * ((tokens - 1) * dst.stride + heads * head_dim);
        let src_bytes = 2 * tokens * heads * head_dim.next_multiple_of(RUN);
        let mut arguments = vec![
            loaded.pointer("dst", dst.first, dst_bytes, 4)?,
            loaded.pointer("src", operands.src, src_bytes, 16)?,
        ];
        let rows = slots * kv_heads * capacity;
        loaded.number("rows of the cache", rows)?;
        for (names, cache, format) in [
            (["keys", "key_scales"], operands.keys, self.variant.keys()),
            (
                ["values", "value_scales"],
                operands.values,
                self.variant.values(),
            ),
        ] {
            let bytes = rows * format.row_bytes(head_dim);
            arguments.push(loaded.pointer(names[0], cache.codes, bytes, 16)?);
            arguments.push(match format {
                CacheFormat::Dense => Argument::U64(0),
                CacheFormat::Packed { scale, .. } => {
                    let scales = loaded.required(names[1], cache.scales)?;
                    let bytes = rows * format.row_scale_bytes(head_dim);
                    loaded.pointer(names[1], scales, bytes, scale.storage_bytes())?
                }
            });
        }
        arguments.push(loaded.pointer("sequences", operands.table, 16 * sequences, 16)?);
        let groups = (longest * group).div_ceil(self.variant.block_rows());
        if decodes {
            let split = operands.split.filter(|_| splits > 1);
            let whole = |buffer| Slice { buffer, offset: 0 };
            let blocks = groups * kv_heads * sequences;
            let sums = blocks * splits * self.variant.partial_bytes();
            let (workspace, arrivals) = (
                split.map(|split| whole(split.workspace)),
                split.map(|split| whole(split.arrivals)),
            );
            arguments.push(loaded.optional("workspace", workspace, sums, 16)?);
            arguments.push(loaded.optional("arrivals", arrivals, 4 * blocks, 4)?);
        }
        arguments.extend([
            Argument::F32(score_factor(&self.variant, scale)),
            Argument::F32(pow2(self.variant.values().excess()) as f32),
        ]);
        for n in [kv_heads, group, head_dim, capacity, dst.stride] {
            arguments.push(Argument::U32(loaded.number("elements", n)?));
        }
        if decodes {
            arguments.push(Argument::U32(loaded.number("splits", splits)?));
        }
        let geometry = Geometry {
            grid: [
                loaded.number("tokens", groups)?,
                loaded.number("heads", kv_heads)?,
                loaded.number("sequences", sequences * splits)?,
            ],
            block: [self.variant.block_threads(), 1, 1],
            dynamic_shared: self.variant.shared_bytes(),
        };
        Ok(stream.launch(&loaded.kernel, geometry, &arguments)?)
    }
}

/// What products of queries and the operands made of keys are multiplied by: 2 to the power of the result is
/// e^(scale q k).
pub(crate) fn score_factor(variant: &AttentionVariant, scale: f32) -> f32 {
    (f64::from(scale) * LOG2_E * pow2(variant.keys().excess())) as f32
}
