//! y = x W^T with both sides quantised to integers, by every path.

use super::products::product_case;
use super::{Arithmetic, Timer, matrix};
use crate::{BenchError, Case, Opened, Target};
use mxlab_kernels::cpu::{
    self, CodeQuantizer, CodeRows, CodeRowsMut, IntegerMatmul, IntegerPath, Panels, Quantizer,
};
use mxlab_kernels::format::{BlockFormat, FloatType, FormatError};
use mxlab_kernels::reference;
use rayon::prelude::*;

/// Activations in f32, quantised each time as a layer does, times packed weights.
pub struct IntegerTarget {
    /// Formats of activations and weights.
    formats: [BlockFormat; 2],
    path: IntegerPath,
    case: Case,
}

impl IntegerTarget {
    /// The product of weights [rows, cols] and so many tokens, of formats of x and W.
    pub fn new(
        formats: [BlockFormat; 2],
        path: IntegerPath,
        [rows, cols]: [usize; 2],
        tokens: usize,
    ) -> Self {
        let [x, w] = formats;
        let operands = format!("{}_{}", x.element(), w.element());
        let case = product_case(&operands, &w, path.name(), [rows, cols], tokens);
        Self {
            formats,
            path,
            case: Case {
                arithmetic: Some(Arithmetic::Int8(path).name().to_owned()),
                ..case
            },
        }
    }
}

/// Quantises tokens, each as a tensor of its own, shared among threads.
fn quantize(quantizer: &CodeQuantizer, x: &[f32], to: &mut CodeRows) -> Result<(), FormatError> {
    let (tokens, cols) = (to.tokens(), to.cols());
    let CodeRowsMut {
        codes,
        scales,
        tensor_scales,
    } = to.parts_mut();
    let scales = scales.par_chunks_mut(quantizer.format().row_scale_bytes(cols));
    let rows = codes.par_chunks_mut(cols).zip(scales).zip(tensor_scales);
    let share = tokens.div_ceil(rayon::current_num_threads());
    let rows = rows.zip(x.par_chunks(cols)).with_min_len(share).enumerate();
    rows.try_for_each(|(token, (((codes, scales), tensor_scale), x))| {
        *tensor_scale = quantizer.quantize(x, token, codes, scales)?;
        Ok(())
    })
}

impl Target for IntegerTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        self.case.bytes + 4 * (self.case.rows * self.case.cols) as u64
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Case { rows, cols, .. } = self.case;
        let tokens = self.case.tokens.unwrap_or(1);
        let [of_x, of_w] = self.formats;
        let w = matrix(rows * cols, 1);
        let packed = cpu::quantize(&w, rows, cols, &of_w, FloatType::F32)?;
        drop(w);
        let x = matrix(tokens * cols, 2);
        let quantizer = Quantizer::new(of_x, FloatType::F32)?.with_isa(self.path.isa());
        let quantizer = quantizer.to_byte_codes(true);
        let mut codes = CodeRows::zeroed(of_x, tokens, cols);
        let mut y = vec![0.0; tokens * rows];
        let panels = Panels::new(&packed);
        let mut run = move |x: &[f32], y: &mut [f32]| -> Result<(), FormatError> {
            quantize(&quantizer, x, &mut codes)?;
            let matmul = IntegerMatmul::new(&panels).with_path(self.path);
            matmul.multiply(&codes, y)
        };
        run(&x, &mut y)?;
        // All rows for the first and the last token: a tile has both of its ends there.
        for token in [0, tokens - 1] {
            let x =
                reference::quantize(&x[token * cols..][..cols], 1, cols, &of_x, FloatType::F32)?;
            let expected = reference::integer_matmul(&x, &packed)?;
            let results = y[token * rows..].iter().zip(&expected);
            for (row, (y, expected)) in results.enumerate() {
                if y.to_bits() != expected.to_bits() {
                    let what = format!("token {token} row {row} is {y:e}, not {expected:e}");
                    return Err(BenchError::Wrong(what));
                }
            }
        }
        Ok(Box::new(Timer(move || Ok(run(&x, &mut y)?))))
    }
}
