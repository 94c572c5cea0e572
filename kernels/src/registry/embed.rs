//! The embed kernel as an entry.
//!
//! Sizes of a problem: rows, vocabulary, cols, padded, dst_stride, table_stride and table_offset in elements, status.
//! Tensors: table, tokens.

use super::task::{Image, download};
use super::typical::Typical;
use super::{
    ElementType, Elements, Entry, EntryError, Expected, Grid, Outputs, Place, Prepared, Problem,
    Runner, Sampled, Shape, Task, Tensor, UNTOUCHED, exactly,
};
use crate::format::FloatType;
use crate::launch::{Dense, EmbedKernel, EmbedOperands, LaunchError, Slice};
use crate::ptx::EmbedVariant;
use mxlab_harness::device::{Buffer, Device, Stream};
use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

impl Entry for EmbedVariant {
    fn id(&self) -> String {
        Self::id(self)
    }

    fn family(&self) -> &'static str {
        "embed"
    }

    fn ptx(&self) -> String {
        self.render()
    }

    fn elements_per_thread(&self) -> u32 {
        8
    }

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
        let status = [u32::MAX as usize, rng.random_range(0..4)][rng.random_range(0..2)];
        Problem::new(
            [
                ("rows", rows),
                ("vocabulary", vocabulary),
                ("cols", cols),
                ("padded", padded),
                ("dst_stride", padded + 8 * rng.random_range(0..3)),
                ("table_stride", table_stride),
                ("table_offset", table_offset),
                ("status", status),
            ],
            [("table", table), ("tokens", Tensor { element, bits })],
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
                ("status", EmbedKernel::ALL_KNOWN as usize),
            ],
            [("table", table), ("tokens", Tensor { element, bits })],
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
        let bits = vec![status(problem)?];
        let element = ElementType::U32;
        Ok(exactly(Outputs::from([
            ("dst", dst),
            ("status", Tensor { element, bits }),
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

    fn load(&self, device: &Device, ptx: &str) -> Result<Box<dyn Runner>, LaunchError> {
        Ok(Box::new(EmbedRunner {
            device: device.clone(),
            kernel: EmbedKernel::of_text(device, ptx)?,
        }))
    }

    /// As many tokens as fill a chip, of Llama 3 8B.
    fn shape(&self) -> Shape {
        Shape {
            rows: 8192,
            cols: 4096,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["tokens", "features"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        (shape.rows * (4 * shape.cols + 4)) as u64
    }
}

/// What is written for a token: its row of the table, or zeros if it has none.
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

/// The first row whose token is unknown, or what the status was before if that is less.
fn status(problem: &Problem) -> Result<u32, EntryError> {
    let vocabulary = problem.size("vocabulary")?;
    let mut tokens = problem.tensor("tokens")?.bits.iter();
    let unknown = tokens.position(|&token| token as usize >= vocabulary);
    let before = problem.size("status")?;
    Ok(unknown.map_or(before, |row| before.min(row)) as u32)
}

/// Bytes of dst's buffer.
const fn dst_bytes(rows: usize, padded: usize, stride: usize) -> usize {
    2 * ((rows - 1) * stride + padded)
}

/// The kernel on a device.
struct EmbedRunner {
    device: Device,
    kernel: EmbedKernel,
}

impl Runner for EmbedRunner {
    fn prepare(&self, problem: &Problem) -> Result<Prepared<'_>, EntryError> {
        let size = |name| problem.size(name);
        let (rows, vocabulary, cols) = (size("rows")?, size("vocabulary")?, size("cols")?);
        let (padded, dst_stride) = (size("padded")?, size("dst_stride")?);
        let (table_stride, table_offset) = (size("table_stride")?, size("table_offset")?);
        let (table, tokens) = (Image::of(problem, "table")?, Image::of(problem, "tokens")?);
        let dst = Image::untouched("dst", dst_bytes(rows, padded, dst_stride));
        let status = (size("status")? as u32).to_le_bytes().to_vec();
        let status = Image::new("status", status);
        Ok(Prepared::new(move || {
            let upload = |image: &Image| image.upload(&self.device);
            Ok(EmbedTask {
                kernel: self.kernel.clone(),
                rows,
                vocabulary,
                cols,
                padded,
                dst_stride,
                table_stride,
                table_offset,
                table: upload(&table)?,
                tokens: upload(&tokens)?,
                dst: upload(&dst)?,
                status: upload(&status)?,
            })
        }))
    }
}

/// The kernel and its buffers.
struct EmbedTask {
    kernel: EmbedKernel,
    rows: usize,
    vocabulary: usize,
    cols: usize,
    padded: usize,
    dst_stride: usize,
    table_stride: usize,
    table_offset: usize,
    table: Buffer,
    tokens: Buffer,
    dst: Buffer,
    status: Buffer,
}

impl Task for EmbedTask {
    fn launch(&self, stream: &Stream) -> Result<(), EntryError> {
        let operands = EmbedOperands {
            tokens: Slice::whole(&self.tokens),
            rows: self.rows,
            vocabulary: self.vocabulary,
            cols: self.cols,
            padded: self.padded,
            table: Dense {
                first: Slice {
                    buffer: &self.table,
                    offset: 2 * self.table_offset,
                },
                stride: self.table_stride,
            },
            dst: Dense {
                first: Slice::whole(&self.dst),
                stride: self.dst_stride,
            },
            status: Slice::whole(&self.status),
        };
        Ok(self.kernel.launch(stream, &operands)?)
    }

    fn written(&self) -> Vec<&Buffer> {
        vec![&self.dst]
    }

    fn outputs(&self) -> Result<Outputs, EntryError> {
        Ok(Outputs::from([
            ("dst", download(&self.dst, ElementType::U16)?),
            ("status", download(&self.status, ElementType::U32)?),
        ]))
    }
}
