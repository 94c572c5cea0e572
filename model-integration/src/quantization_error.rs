//! The quantisation error of a tensor.

use std::cmp::Ordering;

use anyhow::Result;
use mxlab_harness::record::float;
use mxlab_kernels::cpu;
use mxlab_kernels::format::PackedTensor;
use rayon::prelude::*;
use serde::Serialize;

/// Rows per task of a thread.
const ROWS: usize = 64;

/// Errors and counts of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Elements.
    pub elements: u64,
    /// `10 log10(sum x^2 / sum (x - x')^2)` in dB; infinite without error.
    #[serde(with = "float")]
    pub sqnr_db: f64,
    /// `sum x x' / sqrt(sum x^2 sum x'^2)`: 1 if only the length changed; NaN for zeros.
    #[serde(with = "float")]
    pub cosine: f64,
    /// The sums behind these, which can be added to those of other tensors.
    #[serde(skip)]
    pub sums: Sums,
    /// Elements beyond the largest or smallest value under their block's scale, which were clipped
    /// to it.
    pub saturated: u64,
    /// Non-zero elements that became zero.
    pub to_zero: u64,
    /// The blocks with the lowest SQNR, in ascending order.
    pub worst_blocks: Vec<WorstBlock>,
}

/// Sums over elements x and their quantised values x'.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// `sum x^2`
    pub signal: f64,
    /// `sum (x - x')^2`
    pub noise: f64,
    /// `sum x'^2`
    pub restored: f64,
    /// `sum x x'`
    pub dot: f64,
}

impl Sums {
    /// The sums over values and what quantisation made of them.
    pub fn of(values: &[f32], restored: &[f32]) -> Self {
        let mut sums = Self::default();
        for (&x, &y) in values.iter().zip(restored) {
            sums.add_element(f64::from(x), f64::from(y));
        }
        sums
    }

    /// Adds the sums over other elements.
    pub fn add(&mut self, other: Self) {
        self.signal += other.signal;
        self.noise += other.noise;
        self.restored += other.restored;
        self.dot += other.dot;
    }

    fn add_element(&mut self, x: f64, y: f64) {
        self.add(Self {
            signal: x * x,
            noise: (x - y) * (x - y),
            restored: y * y,
            dot: x * y,
        });
    }

    /// Signal to quantisation noise in dB; infinite without error.
    pub fn sqnr_db(&self) -> f64 {
        match self.noise == 0.0 {
            true => f64::INFINITY,
            false => 10.0 * (self.signal / self.noise).log10(),
        }
    }

    /// Cosine of the angle between x and x'; NaN for zeros.
    pub fn cosine(&self) -> f64 {
        self.dot / (self.signal * self.restored).sqrt()
    }

    /// Root mean square of the error, divided by that of x.
    pub fn relative_error(&self) -> f64 {
        (self.noise / self.signal).sqrt()
    }
}

/// A block and its error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorstBlock {
    /// Its row.
    pub row: usize,
    /// Its index in the row.
    pub block: usize,
    /// Its largest magnitude.
    pub amax: f32,
    /// Its shared scale, multiplied by the tensor scale.
    pub scale: f32,
    /// Its SQNR in dB.
    #[serde(with = "float")]
    pub sqnr_db: f64,
}

/// Sums over a range of rows.
#[derive(Default)]
struct Part {
    sums: Sums,
    saturated: u64,
    to_zero: u64,
    worst_blocks: Vec<WorstBlock>,
}

/// Compares a row-major matrix with its packed form.
pub fn measure(values: &[f32], packed: &PackedTensor, worst: usize) -> Result<Statistics> {
    let (rows, cols) = (packed.rows(), packed.cols());
    let parts: Vec<Part> = (0..rows.div_ceil(ROWS))
        .into_par_iter()
        .map(|chunk| {
            let rows = chunk * ROWS..rows.min((chunk + 1) * ROWS);
            let mut restored = vec![0.0; rows.len() * cols];
            cpu::dequantize_rows(packed, rows.clone(), &mut restored)?;
            let mut part = Part::default();
            for (row, restored) in rows.zip(restored.chunks(cols)) {
                part.add_row(&values[row * cols..][..cols], restored, packed, row, worst);
            }
            Ok(part)
        })
        .collect::<Result<_>>()?;
    // Parts are added in row order, whatever the order of the threads.
    let mut all = Part::default();
    for part in parts {
        all.sums.add(part.sums);
        all.saturated += part.saturated;
        all.to_zero += part.to_zero;
        all.worst_blocks.extend(part.worst_blocks);
        all.keep(worst);
    }
    Ok(Statistics {
        elements: values.len() as u64,
        sqnr_db: all.sums.sqnr_db(),
        cosine: all.sums.cosine(),
        sums: all.sums,
        saturated: all.saturated,
        to_zero: all.to_zero,
        worst_blocks: all.worst_blocks,
    })
}

