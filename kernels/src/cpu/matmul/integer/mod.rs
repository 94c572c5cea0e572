//! y = x W^T where both sides are codes of integers: [`crate::reference::integer_matmul`], with the
//! same bits on every path, for every number of tokens and threads.
//!
//! A word of 32 bits in a lane holds the integers of four columns of a row of W, or of two where
//! they do not fit bytes. Lanes are rows of W, as in f32. Products add up in integers until a block
//! ends. Then one fused multiply-add in f32 adds the block to the sum, times both scales.
//!
//! **Bytes.** `vpmaddubsw` and `vpdpbusd` multiply an unsigned byte by a signed one. So the
//! integers of W are raised by their largest magnitude, to be unsigned, and sums begin with minus
//! that number times the sum of x: the integers of W cost no operation to be signed.
//!
//! **16-bit sums.** `vpmaddubsw` adds two products in an i16, and a word adds one of these. Before
//! an i16 could overflow, a run of columns ends and sums are widened: [`narrow_run`]. Pairs of
//! which a group of columns does not fit, such as INT8 with itself, take i16 operands and
//! `vpmaddwd`, and so does E3M2, whose integers do not fit bytes.

mod arrange;
#[cfg(target_arch = "x86_64")]
mod body;
#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg(target_arch = "x86_64")]
mod decode;
#[cfg(target_arch = "x86_64")]
mod dot;
mod operand;
mod path;
mod portable;
mod rows;
mod tables;

pub use path::IntegerPath;
pub use rows::{CodeRows, CodeRowsMut};
#[cfg(target_arch = "x86_64")]
pub(in crate::cpu) use {
    arrange::arrange,
    body::multiply_integers,
    dot::{NarrowBytes, Vnni, Words},
};
pub(in crate::cpu) use {
    arrange::arrange_portable, operand::Operand, portable::multiply_integers_portable,
    rows::Arrangement,
};

use super::coding::PanelCodes;
use super::output::Output;
use super::panels::Panels;
use super::share_rows;
use crate::cpu::dispatch;
use crate::format::{FormatError, IntegerPair};
use rows::{GROUP, Integers, Way};
use tables::Tables;

/// Products of activations with a matrix, both packed; see the head of this module.
#[derive(Clone, Copy, Debug)]
pub struct IntegerMatmul<'a> {
    panels: &'a Panels,
    path: IntegerPath,
}

/// The state that the tasks of a product share.
pub(in crate::cpu) struct IntegerJob<'a> {
    pub path: IntegerPath,
    panels: &'a Panels,
    tables: Tables,
    block_size: usize,
    x: &'a Integers,
    tokens: usize,
    /// Of each token, times that of W.
    tensor_scales: Vec<f32>,
    y: Output<'a>,
}

impl<'a> IntegerMatmul<'a> {
    /// With `weights` [rows, cols], by the fastest path that this CPU has.
    pub fn new(weights: &'a Panels) -> Self {
        Self {
            panels: weights,
            path: IntegerPath::best(),
        }
    }

    /// Sets the path.
    ///
    /// # Panics
    /// If this CPU lacks it.
    #[must_use]
    pub fn with_path(self, path: IntegerPath) -> Self {
        assert!(path.is_available(), "this CPU has no {path}");
        Self { path, ..self }
    }

    /// y [tokens, rows] = x [tokens, cols] W^T, rows of W shared among the threads of the current
    /// rayon pool.
    ///
    /// # Errors
    /// [`FormatError::NotIntegers`] unless the formats are an [`IntegerPair`],
    /// [`FormatError::Length`] unless columns agree and `y` is whole rows.
    pub fn multiply(&self, x: &CodeRows, y: &mut [f32]) -> Result<(), FormatError> {
        let (w, (rows, cols)) = (self.panels, (self.panels.rows(), self.panels.cols()));
        let pair = IntegerPair::of(x.format(), w.block_format()?)?;
        let tokens = x.tokens();
        for (what, got, expected) in [
            ("columns of x", x.cols(), cols),
            ("y", y.len(), tokens * rows),
        ] {
            if got != expected {
                return Err(FormatError::Length {
                    what,
                    got,
                    expected,
                });
            }
        }
        if y.is_empty() || cols == 0 {
            // An empty sum.
            y.fill(0.0);
            return Ok(());
        }
        let arrangement = Arrangement::new(self.path, pair, w.coding().width == PanelCodes::Bits4);
        let way = Way {
            isa: self.path.isa(),
            arrangement,
            tokens_at_once: tokens_at_once(self.path),
        };
        let scale = w.tensor_scale();
        x.with_integers(pair.x, way, |integers| {
            let job = IntegerJob {
                path: self.path,
                panels: w,
                tables: Tables::new(pair.w, arrangement),
                block_size: pair.block_size,
                x: integers,
                tokens,
                tensor_scales: (0..tokens)
                    .map(|token| x.tensor_scale(token) * scale)
                    .collect(),
                y: Output::new(y, rows),
            };
            share_rows(rows, tokens * cols, |rows| {
                dispatch::multiply_integers_by(&job, rows);
            });
        });
        Ok(())
    }
}

/// Tokens that are multiplied together: with two vectors of rows each, as many as leave registers
/// for the sums of blocks.
const fn tokens_at_once(path: IntegerPath) -> usize {
    match path {
        IntegerPath::Avx512Vnni => 8,
        IntegerPath::Avx512 | IntegerPath::AvxVnni | IntegerPath::Avx2 => 6,
        IntegerPath::Portable => 1,
    }
}

impl IntegerJob<'_> {
    /// How integers lie in a word.
    pub fn operand(&self) -> Operand {
        self.tables.arrangement.operand
    }
}

impl Arrangement {
    /// The fastest that is exact.
    fn new(path: IntegerPath, pair: IntegerPair, has_nibbles: bool) -> Self {
        let words = Self {
            operand: Operand::Words,
            has_nibbles,
            raised_by: 0,
            narrow_run: None,
        };
        let bytes = Self {
            operand: Operand::Bytes,
            raised_by: pair.w.most() as i32,
            ..words
        };
        let fit = pair.w.fits_byte() && pair.x.fits_byte();
        let run = narrow_run(pair);
        match path {
            IntegerPath::Avx512Vnni | IntegerPath::AvxVnni if fit => bytes,
            IntegerPath::Avx512 | IntegerPath::Avx2 if fit && run > 0 => Self {
                narrow_run: Some(run),
                ..bytes
            },
            _ => words,
        }
    }
}

/// Columns, whole groups, whose products add up in i16, two columns of four in each. Such a sum
/// begins with -r times its x, where r is the largest integer of W, which is added to all of them.
/// After some columns it is the sum of their w x, and of -r x of the others: never more than r
/// times the largest x for each column.
fn narrow_run(pair: IntegerPair) -> usize {
    let most = (pair.w.most() * pair.x.most()) as usize;
    i16::MAX as usize / most * 2 / GROUP * GROUP
}
