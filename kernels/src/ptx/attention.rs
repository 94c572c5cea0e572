//! The attention kernels: queries against a cache of keys and values, packed or bf16.

use super::VariantError;
use super::codes::{Codes, pair_of};
use super::render::render_template;
use crate::format::{BlockFormat, ElementFormat, ScaleFormat};
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use serde::Serialize;
use std::fmt;

/// Warps of a thread block.
const WARPS: usize = 4;
/// Features that a warp has at a time: a run in each of four lanes.
const CHUNK: usize = 4 * RUN;

/// What lengths a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionRegime {
    /// Few queries: the warps of a thread block, and thread blocks, share the keys of 8 queries.
    Decode,
    /// Many: each warp has queries of its own.
    Prefill,
}

impl AttentionRegime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Decode, Self::Prefill];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }
}

/// One kernel: what keys and values are stored as, for heads of at most so many features, and how many queries.
///
/// A *row* is a query: one head of one token. A key head is asked by the rows [tokens, group] of its sequence,
/// `group` being the query heads that share it.
///
/// # Launch
/// Blocks of [`AttentionVariant::block_threads`]; a grid of [`AttentionVariant::block_rows`] by key heads by sequences (times splits). Parameters:
/// dst, src, keys, key_scales, values, value_scales, sequences, \[workspace, arrivals\] (u64); score_factor, value_factor
/// (f32); kv_heads, group, head_dim, capacity, dst_stride, \[splits\] (u32); those in brackets in [`AttentionRegime::Decode`].
///
/// src is bf16 [token, head, head_dim padded to runs of 16 with zeros]; dst bf16 [token, head * head_dim], `dst_stride` apart.
/// Keys and values are as [`crate::fragment::cache`] has them. `sequences` has four u32 each: its first token's
/// row in src and dst, its tokens, its slot in the cache, and the position of its first token. The keys and values
/// of its tokens are in the cache already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionVariant {
    keys: CacheFormat,
    values: CacheFormat,
    regime: AttentionRegime,
    /// Chunks of a head: 1 or 2.
    chunks: usize,
}

/// What the template knows as `v`.
#[derive(Serialize)]
struct AttentionContext {
    id: String,
    description: String,
    splits: bool,
    /// Thread blocks that a multiprocessor must have registers for; `None` leaves it to the assembler.
    min_blocks: Option<u32>,
    warps: usize,
    chunks: usize,
    /// Pairs of features of a query that a thread adds up.
    passes: usize,
    /// Parts of a split that are added at a time.
    parts: usize,
    /// Tiles of 8 queries of a warp.
    query_tiles: usize,
    /// Tiles of 16 keys that a warp has under way at once.
    key_tiles: usize,
    keys: CacheContext,
    values: CacheContext,
    /// Words of keys and values that a lane has under way.
    words: usize,
    has_table: bool,
}

/// What macros know of keys or values.
#[derive(Serialize)]
struct CacheContext {
    /// `k` or `v`, in the names of registers.
    name: &'static str,
    is_dense: bool,
    is_folded: bool,
    #[serde(flatten)]
    codes: Codes,
    /// Words of a run.
    run_words: usize,
    /// The first of its words.
    first_word: usize,
    scale_bytes: usize,
    block_size: usize,
    block_log2: u32,
    /// Makes two bf16 of a scale's code.
    factor_multiplier: u32,
    factor_powers: Vec<u32>,
    /// The scale's code that is NaN, where its fields are not those of a bf16 that is.
    nan_code: Option<u32>,
}

