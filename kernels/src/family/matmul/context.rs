//! The numbers of a matmul variant that its template writes into PTX.

use super::{MatmulOutput, MatmulVariant};
use crate::family::macros::codes::{Codes, pair_of, scale_kind};
use crate::format::{FloatType, ScaleFormat, pow2};
use crate::fragment::{CHUNK, FragmentFormat, OperandType, WeightFormat};
use crate::reference::exponential::COEFFICIENTS;
use serde::Serialize;
use std::f64::consts::LOG2_E;

const LANES: usize = 32;
/// 1.5 2^23: from this f32 on, the bits count integers up and down by 2^22, which is more than any
/// sum of 64 products.
const SUM_START: f32 = 12_582_912.0;

/// `v` in templates.
#[derive(Serialize)]
pub(super) struct Context {
    description: String,
    version: &'static str,
    target: &'static str,
    threads: u32,
    warps: u32,
    /// Chunks that a warp loads at once.
    unroll: usize,
    /// Tiles of 8 tokens of a warp.
    token_tiles: u32,
    /// Tiles of 16 rows of a warp.
    row_tiles: u32,
    row_warps: u32,
    row_warps_log2: u32,
    block_rows: u32,
    /// Features of y of a thread block.
    block_features: u32,
    block_features_log2: u32,
    /// Warps that take turns at the chunks of a tile.
    turns: u32,
    turns_log2: u32,
    block_tokens: u32,
    stages: u32,
    stage_bytes: u32,
    /// The operand type of the tensor cores.
    operand: &'static str,
    operand_bytes: u32,
    /// Operands have 8 bits.
    is_bytes: bool,
    is_integer: bool,
    /// Where integer sums begin, as bits of an f32, and its negative; zeros for f32 sums.
    start: u32,
    minus_start: u32,
    /// Pieces of 16 bytes of x, of a chunk and token.
    row_pieces: u32,
    row_pieces_log2: u32,
    /// Bytes of x in a stage.
    x_bytes: u32,
    /// Bytes of the scales of x in a stage.
    x_scale_bytes: u32,
    /// Blocks of x in a chunk, if they are no longer than that.
    chunk_blocks: usize,
    /// Registers of a lane's 16 columns of x.
    x_words: usize,
    /// Scales of x that a lane has of a slot, for all its tokens.
    x_scale_words: u32,
    /// Loads of x by a lane, of a chunk and token.
    x_loads: usize,
    /// Pieces of 16 bytes of codes that a thread copies.
    code_copies: usize,
    is_dense: bool,
    /// The output is f32.
    is_wide: bool,
    is_swiglu: bool,
    has_residual: bool,
    log2_e: u64,
    /// Coefficients of e^x, the highest power first.
    exp_coefficients: Vec<u64>,
    output_bytes: usize,
    run: usize,
    x_pieces: Vec<Vector>,
    words: usize,
    row_words: usize,
    vectors: Vec<Vector>,
    /// Bytes of a lane in the vectors of either width.
    lane_bytes: Vec<usize>,
    lane_widths: usize,
    chunk_bytes: usize,
    #[serde(flatten)]
    codes: Codes,
    #[serde(flatten)]
    scales: Scales,
}

/// A load of some words.
#[derive(Serialize)]
struct Vector {
    #[serde(rename = "type")]
    ty: &'static str,
    words: usize,
    first: usize,
    offset: usize,
    /// Which of the lane widths its pointer has.
    lane: usize,
}

#[derive(Default, Serialize)]
struct Scales {
    is_folded: bool,
    scale_kind: &'static str,
    scale_bytes: usize,
    scale_words: usize,
    scale_vectors: Vec<Vector>,
    scale_runs: usize,
    scale_lanes: usize,
    /// The lanes that share a scale, as a shift of the lane.
    scale_lane_shift: u32,
    lane_scale_bytes: usize,
    slot_bytes: usize,
    slot_chunks: usize,
    factor_shift: u32,
    factor_powers: Vec<u32>,
    /// From the code to the scale in f32: shifted, then multiplied.
    scale_shift: u32,
    scale_factor: u32,
}

