//! The scalar definition of the shuffle.

use super::{CHUNK, FragmentError, FragmentFormat, OperandType, TILE, WeightFormat};
use crate::format::{PackedTensor, ScaleFormat, pow2};
use rayon::prelude::*;

/// The least bytes of codes for which threads share the work.
const PARALLEL_BYTES: usize = 1 << 20;

/// Weights in fragment order.
#[derive(Clone, Debug, PartialEq)]
pub struct FragmentTensor {
    /// The layout.
    pub format: WeightFormat,
    /// Rows, without padding.
    pub rows: usize,
    /// Columns, without padding.
    pub cols: usize,
    /// Codes.
    pub codes: Vec<u8>,
    /// Scales.
    pub scales: Vec<u8>,
    /// The factor of results, for each tile: the tensor scale times 2^excess.
    pub alphas: Vec<f32>,
    /// A: operands times stored scales are weights over 2^A.
    pub excess: i32,
}

impl FragmentTensor {
    /// Shuffles a packed tensor, for bf16 operands.
    ///
    /// # Errors
    /// [`FragmentError`] if the format is not supported, or a scale or code is not finite.
    pub fn new(packed: &PackedTensor) -> Result<Self, FragmentError> {
        Self::of_operand(packed, OperandType::Bf16)
    }

    /// Shuffles a packed tensor, for operands of a type.
    ///
    /// # Errors
    /// As [`FragmentTensor::new`], and if the elements cannot become such operands.
    pub fn of_operand(packed: &PackedTensor, operand: OperandType) -> Result<Self, FragmentError> {
        let format = FragmentFormat::of_operand(packed.format(), operand)?;
        check(packed, &format)?;
        // Of formats whose excess depends on it, codes are bytes.
        let largest = packed.scales().iter().copied().max().unwrap_or(0);
        let excess = format.excess(largest.into());
        Ok(Self {
            format: WeightFormat::Packed(format),
            rows: packed.rows(),
            cols: packed.cols(),
            codes: codes(packed, &format),
            scales: scales(packed, &format, excess),
            alphas: vec![packed.tensor_scale() * pow2(excess) as f32; packed.rows().div_ceil(TILE)],
            excess,
        })
    }

    /// Shuffles a matrix of bf16, given as their bits.
    ///
    /// # Panics
    /// If there are not rows * cols.
    pub fn dense(bits: &[u16], rows: usize, cols: usize) -> Self {
        assert_eq!(bits.len(), rows * cols, "elements of the matrix");
        let format = WeightFormat::Dense;
        let codes = place(format, rows, cols, |row, column| {
            let pair = |i| match row < rows && column(i) < cols {
                true => u32::from(bits[row * cols + column(i)]),
                false => 0,
            };
            (0..8)
                .map(|i| pair(2 * i) | pair(2 * i + 1) << 16)
                .collect()
        });
        Self {
            format,
            rows,
            cols,
            codes,
            scales: Vec::new(),
            alphas: vec![1.0; rows.div_ceil(TILE)],
            excess: 0,
        }
    }

    /// Interleaves the tiles of two matrices, as SwiGLU takes gate and up. The excess is that of
    /// the first.
    ///
    /// # Panics
    /// If they differ in format or shape, or their rows are not whole tiles.
    pub fn interleaved(&self, other: &Self) -> Self {
        assert_eq!(self.format, other.format, "formats");
        assert_eq!([self.rows, self.cols], [other.rows, other.cols], "shapes");
        assert!(self.rows.is_multiple_of(TILE), "tiles are whole");
        let tiles = (self.rows / TILE).max(1);
        let turns = |first: &[u8], second: &[u8]| -> Vec<u8> {
            let bytes = (first.len() / tiles).max(1);
            let pairs = first.chunks(bytes).zip(second.chunks(bytes));
            pairs
                .flat_map(|(first, second)| [first, second].concat())
                .collect()
        };
        let alphas = self.alphas.iter().zip(&other.alphas);
        Self {
            rows: 2 * self.rows,
            codes: turns(&self.codes, &other.codes),
            scales: turns(&self.scales, &other.scales),
            alphas: alphas
                .flat_map(|(&first, &second)| [first, second])
                .collect(),
            ..*self
        }
    }
}