impl AttentionVariant {
    /// The kernel for keys and values in these formats (`None`: bf16) and heads of so many features.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(
        [keys, values]: [Option<&BlockFormat>; 2],
        head_dim: usize,
        regime: AttentionRegime,
    ) -> Result<Self, VariantError> {
        let cache = |format: Option<&BlockFormat>| {
            let cache = CacheFormat::new(format);
            match format {
                Some(&format) if format.has_tensor_scale() => {
                    Err(VariantError::RowScale { format })
                }
                Some(&format) if cache.factor().is_none() => {
                    Err(VariantError::CacheScale { format })
                }
                _ => Ok(cache),
            }
        };
        if head_dim > 2 * CHUNK {
            return Err(VariantError::HeadDim { head_dim });
        }
        Ok(Self {
            keys: cache(keys)?,
            values: cache(values)?,
            regime,
            chunks: head_dim.div_ceil(CHUNK).max(1),
        })
    }

    /// What keys are stored as.
    pub const fn keys(&self) -> &CacheFormat {
        &self.keys
    }

    /// What values are stored as.
    pub const fn values(&self) -> &CacheFormat {
        &self.values
    }

    /// What lengths it is for.
    pub const fn regime(&self) -> AttentionRegime {
        self.regime
    }

    /// The most features of a head.
    pub const fn max_head_dim(&self) -> usize {
        self.chunks * CHUNK
    }

    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        32 * WARPS as u32
    }

    /// Tiles of 8 queries of a warp.
    const fn query_tiles(&self) -> usize {
        match self.regime {
            AttentionRegime::Decode => 1,
            AttentionRegime::Prefill => 2,
        }
    }

    /// Tiles of 16 keys of a warp at a time.
    const fn key_tiles(&self) -> usize {
        2 / self.chunks
    }

    /// Rows of a thread block.
    pub const fn block_rows(&self) -> usize {
        match self.regime {
            AttentionRegime::Decode => 8,
            AttentionRegime::Prefill => WARPS * 8 * self.query_tiles(),
        }
    }

    /// Thread blocks of one part, for sequences of at most `longest` tokens.
    pub const fn blocks(
        &self,
        sequences: usize,
        longest: usize,
        kv_heads: usize,
        group: usize,
    ) -> usize {
        (longest * group).div_ceil(self.block_rows()) * kv_heads * sequences
    }

    /// Keys that a warp takes at a time; a split has whole such steps.
    pub const fn step_keys(&self) -> usize {
        16 * self.key_tiles()
    }

    /// Bytes of the workspace for a thread block and split.
    pub const fn partial_bytes(&self) -> usize {
        // Sums of 8 queries, and the maximum and the weight of each.
        4 * 8 * (self.max_head_dim() + 2)
    }

    /// Thread blocks that a multiprocessor must have registers for, with so many words under way. Without them the
    /// assembler aims at one more and spills, or leaves loads until they are needed.
    fn min_blocks(&self, words: usize) -> Option<u32> {
        match self.regime {
            AttentionRegime::Decode => (self.chunks == 2 && words >= 32).then_some(2),
            AttentionRegime::Prefill if self.chunks == 2 || self.values.bits() == 8 => Some(2),
            AttentionRegime::Prefill => Some(3),
        }
    }

    /// The name of the entry.
    pub fn id(&self) -> String {
        let (regime, dim) = (self.regime.name(), self.max_head_dim());
        let [keys, values] = [&self.keys, &self.values].map(name);
        format!("attention_{regime}_h{dim}_{keys}_{values}__sm80")
    }

    /// Its PTX: one module with one entry, named as [`AttentionVariant::id`] says.
    pub fn render(&self) -> String {
        let key_words = 2 * self.key_tiles() * self.chunks * run_words(&self.keys);
        let value_words = 2 * self.key_tiles() * self.chunks * run_words(&self.values);
        let keys = CacheContext::new("k", &self.keys, 0);
        let values = CacheContext::new("v", &self.values, key_words);
        let [key_name, value_name] = [&self.keys, &self.values].map(name);
        let context = AttentionContext {
            id: self.id(),
            description: format!(
                "keys {key_name}, values {value_name}, heads up to {}",
                self.max_head_dim()
            ),
            splits: self.regime == AttentionRegime::Decode,
            min_blocks: self.min_blocks(key_words + value_words),
            warps: WARPS,
            chunks: self.chunks,
            passes: 8 * self.chunks / WARPS,
            parts: 8 / self.chunks,
            query_tiles: self.query_tiles(),
            key_tiles: self.key_tiles(),
            has_table: keys.codes.is_table() || values.codes.is_table(),
            keys,
            values,
            words: key_words + value_words,
        };
        render_template("attention/attention.ptx.j2", &context)
    }

    /// Every kernel that a registry walks: bf16, and every element with E8M0, UE5M3, UE4M3 and BF16 scales, for keys and
    /// values alike; bf16 and FP8 keys with FP4, FP6 and bf16 values, and FP4 keys with FP8 values.
    pub fn all() -> impl Iterator<Item = Self> {
        let format = |element: ElementFormat, scale: ScaleFormat, k: usize| {
            let format = BlockFormat::new(element).scale(scale).block_size(k);
            format.build().ok()
        };
        let scales = [
            ScaleFormat::E8M0,
            ScaleFormat::UE5M3,
            ScaleFormat::UE4M3,
            ScaleFormat::Bf16,
        ];
        let alike = ElementFormat::ALL.iter().flat_map(move |&element| {
            scales.into_iter().flat_map(move |scale| {
                let ks = super::variant::BLOCK_SIZES.into_iter();
                ks.filter_map(move |k| format(element, scale, k))
                    .map(|format| [Some(format), Some(format)])
            })
        });
        let mx = move |element| format(element, ScaleFormat::E8M0, 32);
        let (fp4, fp6, fp8) = (
            mx(ElementFormat::FP4_E2M1),
            mx(ElementFormat::FP6_E2M3),
            mx(ElementFormat::FP8_E4M3),
        );
        let mixed = [
            [None, None],
            [None, fp4],
            [fp8, fp4],
            [fp8, fp6],
            [fp8, None],
            [fp4, fp8],
        ];
        mixed.into_iter().chain(alike).flat_map(|[keys, values]| {
            [CHUNK, 2 * CHUNK].into_iter().flat_map(move |head_dim| {
                let regimes = AttentionRegime::ALL.into_iter();
                regimes.filter_map(move |regime| {
                    Self::new([keys.as_ref(), values.as_ref()], head_dim, regime).ok()
                })
            })
        })
    }
}