impl Part {
    fn add_row(
        &mut self,
        values: &[f32],
        restored: &[f32],
        packed: &PackedTensor,
        row: usize,
        worst: usize,
    ) {
        let k = packed.format().block_size();
        let range = packed.element().lowest()..=packed.element().max_normal();
        for (block, (values, restored)) in values.chunks(k).zip(restored.chunks(k)).enumerate() {
            let scale =
                packed.scale().decode(packed.scale_code(row, block)) * packed.tensor_scale();
            let lowest = f64::from(*range.start()) * f64::from(scale);
            let highest = f64::from(*range.end()) * f64::from(scale);
            let (mut sums, mut amax) = (Sums::default(), 0.0_f32);
            for (&x, &y) in values.iter().zip(restored) {
                let (x, y) = (f64::from(x), f64::from(y));
                sums.add_element(x, y);
                amax = amax.max(x.abs() as f32);
                // A block that was flushed to zero has no range to exceed.
                self.saturated += u64::from(scale != 0.0 && (x < lowest || x > highest));
                self.to_zero += u64::from(x != 0.0 && y == 0.0);
            }
            self.sums.add(sums);
            let sqnr_db = sums.sqnr_db();
            let is_worse = |other: &WorstBlock| by_sqnr(sqnr_db, other.sqnr_db).is_lt();
            if self.worst_blocks.len() < worst || self.worst_blocks.last().is_some_and(is_worse) {
                self.worst_blocks.push(WorstBlock {
                    row,
                    block,
                    amax,
                    scale,
                    sqnr_db,
                });
                self.keep(worst);
            }
        }
    }

    fn keep(&mut self, worst: usize) {
        self.worst_blocks
            .sort_by(|a, b| by_sqnr(a.sqnr_db, b.sqnr_db));
        self.worst_blocks.truncate(worst);
    }
}

/// Orders by SQNR; NaN, from a block that became NaN, is worse than every number.
fn by_sqnr(a: f64, b: f64) -> Ordering {
    (!a.is_nan()).cmp(&!b.is_nan()).then(a.total_cmp(&b))
}

#[cfg(test)]
mod tests {
    use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType};

    use super::*;

    fn statistics(values: &[f32], cols: usize, worst: usize) -> Statistics {
        let format = BlockFormat::new(ElementFormat::FP4_E2M1).block_size(4);
        let format = format.build().expect("a format");
        let rows = values.len() / cols;
        let packed = cpu::quantize(values, rows, cols, &format, FloatType::F32).expect("fits");
        measure(values, &packed, worst).expect("fits")
    }

    #[test]
    fn counts_and_errors_by_hand() {
        // amax 7: scale 2^(2 - 2) = 1, so 7 saturates to 6 and 0.2 becomes 0; then an exact block;
        // then a short one with amax 0.75: scale 2^(-1 - 2), and 0.75 is 6 * 2^-3.
        let values = [7.0, 0.2, 3.0, 0.0, 4.0, 2.0, 1.0, 0.5, 0.75, 0.0];
        let found = statistics(&values, 10, 2);
        assert_eq!((found.elements, found.saturated, found.to_zero), (10, 1, 1));
        let signal: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
        let noise = 1.0 + f64::from(0.2_f32).powi(2);
        assert!((found.sqnr_db - 10.0 * (signal / noise).log10()).abs() < 1e-12);

        let [first, second] = &found.worst_blocks[..] else {
            panic!("two blocks");
        };
        let block = 49.0 + 9.0 + f64::from(0.2_f32).powi(2);
        assert_eq!(
            (first.row, first.block, first.amax, first.scale),
            (0, 0, 7.0, 1.0)
        );
        assert!((first.sqnr_db - 10.0 * (block / noise).log10()).abs() < 1e-12);
        assert_eq!(second.sqnr_db, f64::INFINITY);
    }

    #[test]
    fn the_worst_blocks_are_found_wherever_they_are() {
        let mut values = vec![1.0; 4 * 300];
        for (row, error) in [(3, 0.2), (130, 0.24), (299, 0.22)] {
            values[4 * row] += error;
        }
        let rows: Vec<usize> = statistics(&values, 4, 3)
            .worst_blocks
            .iter()
            .map(|b| b.row)
            .collect();
        assert_eq!(rows, [130, 299, 3]);
        assert!(statistics(&values, 4, 0).worst_blocks.is_empty());
    }
}
