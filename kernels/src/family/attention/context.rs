//! The numbers of an attention variant that its template writes into PTX.

use super::problems::Side;
use super::{AttentionRegime, AttentionVariant, ROW_TILES, STAGES, name};
use crate::family::macros::codes::{Codes, pair_of};
use crate::format::ScaleFormat;
use crate::fragment::bits::StoredBits;
use crate::fragment::cache::{CacheFormat, RUN};
use crate::kernel::Kernel;
use serde::Serialize;

/// `v` in the template.
#[derive(Serialize)]
pub(super) struct AttentionContext {
    id: String,
    description: String,
    /// Thread blocks that a multiprocessor must have registers for; `None` leaves it to the
    /// assembler.
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
    /// Words of keys and values that a lane loads at once.
    words: usize,
    has_table: bool,
    has_window: bool,
    has_cap: bool,
    /// Rows of first positions are beside the cache.
    has_exact: bool,
}

/// The parameters of macros for keys or values.
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
    /// The parameter of rows of first positions, if there is one, and the factor that makes
    /// operands of them, twice.
    exact_from: Option<&'static str>,
    exact_unit: u32,
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

impl AttentionContext {
    pub fn new(variant: &AttentionVariant) -> Self {
        let (step_keys, row_bytes) = (variant.step_keys(), variant.row_bytes());
        let (key_stride, lane_runs) = match variant.regime {
            AttentionRegime::Decode => (8, variant.chunks),
            // Four warps have the runs of a chunk.
            AttentionRegime::Prefill => (32, 1),
        };
        let lane_keys = step_keys / key_stride;
        let key_words = lane_keys * lane_runs * run_words(&variant.keys);
        let value_words = lane_keys * lane_runs * run_words(&variant.values);
        let [of_keys, of_values] = variant.sides();
        let keys = CacheContext::new("k", &of_keys);
        let values = CacheContext {
            tile_at: step_keys * row_bytes,
            first_word: key_words,
            ..CacheContext::new("v", &of_values)
        };
        let [key_name, value_name] = [&variant.keys, &variant.values].map(name);
        let row_pieces = row_bytes / 16;
        Self {
            id: variant.id().to_string(),
            description: format!(
                "keys {key_name}, values {value_name}, heads up to {}",
                variant.max_head_dim()
            ),
            min_blocks: min_blocks(variant, key_words + value_words),
            warps: variant.warps(),
            chunks: variant.chunks,
            passes: 8 * variant.chunks / variant.warps(),
            parts: 8 / variant.chunks,
            row_tiles: ROW_TILES,
            block_rows: variant.block_rows(),
            key_tiles: variant.key_tiles(),
            step_keys,
            lane_keys,
            lane_runs,
            key_stride,
            copy_rows: variant.block_threads() as usize / row_pieces,
            copy_shift: row_pieces.ilog2(),
            held_steps: held_steps(variant),
            row_bytes,
            stage_bytes: 2 * step_keys * row_bytes,
            queries_at: STAGES * 2 * step_keys * row_bytes,
            shared_bytes: variant.shared_bytes(),
            has_table: keys.codes.is_table() || values.codes.is_table(),
            has_window: variant.form.has_window(),
            has_cap: variant.form.has_cap(),
            has_exact: variant.keeps_first,
            keys,
            values,
            words: key_words + value_words,
        }
    }
}

/// Steps of 16 features whose operands of queries stay in registers, in prefill: as many, of 4 or
/// 8, as leave enough for the words under way on every chip.
fn held_steps(variant: &AttentionVariant) -> usize {
    let caches = [&variant.keys, &variant.values].into_iter();
    let packed = caches.filter(|cache| !matches!(cache, CacheFormat::Dense));
    match (variant.chunks, packed.map(run_words).sum()) {
        (1, 0..8) => 4,
        (1, _) => 3,
        (_, 0) => 2,
        (_, 1..8) => 1,
        _ => 0,
    }
}

/// Thread blocks that a multiprocessor must have registers for, to decode with so many words under
/// way. Without them the assembler aims at one more and spills, or leaves loads until they are
/// needed.
fn min_blocks(variant: &AttentionVariant, words: usize) -> Option<u32> {
    (variant.chunks == 2 && words >= 32).then_some(2)
}

/// Words of a run.
fn run_words(cache: &CacheFormat) -> usize {
    cache.run_bytes() / 4
}

/// The scale code that must be detected as NaN. `None` where it becomes NaN or infinity by itself:
/// the codes of a NaN block are 0, and infinity times 0 is NaN.
fn nan_code(cache: &CacheFormat) -> Option<u32> {
    let CacheFormat::Packed { element, scale, .. } = cache else {
        return None;
    };
    let is_table = matches!(StoredBits::of(*element), StoredBits::Nibbles(_));
    match scale {
        ScaleFormat::E8M0 { bits: 8 } if !is_table => None,
        ScaleFormat::E8M0 { .. } | ScaleFormat::Unsigned { .. } => Some(scale.nan_code()),
        ScaleFormat::Fp16 | ScaleFormat::Bf16 | ScaleFormat::Fp32 => None,
    }
}

impl CacheContext {
    fn new(name: &'static str, side: &Side) -> Self {
        let cache = &side.format;
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
            codes_from: side.codes,
            scales_from: side.scales,
            exact_from: side.exact,
            exact_unit: pair_of(-cache.excess()),
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
