//! The attention kernels: queries against a cache of keys and values, packed or bf16.

use super::VariantError;
use super::codes::{Codes, pair_of};
use super::render::render_template;
use crate::format::{BlockFormat, ElementFormat, ScaleFormat};
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use serde::Serialize;
use std::fmt;

/// Features that a warp has at a time: a run in each of four lanes.
const CHUNK: usize = 4 * RUN;
/// Tiles of 16 queries of a warp in prefill: what it reads of a tile of keys or values serves so many products.
const ROW_TILES: usize = 2;
/// Tiles of keys and values in shared memory: one is read, the other filled.
const STAGES: usize = 2;

/// What lengths a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionRegime {
    /// Few queries: the warps of a thread block, and thread blocks, share the keys of 8 queries.
    Decode,
    /// Many: each warp has queries of its own, the keys are those of the thread block.
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
    /// Thread blocks that a multiprocessor must have registers for; `None` leaves it to the assembler.
    min_blocks: Option<u32>,
    warps: usize,
    chunks: usize,
    /// Pairs of features of a query that a thread adds up.
    passes: usize,
    /// Parts of a split that are added at a time.
    parts: usize,
    /// Tiles of 16 queries of a warp, in prefill.
    row_tiles: usize,
    block_rows: usize,
    /// Tiles of 16 keys of a step.
    key_tiles: usize,
    step_keys: usize,
    /// Keys of which a lane has runs, how many of each, and how far the keys are apart.
    lane_keys: usize,
    lane_runs: usize,
    key_stride: usize,
    /// Steps of 16 features whose operands of queries stay in registers.
    held_steps: usize,
    /// Rows of queries that the thread block copies at a time, and their threads, as a logarithm.
    copy_rows: usize,
    copy_shift: u32,
    /// Bytes of a row in shared memory, of a stage, and of all of them: queries are behind.
    row_bytes: usize,
    stage_bytes: usize,
    queries_at: usize,
    shared_bytes: u32,
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
    /// The parameters.
    codes_from: &'static str,
    scales_from: &'static str,
    /// Where its tile begins in a stage of shared memory.
    tile_at: usize,
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

    /// Warps of a thread block.
    const fn warps(&self) -> usize {
        match (self.regime, self.chunks) {
            (AttentionRegime::Decode, _) => 4,
            // A thread has one run of a step of 32 keys.
            (AttentionRegime::Prefill, chunks) => 4 * chunks,
        }
    }

    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        32 * self.warps() as u32
    }

    /// Tiles of 16 keys of a step.
    const fn key_tiles(&self) -> usize {
        match self.regime {
            AttentionRegime::Decode => 2 / self.chunks,
            AttentionRegime::Prefill => 4 / self.chunks,
        }
    }

    /// Rows of a thread block.
    pub const fn block_rows(&self) -> usize {
        match self.regime {
            AttentionRegime::Decode => 8,
            AttentionRegime::Prefill => self.warps() * 16 * ROW_TILES,
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

    /// Keys that a warp, or in prefill the thread block, takes at a time; a split has whole such steps.
    pub const fn step_keys(&self) -> usize {
        16 * self.key_tiles()
    }

    /// Bytes of a row in shared memory, of queries, keys and values as operands.
    const fn row_bytes(&self) -> usize {
        2 * self.max_head_dim()
    }

    /// Bytes of dynamic shared memory: tiles of keys, values and queries.
    pub const fn shared_bytes(&self) -> u32 {
        match self.regime {
            AttentionRegime::Decode => 0,
            AttentionRegime::Prefill => {
                let rows = STAGES * 2 * self.step_keys() + self.block_rows();
                (rows * self.row_bytes()) as u32
            }
        }
    }

    /// Bytes of the workspace for a thread block and split.
    pub const fn partial_bytes(&self) -> usize {
        // Sums of 8 queries, and the maximum and the weight of each.
        4 * 8 * (self.max_head_dim() + 2)
    }

    /// Steps of 16 features whose operands of queries stay in registers, in prefill: all of 64 features, of 128 as many
    /// as leave enough for the words under way.
    fn held_steps(&self) -> usize {
        let is_packed = |cache: &&CacheFormat| !matches!(cache, CacheFormat::Dense);
        let packed = [&self.keys, &self.values].into_iter().filter(is_packed);
        match (self.chunks, packed.map(run_words).sum()) {
            (1, _) => 4,
            (_, 0) => 2,
            (_, 1..=6) => 1,
            _ => 0,
        }
    }

    /// Thread blocks that a multiprocessor must have registers for, to decode with so many words under way. Without
    /// them the assembler aims at one more and spills, or leaves loads until they are needed.
    fn min_blocks(&self, words: usize) -> Option<u32> {
        (self.chunks == 2 && words >= 32).then_some(2)
    }

    /// The name of the entry.
    pub fn id(&self) -> String {
        let (regime, dim) = (self.regime.name(), self.max_head_dim());
        let [keys, values] = [&self.keys, &self.values].map(name);
        format!("attention_{regime}_h{dim}_{keys}_{values}__sm80")
    }

    /// Its PTX: one module with one entry, named as [`AttentionVariant::id`] says.
    pub fn render(&self) -> String {
        let (step_keys, row_bytes) = (self.step_keys(), self.row_bytes());
        let (key_stride, lane_runs, template) = match self.regime {
            AttentionRegime::Decode => (8, self.chunks, "attention/decode.ptx.j2"),
            // Four warps have the runs of a chunk.
            AttentionRegime::Prefill => (32, 1, "attention/prefill.ptx.j2"),
        };
        let lane_keys = step_keys / key_stride;
        let key_words = lane_keys * lane_runs * run_words(&self.keys);
        let value_words = lane_keys * lane_runs * run_words(&self.values);
        let keys = CacheContext {
            codes_from: "keys",
            scales_from: "key_scales",
            ..CacheContext::new("k", &self.keys)
        };
        let values = CacheContext {
            codes_from: "values",
            scales_from: "value_scales",
            tile_at: step_keys * row_bytes,
            first_word: key_words,
            ..CacheContext::new("v", &self.values)
        };
        let [key_name, value_name] = [&self.keys, &self.values].map(name);
        let row_pieces = row_bytes / 16;
        let context = AttentionContext {
            id: self.id(),
            description: format!(
                "keys {key_name}, values {value_name}, heads up to {}",
                self.max_head_dim()
            ),
            min_blocks: self.min_blocks(key_words + value_words),
            warps: self.warps(),
            chunks: self.chunks,
            passes: 8 * self.chunks / self.warps(),
            parts: 8 / self.chunks,
            row_tiles: ROW_TILES,
            block_rows: self.block_rows(),
            key_tiles: self.key_tiles(),
            step_keys,
            lane_keys,
            lane_runs,
            key_stride,
            copy_rows: self.block_threads() as usize / row_pieces,
            copy_shift: row_pieces.ilog2(),
            held_steps: self.held_steps(),
            row_bytes,
            stage_bytes: 2 * step_keys * row_bytes,
            queries_at: STAGES * 2 * step_keys * row_bytes,
            shared_bytes: self.shared_bytes(),
            has_table: keys.codes.is_table() || values.codes.is_table(),
            keys,
            values,
            words: key_words + value_words,
        };
        render_template(template, &context)
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
    fn new(name: &'static str, cache: &CacheFormat) -> Self {
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
            codes_from: "",
            scales_from: "",
            tile_at: 0,
            first_word: 0,
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
