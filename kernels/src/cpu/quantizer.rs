//! The entry point for quantising all or some rows of a tensor.

use super::plan::Plan;
use super::{Isa, dispatch};
use crate::format::{BlockFormat, FloatType, FormatError, PackedTensor};
use crate::reference;

/// A format prepared to quantise a tensor, all at once or by rows.
///
/// Quantising by parts gives the same result as all at once, if the parts share the tensor's scale
/// and get their first row, which seeds stochastic rounding.
#[derive(Clone, Debug)]
pub struct Quantizer {
    isa: Isa,
    plan: Plan,
}

impl Quantizer {
    /// A quantizer for tensors of `source` elements, with a tensor scale of 1 and the best
    /// instruction set.
    ///
    /// # Errors
    /// [`FormatError::DialectSource`] if the dialect is not defined for `source`.
    pub fn new(format: BlockFormat, source: FloatType) -> Result<Self, FormatError> {
        format.dialect().check_source(source)?;
        Ok(Self {
            isa: Isa::best(),
            plan: Plan::new(format, source),
        })
    }

    /// As [`Quantizer::new`], with the tensor scale of `x`, the whole tensor.
    ///
    /// # Errors
    /// As [`Quantizer::new`].
    pub fn for_tensor(
        format: BlockFormat,
        source: FloatType,
        x: &[f32],
    ) -> Result<Self, FormatError> {
        Ok(Self::new(format, source)?.with_scale_of(x))
    }

    /// Sets the instruction set.
    ///
    /// # Panics
    /// If this CPU lacks it.
    #[must_use]
    pub fn with_isa(mut self, isa: Isa) -> Self {
        assert!(isa.is_available(), "this CPU has no {isa}");
        self.isa = isa;
        self
    }

    /// Sets the tensor scale, for a format that has one.
    #[must_use]
    pub fn with_tensor_scale(mut self, tensor_scale: f32) -> Self {
        if self.plan.format.has_tensor_scale() {
            self.plan.tensor_scale = tensor_scale;
        }
        self
    }

    /// Sets the tensor scale of `x`, the whole tensor, if the format has one.
    #[must_use]
    pub fn with_scale_of(mut self, x: &[f32]) -> Self {
        self.set_scale_of(x);
        self
    }

