//! Quantise, dequantise, and both in place, of every format and instruction set.

use super::{Timer, matrix, rows_of_part};
use crate::{BenchError, Case, Opened, Target};
use mxlab_kernels::cpu::{Isa, Quantizer, dequantize_with};
use mxlab_kernels::format::{BlockFormat, FloatType, PackedTensor, Rounding};
use mxlab_kernels::reference;
use rayon::prelude::*;

/// The operation on an f32 tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOperation {
    /// Quantise to codes and scales.
    Quantize,
    /// Dequantise codes and scales.
    Dequantize,
    /// Quantise and dequantise, in place.
    FakeQuantize,
}

impl BlockOperation {
    /// Every operation.
    pub const ALL: [Self; 3] = [Self::Quantize, Self::Dequantize, Self::FakeQuantize];

    const fn name(self) -> &'static str {
        match self {
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
            Self::FakeQuantize => "fake_quantize",
        }
    }
}

/// A kernel of one instruction set on a matrix.
pub struct BlockTarget {
    operation: BlockOperation,
    format: BlockFormat,
    isa: Isa,
    case: Case,
}

impl BlockTarget {
    /// The kernel on a matrix of that shape.
    pub fn new(
        operation: BlockOperation,
        format: BlockFormat,
        isa: Isa,
        [rows, cols]: [usize; 2],
    ) -> Self {
        let (codes, scales) = format.packed_bytes(rows, cols);
        let dense = 4 * rows * cols;
        let packed = codes + scales;
        let [read, written, working_set] = match operation {
            BlockOperation::Quantize => [dense, packed, dense + packed],
            BlockOperation::Dequantize => [packed, dense, dense + packed],
            BlockOperation::FakeQuantize => [dense, dense, dense],
        };
        let rounding = match format.rounding() {
            Rounding::Stochastic { .. } => "stochastic".to_owned(),
            rounding => rounding.to_string(),
        };
        let mut id = format!(
            "cpu_{}_{}_{}_{}_{rounding}_{}_f32_k{}",
            operation.name(),
            format.element(),
            format.scale(),
            format.rule(),
            format.dialect(),
            format.block_size(),
        );
        if operation == BlockOperation::Dequantize {
            id = format!(
                "cpu_dequantize_{}_{}_f32_k{}",
                format.element(),
                format.scale(),
                format.block_size()
            );
        }
        Self {
            operation,
            format,
            isa,
            case: Case {
                kernel: format!("{id}__{}", isa.name()).replace('-', "_"),
                family: operation.name().to_owned(),
                rows,
                cols,
                tokens: None,
                bytes: (read + written) as u64,
                written: Some(written as u64),
                working_set: Some(working_set as u64),
                operations: 0,
                arithmetic: None,
            },
        }
    }
}

/// A packed tensor that its rows are quantised into.
struct Packed<'p> {
    codes: &'p mut [u8],
    scales: &'p mut [u8],
}

impl BlockTarget {
    /// Refuses a result that differs from the reference in any bit.
    fn verify(&self, quantizer: &Quantizer, x: &[f32]) -> Result<PackedTensor, BenchError> {
        let Case { rows, cols, .. } = self.case;
        let expected = reference::quantize(x, rows, cols, &self.format, FloatType::F32)?;
        let wrong = |what: &str| Err(BenchError::Wrong(what.to_owned()));
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|x| x.to_bits()).collect() };
        match self.operation {
            BlockOperation::Quantize => {
                if quantizer.quantize(x, rows, cols)? != expected {
                    return wrong("codes or scales");
                }
            }
            BlockOperation::Dequantize => {
                let mut out = vec![0.0; x.len()];
                dequantize_with(self.isa, &expected, 0..rows, &mut out)?;
                if bits(&out) != bits(&reference::dequantize(&expected)) {
                    return wrong("values");
                }
            }
            BlockOperation::FakeQuantize => {
                let mut out = x.to_vec();
                quantizer.fake_quantize_rows(&mut out, cols, 0)?;
                if bits(&out) != bits(&reference::dequantize(&expected)) {
                    return wrong("values");
                }
            }
        }
        Ok(expected)
    }
}

impl Target for BlockTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.case.bytes + 4 * (self.case.rows * self.case.cols) as u64
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Case { rows, cols, .. } = self.case;
        let mut x = matrix(rows * cols, 1);
        let quantizer = Quantizer::for_tensor(self.format, FloatType::F32, &x)?.with_isa(self.isa);
        let packed = self.verify(&quantizer, &x)?;
        let part = rows_of_part(rows);
        let row_bytes = self.format.row_code_bytes(cols);
        let row_scales = self.format.blocks_per_row(cols) * self.format.scale().storage_bytes();
        Ok(match self.operation {
            BlockOperation::Quantize => {
                let (mut codes, mut scales) = (packed.codes().to_vec(), packed.scales().to_vec());
                Box::new(Timer(move || {
                    let parts = codes.par_chunks_mut(part * row_bytes);
                    let parts = parts.zip(scales.par_chunks_mut(part * row_scales));
                    let parts = parts.map(|(codes, scales)| Packed { codes, scales });
                    let parts = parts.zip(x.par_chunks(part * cols)).enumerate();
                    parts.try_for_each(|(index, (to, x))| {
                        quantizer.quantize_rows(x, cols, index * part, to.codes, to.scales)
                    })?;
                    Ok(())
                }))
            }
            BlockOperation::Dequantize => Box::new(Timer(move || {
                let parts = x.par_chunks_mut(part * cols).enumerate();
                parts.try_for_each(|(index, out)| {
                    let first = index * part;
                    dequantize_with(self.isa, &packed, first..first + out.len() / cols, out)
                })?;
                Ok(())
            })),
            // The values of the first pass are quantised again: as fast, and in place.
            BlockOperation::FakeQuantize => Box::new(Timer(move || {
                let parts = x.par_chunks_mut(part * cols).enumerate();
                parts.try_for_each(|(index, x)| {
                    quantizer.fake_quantize_rows(x, cols, index * part)
                })?;
                Ok(())
            })),
        })
    }
}
