//! Activations in memory.

use std::sync::OnceLock;

use mxlab_kernels::cpu::CodeRows;
use mxlab_kernels::format::FloatType;

use crate::model::buffer::Buffer;
use crate::model::ops::narrow;

/// An activation matrix `[tokens, features]`, row-major: values, or the codes of a format.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Those of codes are made when they are asked for.
    values: OnceLock<Buffer>,
    codes: Option<(CodeRows, FloatType)>,
    features: usize,
}

impl Activation {
    /// Rows to be filled.
    pub(super) fn of_any_values(tokens: usize, features: usize) -> Self {
        Self {
            values: Buffer::of_any_values(tokens * features).into(),
            codes: None,
            features,
        }
    }

    /// Rows of these values.
    pub fn of_values(values: &[f32], features: usize) -> Self {
        let mut rows = Self::of_any_values(values.len() / features, features);
        rows.values_mut().copy_from_slice(values);
        rows
    }

    /// Codes, whose values are rounded to `dtype`.
    pub(super) fn of_codes(codes: CodeRows, dtype: FloatType) -> Self {
        Self {
            values: OnceLock::new(),
            features: codes.cols(),
            codes: Some((codes, dtype)),
        }
    }

    /// Features of a token.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        match &self.codes {
            Some((codes, _)) => codes.tokens(),
            None => self.values().len().checked_div(self.features).unwrap_or(0),
        }
    }

    /// Every value.
    pub fn values(&self) -> &[f32] {
        self.values.get_or_init(|| self.dequantized())
    }

    /// The codes, if it has them.
    pub(super) fn codes(&self) -> Option<&CodeRows> {
        self.codes.as_ref().map(|(codes, _)| codes)
    }

    /// The values, which are no longer those of codes.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.values();
        self.codes = None;
        self.values
            .get_mut()
            .map_or(&mut [], |values| &mut **values)
    }

    /// Some of the tokens, in this order.
    pub(super) fn select(&self, tokens: &[u32]) -> Self {
        if let Some((codes, dtype)) = &self.codes {
            return Self::of_codes(codes.select(tokens), *dtype);
        }
        let mut out = Self::of_any_values(tokens.len(), self.features);
        let rows = out.values_mut().chunks_exact_mut(self.features);
        for (row, &token) in rows.zip(tokens) {
            row.copy_from_slice(&self.values()[token as usize * self.features..][..self.features]);
        }
        out
    }

    fn dequantized(&self) -> Buffer {
        let Some((codes, dtype)) = &self.codes else {
            return Buffer::of_any_values(0);
        };
        let mut values = Buffer::of_any_values(codes.tokens() * self.features);
        codes
            .dequantize(0, &mut values)
            .expect("as long as the tokens");
        narrow(&mut values, *dtype);
        values
    }
}