impl Context {
    pub fn new(variant: &MatmulVariant) -> Self {
        let weights = variant.weights();
        let shape = variant.regime().shape();
        let token_tiles = shape.token_tiles;
        let words = 2 * weights.row_words();
        let operand = weights.operand();
        let (output, block_rows) = (variant.output(), variant.block_rows());
        let block_features = block_rows / output.rows_of_feature() as u32;
        // A warp has one tile, or a share of all of them.
        let turns = 16 * shape.warps / block_rows.min(16 * shape.warps);
        let row_pieces = (CHUNK as u32 * operand.bits() / 8) / 16;
        let start = match operand {
            OperandType::S8 => SUM_START,
            OperandType::Bf16 | OperandType::E4m3 => 0.0,
        };
        let (description, codes, scales) = match weights {
            WeightFormat::Dense => {
                let scales = Scales {
                    slot_chunks: 1,
                    scale_runs: 1,
                    ..Scales::default()
                };
                ("W bf16".to_owned(), Codes::default(), scales)
            }
            WeightFormat::Packed(format) => {
                let (element, scale) = (format.element(), format.scale());
                let (k, operand) = (format.block_size(), format.operand());
                let description = format!("W {element}, X {scale}, k = {k}, {operand} operands");
                (
                    description,
                    Codes::new(format.stored(), format.factor().is_some()),
                    Scales::new(format),
                )
            }
        };
        let vectors = vectors(words);
        let lane_bytes: Vec<usize> = if words.is_multiple_of(4) {
            vec![16]
        } else {
            vec![16, 4 * (words % 4)]
        };
        Self {
            description,
            version: if variant.target().sm() >= 89 {
                "8.4"
            } else {
                "7.4"
            },
            target: if variant.target().sm() >= 89 {
                "sm_89"
            } else {
                "sm_80"
            },
            threads: variant.block_threads(),
            warps: shape.warps,
            unroll: variant.unroll(),
            token_tiles,
            row_tiles: shape.row_tiles,
            row_warps: shape.row_warps,
            row_warps_log2: shape.row_warps.ilog2(),
            block_rows,
            block_features,
            block_features_log2: block_features.ilog2(),
            turns,
            turns_log2: turns.ilog2(),
            block_tokens: shape.tokens(),
            stages: shape.stages,
            stage_bytes: variant
                .shared_bytes()
                .checked_div(shape.stages)
                .unwrap_or(0),
            operand: operand.name(),
            operand_bytes: operand.bits() / 8,
            is_bytes: operand.bits() == 8,
            is_integer: operand == OperandType::S8,
            start: start.to_bits(),
            minus_start: (-start).to_bits(),
            row_pieces,
            row_pieces_log2: row_pieces.ilog2(),
            x_bytes: shape.tokens() * 16 * row_pieces,
            x_scale_bytes: variant.x_scale_bytes(),
            chunk_blocks: variant.source_blocks(1),
            x_words: 16 / operand.per_register(),
            x_scale_words: token_tiles * 2 * scales.scale_runs as u32,
            x_loads: match (operand, weights.run()) {
                (OperandType::Bf16, 4) => 4,
                (OperandType::E4m3 | OperandType::S8, 16) => 1,
                _ => 2,
            },
            code_copies: (shape.rows() as usize / 16 * weights.chunk_bytes() / 16)
                .div_ceil(variant.block_threads() as usize),
            is_dense: matches!(weights, WeightFormat::Dense),
            output_bytes: output.float_type().bytes(),
            is_wide: output.float_type() == FloatType::F32,
            is_swiglu: output == MatmulOutput::Swiglu,
            has_residual: output.takes_residual(),
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
            run: weights.run(),
            x_pieces: x_pieces(weights.run(), operand),
            words,
            row_words: weights.row_words(),
            vectors,
            lane_widths: lane_bytes.len(),
            lane_bytes,
            chunk_bytes: weights.chunk_bytes(),
            codes,
            scales,
        }
    }
}

/// Loads of a lane's words of a chunk, four at a time.
fn vectors(words: usize) -> Vec<Vector> {
    let vector = |first: usize| {
        let count = (words - first).min(4);
        Vector {
            ty: vector_type(count),
            words: count,
            first,
            offset: 4 * LANES * first,
            lane: usize::from(count < 4),
        }
    };
    (0..words).step_by(4).map(vector).collect()
}

/// Loads of a lane's 16 columns of x, by runs.
fn x_pieces(run: usize, operand: OperandType) -> Vec<Vector> {
    let columns = operand.per_register();
    let words = (run / columns).min(4);
    let piece = |first: usize| {
        let column = columns * first;
        let offset = 4 * run * (column / run) + column % run;
        Vector {
            ty: vector_type(words),
            words,
            first,
            offset: operand.bits() as usize / 8 * offset,
            lane: 0,
        }
    };
    (0..16 / columns).step_by(words).map(piece).collect()
}

const fn vector_type(words: usize) -> &'static str {
    match words {
        1 => "b32",
        2 => "v2.b32",
        _ => "v4.b32",
    }
}

impl Scales {
    fn new(format: &FragmentFormat) -> Self {
        let (bytes, runs) = (format.scale_bytes(), format.scale_runs());
        let lane_bytes = 2 * runs * bytes;
        let words = lane_bytes / 4;
        let vectors = if words == 0 {
            vec![Vector {
                ty: "u16",
                words: 0,
                first: 0,
                offset: 0,
                lane: 0,
            }]
        } else {
            let vector = |first: usize| Vector {
                ty: vector_type((words - first).min(4)),
                words: (words - first).min(4),
                first,
                offset: 4 * first,
                lane: 0,
            };
            (0..words).step_by(4).map(vector).collect()
        };
        let factor = format.factor();
        let (scale_shift, scale_factor) = match format.scale() {
            ScaleFormat::Unsigned {
                exponent_bits,
                mantissa_bits,
            } => {
                let bias = (1 << (exponent_bits - 1)) - 1;
                (23 - u32::from(mantissa_bits), pow2(127 - bias) as f32)
            }
            // The stored byte is an exponent field.
            ScaleFormat::E8M0 { .. } => (23, 1.0),
            ScaleFormat::Fp16 | ScaleFormat::Bf16 | ScaleFormat::Fp32 => (0, 1.0),
        };
        let powers = factor.into_iter().flat_map(|factor| factor.exponents);
        Self {
            is_folded: factor.is_some(),
            scale_kind: scale_kind(format.scale()),
            scale_bytes: bytes,
            scale_words: words.max(1),
            scale_vectors: vectors,
            scale_runs: runs,
            scale_lanes: format.scale_lanes(),
            scale_lane_shift: 2 - format.scale_lanes().ilog2(),
            lane_scale_bytes: lane_bytes,
            slot_bytes: format.slot_bytes(),
            slot_chunks: format.slot() / crate::fragment::CHUNK,
            factor_shift: factor.map_or(0, |factor| factor.shift),
            factor_powers: powers.filter(|&power| power != 0).map(pair_of).collect(),
            scale_shift,
            scale_factor: scale_factor.to_bits(),
        }
    }
}
