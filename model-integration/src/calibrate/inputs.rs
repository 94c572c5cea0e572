//! The inputs of a layer's projections, added up while the layer runs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::TokenWeight;
use super::gram::Gram;
use crate::model::Linear;
use crate::model::cpu::{Activation, Cpu, Matrix, Observer};

/// H of each group of matrices with common inputs.
#[derive(Debug)]
pub struct Inputs {
    weight: TokenWeight,
    /// The first matrix of each group, by its address.
    grams: Mutex<HashMap<usize, Gram>>,
}

impl Inputs {
    /// Nothing seen yet, for groups that begin with these projections.
    pub fn of<'a>(groups: impl IntoIterator<Item = &'a Linear<Cpu>>, weight: TokenWeight) -> Self {
        let matrices = groups.into_iter().map(|linear| &linear.weight);
        let grams = matrices.map(|matrix| (address(matrix), Gram::new(matrix.cols())));
        Self {
            weight,
            grams: Mutex::new(grams.collect()),
        }
    }

    /// Takes H of the group that begins with a projection.
    pub fn take(&self, first: &Linear<Cpu>) -> Option<Gram> {
        let mut grams = self.grams.lock().unwrap_or_else(PoisonError::into_inner);
        grams.remove(&address(&first.weight))
    }
}

impl Observer for Inputs {
    fn product(&self, x: &Activation, weight: &Matrix) {
        let mut grams = self.grams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gram) = grams.get_mut(&address(weight)) {
            gram.add(x.values(), self.weight);
        }
    }
}

fn address(matrix: &Matrix) -> usize {
    std::ptr::from_ref(matrix).addr()
}
