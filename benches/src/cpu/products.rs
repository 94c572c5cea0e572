//! y = x W^T with W packed, by every path.

use super::{Arithmetic, Timer, matrix};
use crate::{BenchError, Case, Opened, Target};
use mxlab_kernels::cpu::{self, Matmul, Panels, Path};
use mxlab_kernels::format::{BlockFormat, FloatType};
use mxlab_kernels::reference;

/// Activations in bf16 times packed weights.
pub struct ProductTarget {
    format: BlockFormat,
    path: Path,
    case: Case,
}

impl ProductTarget {
    /// The product of weights [rows, cols] and so many tokens.
    pub fn new(format: BlockFormat, path: Path, [rows, cols]: [usize; 2], tokens: usize) -> Self {
        let operands = format.element().to_string();
        let case = product_case(&operands, &format, path.name(), [rows, cols], tokens);
        Self {
            format,
            path,
            case: Case {
                arithmetic: Some(Arithmetic::of(path).name().to_owned()),
                ..case
            },
        }
    }
}

/// The product of so many tokens with weights [rows, cols], named by both operands.
pub(super) fn product_case(
    operands: &str,
    weights: &BlockFormat,
    path: &str,
    [rows, cols]: [usize; 2],
    tokens: usize,
) -> Case {
    let (codes, scales) = weights.packed_bytes(rows, cols);
    let (scale, k) = (weights.scale(), weights.block_size());
    let kernel = format!("cpu_matmul_{operands}_{scale}_k{k}__{path}");
    Case {
        kernel: kernel.replace('-', "_"),
        family: "matmul".to_owned(),
        rows,
        cols,
        tokens: Some(tokens),
        bytes: (codes + scales + 4 * tokens * (rows + cols)) as u64,
        written: Some(4 * (tokens * rows) as u64),
        working_set: None,
        operations: 2 * (rows * cols) as u64 * tokens as u64,
        arithmetic: None,
    }
}

impl Target for ProductTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.case.bytes + 4 * (self.case.rows * self.case.cols) as u64
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Case { rows, cols, .. } = self.case;
        let tokens = self.case.tokens.unwrap_or(1);
        let w = matrix(rows * cols, 1);
        let packed = cpu::quantize(&w, rows, cols, &self.format, FloatType::F32)?;
        let mut x = matrix(tokens * cols, 2);
        x.iter_mut().for_each(|x| *x = FloatType::Bf16.round(*x));
        let mut y = vec![0.0; tokens * rows];
        let panels = Panels::new(&packed);
        Matmul::new(&panels)
            .with_path(self.path)
            .multiply(&x, &mut y)?;
        // All rows for the first and the last token: a tile has both of its ends there.
        let w = reference::dequantize(&packed);
        for token in [0, tokens - 1] {
            let x = &x[token * cols..][..cols];
            let results = y[token * rows..].iter().zip(w.chunks_exact(cols));
            for (row, (y, w)) in results.enumerate() {
                let expected = self.path.sums(x, w);
                if !expected.iter().any(|sum| sum.to_bits() == y.to_bits()) {
                    let what = format!("token {token} row {row} is {y:e}, not {expected:?}");
                    return Err(BenchError::Wrong(what));
                }
            }
        }
        drop((w, packed));
        Ok(Box::new(Timer(move || {
            let matmul = Matmul::new(&panels).with_path(self.path);
            Ok(matmul.multiply(&x, &mut y)?)
        })))
    }
}