/// Words of a run.
fn run_words(cache: &CacheFormat) -> usize {
    cache.bits() as usize / 2
}

/// The code of a scale that has to be told to be NaN: an infinity times a code of 0 is NaN by itself.
fn nan_code(cache: &CacheFormat) -> Option<u32> {
    let CacheFormat::Packed { element, scale, .. } = cache else {
        return None;
    };
    let is_table = matches!(StoredBits::of(*element), StoredBits::Nibbles(_));
    match scale {
        ScaleFormat::E8M0 { bits: 8 } if !is_table => None,
        ScaleFormat::E8M0 { .. } | ScaleFormat::Unsigned { .. } => Some(scale.nan_code()),
        _ => None,
    }
}

/// A cache's format in names.
fn name(cache: &CacheFormat) -> String {
    match cache {
        CacheFormat::Dense => "bf16".to_owned(),
        CacheFormat::Packed {
            element,
            scale,
            block_size,
        } => format!("{element}_{scale}_k{block_size}"),
    }
}

impl CacheContext {
    fn new(name: &'static str, cache: &CacheFormat, first_word: usize) -> Self {
        let factor = cache.factor();
        let (codes, scale_bytes, block_size) = match cache {
            CacheFormat::Dense => (Codes::default(), 0, RUN),
            CacheFormat::Packed {
                element,
                scale,
                block_size,
            } => (
                Codes::new(StoredBits::of(*element), true),
                scale.storage_bytes(),
                *block_size,
            ),
        };
        let powers = factor.into_iter().flat_map(|factor| factor.exponents);
        Self {
            name,
            is_dense: matches!(cache, CacheFormat::Dense),
            is_folded: factor.is_some(),
            codes,
            run_words: run_words(cache),
            first_word,
            scale_bytes,
            block_size,
            block_log2: block_size.ilog2(),
            factor_multiplier: factor.map_or(0, |factor| 0x10001 << factor.shift),
            factor_powers: powers.filter(|&power| power != 0).map(pair_of).collect(),
            nan_code: nan_code(cache),
        }
    }
}

impl fmt::Display for AttentionVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