    /// As [`Quantizer::with_scale_of`], in place, for one tensor after the other.
    pub fn set_scale_of(&mut self, x: &[f32]) {
        if self.format().has_tensor_scale() {
            let amax = dispatch::finite_amax(self.isa, x);
            self.plan.tensor_scale = reference::tensor_scale_of(amax, self.format());
        }
    }

    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        &self.plan.format
    }

    /// Quantises the whole row-major [rows, cols] matrix.
    ///
    /// # Errors
    /// [`FormatError::Length`] if `x` is not rows * cols long.
    pub fn quantize(
        &self,
        x: &[f32],
        rows: usize,
        cols: usize,
    ) -> Result<PackedTensor, FormatError> {
        reference::check(x.len(), rows, cols, self.format(), self.plan.source)?;
        let mut packed = PackedTensor::zeroed(*self.format(), rows, cols)?;
        let (codes, scales, tensor_scale) = packed.parts_mut();
        *tensor_scale = self.plan.tensor_scale;
        self.quantize_rows(x, cols, 0, codes, scales)?;
        Ok(packed)
    }

    /// Quantises rows of `cols` columns into the codes and scales of those rows of a
    /// [`PackedTensor`]. `first_row` is the position of the first in the whole tensor.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless `x` is a whole number of rows and both buffers fit them.
    pub fn quantize_rows(
        &self,
        x: &[f32],
        cols: usize,
        first_row: usize,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<(), FormatError> {
        let rows = whole_rows(x.len(), cols)?;
        let code_bytes = rows * self.plan.layout.bytes(cols);
        let scale_bytes = rows * self.format().row_scale_bytes(cols);
        for (what, got, expected) in [
            ("code bytes", codes.len(), code_bytes),
            ("scale bytes", scales.len(), scale_bytes),
        ] {
            if got != expected {
                return Err(FormatError::Length {
                    what,
                    got,
                    expected,
                });
            }
        }
        if rows > 0 {
            dispatch::quantize(self.isa, &self.plan, x, cols, first_row, codes, scales);
        }
        Ok(())
    }

    /// [`Quantizer::quantize_rows`] into the rows of `packed` from `at` on. The tensor scale of
    /// `packed` stays as it is.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless `x` is whole rows of `packed` and they fit behind `at`.
    pub fn write_rows(
        &self,
        x: &[f32],
        first_row: usize,
        packed: &mut PackedTensor,
        at: usize,
    ) -> Result<(), FormatError> {
        let cols = packed.cols();
        let (rows, end) = (whole_rows(x.len(), cols)?, packed.rows());
        if at > end || rows > end - at {
            return Err(FormatError::Length {
                what: "rows",
                got: rows,
                expected: end.saturating_sub(at),
            });
        }
        let [code_bytes, scale_bytes] = [packed.row_code_bytes(), packed.row_scale_bytes()];
        let (codes, scales, _) = packed.parts_mut();
        let codes = &mut codes[at * code_bytes..][..rows * code_bytes];
        let scales = &mut scales[at * scale_bytes..][..rows * scale_bytes];
        self.quantize_rows(x, cols, first_row, codes, scales)
    }

    /// The tensor scale; 1 where the format has none.
    pub const fn tensor_scale(&self) -> f32 {
        self.plan.tensor_scale
    }

    /// The same for single rows, to codes of one byte each. Where `scales_rows`, each row is a
    /// tensor of its own and gets its own tensor scale, if the format has one.
    #[must_use]
    pub fn to_byte_codes(self, scales_rows: bool) -> CodeQuantizer {
        CodeQuantizer {
            scales_rows: scales_rows && self.format().has_tensor_scale(),
            quantizer: Self {
                isa: self.isa,
                plan: self.plan.with_byte_codes(),
            },
        }
    }

    /// Quantises and dequantises rows of `cols` columns in place. `first_row` is the position of
    /// the first in the whole tensor.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless `x` is a whole number of rows.
    pub fn fake_quantize_rows(
        &self,
        x: &mut [f32],
        cols: usize,
        first_row: usize,
    ) -> Result<(), FormatError> {
        let rows = whole_rows(x.len(), cols)?;
        if rows > 0 {
            dispatch::fake_quantize(self.isa, &self.plan, x, cols, first_row);
        }
        Ok(())
    }
}

/// A [`Quantizer`] of single rows, to codes of one byte each.
#[derive(Clone, Debug)]
pub struct CodeQuantizer {
    quantizer: Quantizer,
    scales_rows: bool,
}

impl CodeQuantizer {
    /// The format.
    pub const fn format(&self) -> &BlockFormat {
        self.quantizer.format()
    }

    /// Quantises row `row` of a tensor to `codes`, one a byte, and `scales`. Returns its tensor
    /// scale.
    ///
    /// # Errors
    /// [`FormatError::Length`] unless both buffers fit the row.
    pub fn quantize(
        &self,
        x: &[f32],
        row: usize,
        codes: &mut [u8],
        scales: &mut [u8],
    ) -> Result<f32, FormatError> {
        let write = |quantizer: &Quantizer, codes: &mut [u8], scales: &mut [u8]| {
            quantizer.quantize_rows(x, x.len(), row, codes, scales)?;
            Ok(quantizer.plan.tensor_scale)
        };
        match self.scales_rows {
            true => write(&self.quantizer.clone().with_scale_of(x), codes, scales),
            false => write(&self.quantizer, codes, scales),
        }
    }
}

/// How many rows of `cols` columns `len` elements are.
fn whole_rows(len: usize, cols: usize) -> Result<usize, FormatError> {
    if len == 0 {
        Ok(0)
    } else if cols == 0 || !len.is_multiple_of(cols) {
        let expected = len.checked_div(cols).unwrap_or(0) * cols;
        Err(FormatError::Length {
            what: "elements in whole rows",
            got: len,
            expected,
        })
    } else {
        Ok(len / cols)
    }
}