/// Every scale and every code is finite.
fn check(packed: &PackedTensor, format: &FragmentFormat) -> Result<(), FragmentError> {
    let (scale, element, stored) = (packed.scale(), packed.element(), format.stored());
    let is_known = |code| stored.place(element, code).is_some() && element.decode(code).is_finite();
    let known: Vec<bool> = element.codes().map(is_known).collect();
    let fault = |row| {
        for block in 0..packed.format().blocks_per_row(packed.cols()) {
            if scale.decode(packed.scale_code(row, block)).is_nan() {
                return Some(FragmentError::NanScale { row, block });
            }
        }
        for col in 0..packed.cols() {
            let code = packed.code(row, col);
            if !known[usize::from(code)] {
                let element = element.name();
                return Some(FragmentError::Code {
                    element,
                    code,
                    row,
                    col,
                });
            }
        }
        None
    };
    let rows = 0..packed.rows();
    // Of several faults the first either way.
    let first = match packed.codes().len() < PARALLEL_BYTES {
        true => rows.into_iter().find_map(fault),
        false => rows.into_par_iter().find_map_first(fault),
    };
    first.map_or(Ok(()), Err)
}

fn codes(packed: &PackedTensor, format: &FragmentFormat) -> Vec<u8> {
    let (rows, cols, element) = (packed.rows(), packed.cols(), packed.element());
    let stored = format.stored();
    let zero = element.zero_code();
    place(WeightFormat::Packed(*format), rows, cols, |row, column| {
        let code = |i| match row < rows && column(i) < cols {
            true => packed.code(row, column(i)),
            false => zero,
        };
        stored.store(element, &std::array::from_fn::<u8, 16, _>(code))
    })
}

/// Puts words where they belong: `words(row, column)` are those of 16 weights, the i-th of them at
/// `column(i)`.
fn place(
    format: WeightFormat,
    rows: usize,
    cols: usize,
    words: impl Fn(usize, &dyn Fn(usize) -> usize) -> Vec<u32> + Sync,
) -> Vec<u8> {
    let mut bytes = vec![0; format.bytes(rows, cols).0];
    let chunks = cols.div_ceil(CHUNK);
    let columns = |t| std::array::from_fn::<usize, 16, _>(|i| format.column(t, i));
    let columns: [[usize; 16]; 4] = std::array::from_fn(columns);
    let fill = |(index, bytes): (usize, &mut [u8])| {
        let (tile, chunk) = (index / chunks, index % chunks);
        for lane in 0..32 {
            let column = |i| CHUNK * chunk + columns[lane % 4][i];
            for half in 0..2 {
                let words = words(TILE * tile + lane / 4 + 8 * half, &column);
                for (i, word) in words.into_iter().enumerate() {
                    let offset = format.word_offset(lane, format.word_place(half, i));
                    bytes[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
                }
            }
        }
    };
    let size = format.chunk_bytes();
    match bytes.len() < PARALLEL_BYTES {
        true => bytes.chunks_mut(size).enumerate().for_each(fill),
        false => bytes.par_chunks_mut(size).enumerate().for_each(fill),
    }
    bytes
}

fn scales(packed: &PackedTensor, format: &FragmentFormat, excess: i32) -> Vec<u8> {
    let (rows, cols) = (packed.rows(), packed.cols());
    let weights = WeightFormat::Packed(*format);
    let mut bytes = vec![0; weights.bytes(rows, cols).1];
    let (slot, width) = (format.slot(), format.scale_bytes());
    let slots = cols.div_ceil(slot);
    let (lanes, runs) = (format.scale_lanes(), format.scale_runs());
    let blocks = packed.format().blocks_per_row(cols);
    for (index, bytes) in bytes.chunks_mut(width).enumerate() {
        let (run, rest) = (index % runs, index / runs);
        let (half, rest) = (rest % 2, rest / 2);
        let (q, rest) = (rest % lanes, rest / lanes);
        let (g, rest) = (rest % 8, rest / 8);
        let row = TILE * (rest / slots) + g + 8 * half;
        // The first column of lane t's run: of the lanes that share a scale, any.
        let first = weights.column(q * 4 / lanes, run * format.run());
        let block = (rest % slots * slot + first) / format.block_size();
        if row < rows && block < blocks {
            let code = stored(packed, row, block, format, excess);
            bytes.copy_from_slice(&code.to_le_bytes()[..width]);
        }
    }
    bytes
}

/// The stored form of a scale.
fn stored(
    packed: &PackedTensor,
    row: usize,
    block: usize,
    format: &FragmentFormat,
    excess: i32,
) -> u32 {
    let code = packed.scale_code(row, block);
    let limit = packed.scale().exponent_limit();
    match packed.scale() {
        ScaleFormat::E8M0 { .. } => {
            let exponent = format.stored().exponent();
            let s = code as i32 - limit.unwrap_or(0);
            (127 + exponent - excess + s).max(0) as u32
        }
        ScaleFormat::Unsigned { .. }
        | ScaleFormat::Fp16
        | ScaleFormat::Bf16
        | ScaleFormat::Fp32 => code,
    }
}
