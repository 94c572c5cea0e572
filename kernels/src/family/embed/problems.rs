//! Problems of the embed kernel, and their expected outputs.
//!
//! Problems have the operands of the signature, and the size `table_offset`: where the table
//! begins, in elements.

use super::Embed;
use crate::format::FloatType;
use crate::registry::{
    ElementType, Elements, Entry, EntryError, Expected, Grid, Outputs, Place, Problem, Sampled,
    Shape, Tensor, Typical, UNTOUCHED, exactly,
};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

impl Entry for Embed {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let most = elements.max(1);
        let cols = match rng.random_range(0..6) {
            // More than a thread block takes at once.
            0 => rng.random_range(2049..=4500),
            1 | 2 => 8 * rng.random_range(1..=64),
            _ => rng.random_range(1..=most),
        };
        let vocabulary = rng.random_range(1..=8);
        let rows = rng.random_range(1..=(2 * most / cols).clamp(1, 12));
        let is_whole = cols.is_multiple_of(8) && rng.random();
        let step = if is_whole { 8 } else { 1 };
        let table_stride = cols + step * rng.random_range(0..3);
        let table_offset = step * rng.random_range(0..3);
        let padded = cols.next_multiple_of([8, 64][rng.random_range(0..2)]);
        let len = table_offset + (vocabulary - 1) * table_stride + cols;
        let bits = (0..len).map(|_| rng.random_range(0..=0xFFFF)).collect();
        let element = ElementType::U16;
        let table = Tensor { element, bits };
        let has_unknown = rng.random_ratio(1, 3);
        let token = |_| match has_unknown && rng.random_ratio(1, 3) {
            true => [vocabulary as u32, u32::MAX][rng.random_range(0..2)],
            false => rng.random_range(0..vocabulary as u32),
        };
        let bits = (0..rows).map(token).collect();
        let element = ElementType::U32;
        // As before the first launch, or of a launch before.
        let status = [Embed::ALL_KNOWN, rng.random_range(0..4)][rng.random_range(0..2)];
        Problem::new(
            [
                ("rows", rows),
                ("vocabulary", vocabulary),
                ("cols", cols),
                ("padded", padded),
                ("dst_stride", padded + 8 * rng.random_range(0..3)),
                ("table_stride", table_stride),
                ("table_offset", table_offset),
            ],
            [
                ("table", table),
                ("tokens", Tensor { element, bits }),
                ("status", word(status)),
            ],
        )
    }

    /// Each row of the table once, in any order.
    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        let padded = cols.next_multiple_of(8);
        let mut table = Typical::draw(rng, rows, cols).dense(FloatType::Bf16, cols);
        table.element = ElementType::U16;
        let mut bits: Vec<u32> = (0..rows as u32).collect();
        bits.shuffle(rng);
        let element = ElementType::U32;
        Ok(Problem::new(
            [
                ("rows", rows),
                ("vocabulary", rows),
                ("cols", cols),
                ("padded", padded),
                ("dst_stride", padded),
                ("table_stride", cols),
                ("table_offset", 0),
            ],
            [
                ("table", table),
                ("tokens", Tensor { element, bits }),
                ("status", word(Embed::ALL_KNOWN)),
            ],
        ))
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let (rows, padded) = (problem.size("rows")?, problem.size("padded")?);
        let stride = problem.size("dst_stride")?;
        let untouched = vec![UNTOUCHED; dst_bytes(rows, padded, stride)];
        let mut dst = Tensor::from_bytes(ElementType::U16, &untouched)?;
        for row in 0..rows {
            dst.bits[row * stride..][..padded].copy_from_slice(&row_bits(problem, row)?);
        }
        Ok(exactly(Outputs::from([
            ("dst", dst),
            ("status", word(status(problem)?)),
        ])))
    }

    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        // A thread block has a row.
        Ok(Some(Grid::of_rows(rows, cols, 1)))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        let (rows, padded) = (problem.size("rows")?, problem.size("padded")?);
        let stride = problem.size("dst_stride")?;
        let len = dst_bytes(rows, padded, stride) / 2;
        let mut dst = Elements::exactly(len, ElementType::U16);
        for &[row, _] in places {
            dst.add_bits(row * stride, 1, &row_bits(problem, row)?);
        }
        let mut status_bits = Elements::exactly(1, ElementType::U32);
        status_bits.add_bits(0, 1, &[status(problem)?]);
        let mut sampled = Sampled::default();
        sampled.insert("dst", dst);
        sampled.insert("status", status_bits);
        Ok(sampled)
    }
}

/// The row of a token: its row of the table, or zeros for an unknown token.
fn row_bits(problem: &Problem, row: usize) -> Result<Vec<u32>, EntryError> {
    let token = problem.part("tokens", row..row + 1)?.bits[0] as usize;
    let mut bits = match token < problem.size("vocabulary")? {
        true => {
            let first = token * problem.size("table_stride")? + problem.size("table_offset")?;
            problem
                .part("table", first..first + problem.size("cols")?)?
                .bits
        }
        false => Vec::new(),
    };
    bits.resize(problem.size("padded")?, 0);
    Ok(bits)
}

/// The first row with an unknown token, or the status before if that is less.
fn status(problem: &Problem) -> Result<u32, EntryError> {
    let vocabulary = problem.size("vocabulary")?;
    let mut tokens = problem.tensor("tokens")?.bits.iter();
    let unknown = tokens.position(|&token| token as usize >= vocabulary);
    let before = problem.part("status", 0..1)?.bits[0];
    Ok(unknown.map_or(before, |row| before.min(row as u32)))
}

/// Bytes of dst's buffer.
const fn dst_bytes(rows: usize, padded: usize, stride: usize) -> usize {
    2 * ((rows - 1) * stride + padded)
}

/// A tensor of one word.
fn word(word: u32) -> Tensor {
    Tensor {
        element: ElementType::U32,
        bits: vec![word],
    }
}
