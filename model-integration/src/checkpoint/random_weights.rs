//! Whether weights were ever trained.

use super::{Checkpoint, TensorView, synthetic};

/// Matrices of more elements are not looked at: nobody stores random ones.
const MOST_ELEMENTS: usize = 1 << 22;
/// Rows and columns that a matrix has at least.
const LEAST_SIDE: usize = 32;
/// Steps of the power method.
const STEPS: usize = 12;

impl Checkpoint {
    /// Whether the projections of the first and the last layer look drawn and never trained. The
    /// largest singular value of an m x n matrix of independent numbers with deviation s is near s
    /// (sqrt m + sqrt n) (Marchenko and Pastur, 1967). Training moves those of many matrices beyond
    /// it.
    pub fn has_random_weights(&self) -> bool {
        if self.label.starts_with(synthetic::PREFIX) {
            return true;
        }
        let last = self.config.num_hidden_layers.saturating_sub(1);
        let projections = self.parameters.projections();
        let of_ends = projections.filter(|(layer, ..)| [0, last].contains(layer));
        let views = of_ends.filter_map(|(_, _, weight)| self.view(weight).ok());
        let mut ratios: Vec<f64> = views.filter_map(|view| beyond_edge(&view)).collect();
        ratios.sort_by(f64::total_cmp);
        // Of few matrices none says much.
        ratios.len() >= 4 && ratios[ratios.len() * 3 / 4] < 1.1
    }
}

/// The largest singular value over that of random numbers; `None` for a matrix that is not looked
/// at.
fn beyond_edge(view: &TensorView) -> Option<f64> {
    let &[rows, cols] = view.shape() else {
        return None;
    };
    if rows.min(cols) < LEAST_SIDE || rows * cols > MOST_ELEMENTS {
        return None;
    }
    let mut values = vec![0.0; rows * cols];
    view.read_f32(0..values.len(), &mut values);
    let squares: f64 = values.iter().map(|&x| f64::from(x).powi(2)).sum();
    let deviation = (squares / values.len() as f64).sqrt();
    // Signs without a pattern.
    let sign = |i: usize| {
        if i.wrapping_mul(0x9E37_79B9) >> 16 & 1 == 0 {
            1.0
        } else {
            -1.0
        }
    };
    let mut input: Vec<f64> = (0..cols).map(sign).collect();
    let mut largest = 0.0;
    for _ in 0..STEPS {
        let length = input.iter().map(|x| x * x).sum::<f64>().sqrt();
        input.iter_mut().for_each(|x| *x /= length);
        let mut next = vec![0.0; cols];
        let mut norm = 0.0;
        for row in values.chunks_exact(cols) {
            let dot: f64 = row.iter().zip(&input).map(|(&w, x)| f64::from(w) * x).sum();
            norm += dot * dot;
            for (next, &w) in next.iter_mut().zip(row) {
                *next += dot * f64::from(w);
            }
        }
        largest = norm.sqrt();
        input = next;
    }
    let ratio = largest / (deviation * ((rows as f64).sqrt() + (cols as f64).sqrt()));
    ratio.is_finite().then_some(ratio)
}
