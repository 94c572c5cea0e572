//! The embed kernel as an entry.
//!
//! Sizes of a problem: rows, vocabulary, cols, padded, dst_stride, table_stride and table_offset in elements, status.
//! Tensors: table, tokens.

use super::{
    ElementType, Entry, EntryError, Expected, Outputs, Problem, Runner, Shape, Tensor, UNTOUCHED,
    exactly,
};
use crate::launch::{Dense, EmbedKernel, EmbedOperands, LaunchError, Slice};
use crate::ptx::EmbedVariant;
use mxlab_harness::device::{Buffer, Device, Stream};
use rand::Rng;
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

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let (padded, stride) = (problem.size("padded")?, problem.size("dst_stride")?);
        let (vocabulary, table) = (problem.size("vocabulary")?, problem.tensor("table")?);
        let mut dst = Tensor::from_bytes(ElementType::U16, &untouched(rows, padded, stride));
        let mut status = problem.size("status")?;
        let tokens = &problem.tensor("tokens")?.bits;
        for (row, &token) in tokens.iter().enumerate() {
            let written = &mut dst.bits[row * stride..][..padded];
            written.fill(0);
            if (token as usize) < vocabulary {
                let first = token as usize * problem.size("table_stride")?;
                let first = first + problem.size("table_offset")?;
                written[..cols].copy_from_slice(&table.bits[first..][..cols]);
            } else {
                status = status.min(row);
            }
        }
        let bits = vec![status as u32];
        let element = ElementType::U32;
        Ok(exactly(Outputs::from([
            ("dst", dst),
            ("status", Tensor { element, bits }),
        ])))
    }

    fn load(&self, device: &Device, ptx: &str) -> Result<Box<dyn Runner>, LaunchError> {
        Ok(Box::new(EmbedRunner {
            device: device.clone(),
            kernel: EmbedKernel::of_text(device, ptx)?,
        }))
    }

    fn bytes(&self, shape: Shape) -> u64 {
        (shape.rows * (4 * shape.cols + 4)) as u64
    }
}

/// What dst is before.
fn untouched(rows: usize, padded: usize, stride: usize) -> Vec<u8> {
    vec![UNTOUCHED; 2 * ((rows - 1) * stride + padded)]
}

/// The kernel on a device.
struct EmbedRunner {
    device: Device,
    kernel: EmbedKernel,
}

impl Runner for EmbedRunner {
    fn run(&self, stream: &Stream, problem: &Problem) -> Result<Outputs, EntryError> {
        let size = |name| problem.size(name);
        let (rows, padded, stride) = (size("rows")?, size("padded")?, size("dst_stride")?);
        let input = |name: &'static str| -> Result<Buffer, EntryError> {
            Ok(self
                .device
                .upload(name, &problem.tensor(name)?.to_bytes())?)
        };
        let (table, tokens) = (input("table")?, input("tokens")?);
        let dst = self
            .device
            .upload("dst", &untouched(rows, padded, stride))?;
        let status = self.device.upload("status", &[size("status")? as u32])?;
        fn from(buffer: &Buffer, offset: usize) -> Slice<'_> {
            Slice { buffer, offset }
        }
        let operands = EmbedOperands {
            tokens: from(&tokens, 0),
            rows,
            vocabulary: size("vocabulary")?,
            cols: size("cols")?,
            padded,
            table: Dense {
                first: from(&table, 2 * size("table_offset")?),
                stride: size("table_stride")?,
            },
            dst: Dense {
                first: from(&dst, 0),
                stride,
            },
            status: from(&status, 0),
        };
        self.kernel.launch(stream, &operands)?;
        stream.synchronize()?;
        let read = |element, buffer: &Buffer| -> Result<Tensor, EntryError> {
            Ok(Tensor::from_bytes(element, &buffer.download::<u8>()?))
        };
        Ok(Outputs::from([
            ("dst", read(ElementType::U16, &dst)?),
            ("status", read(ElementType::U32, &status)?),
        ]))
    }
}
