//! AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2).

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

/// Decay of the mean of the gradients.
const BETA1: f64 = 0.9;
/// Decay of the mean of the squared gradients.
const BETA2: f64 = 0.98;
/// Added to the root of the mean square.
const EPSILON: f64 = 1e-8;
/// Weight decay: fraction of a parameter removed at a learning rate of 1.
const WEIGHT_DECAY: f64 = 0.01;

/// Parameters, and the moments of their gradients.
pub struct AdamW {
    steps: i32,
    parameters: Vec<(Var, Moments)>,
}

/// Running means of a parameter's gradients and their squares.
struct Moments {
    first: Tensor,
    second: Tensor,
}

impl AdamW {
    /// Moments of zero for each parameter.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn new(parameters: &[Var]) -> Result<Self> {
        let with_moments = |parameter: &Var| {
            let moments = Moments {
                first: parameter.zeros_like()?,
                second: parameter.zeros_like()?,
            };
            Ok((parameter.clone(), moments))
        };
        Ok(Self {
            steps: 0,
            parameters: parameters.iter().map(with_moments).collect::<Result<_>>()?,
        })
    }

    /// Updates the parameters that have a gradient.
    ///
    /// # Errors
    /// If a gradient has another shape than its parameter.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        // Moments start at zero, so their means are too small in the first steps.
        let unbiased = |beta: f64| 1.0 / (1.0 - beta.powi(self.steps));
        let (first_factor, second_factor) = (unbiased(BETA1), unbiased(BETA2));
        for (parameter, moments) in &mut self.parameters {
            let Some(gradient) = gradients.get(parameter) else {
                continue;
            };
            // Detached from the operations behind the gradients.
            let gradient = &gradient.detach();
            moments.first = ((&moments.first * BETA1)? + (gradient * (1.0 - BETA1))?)?;
            moments.second = ((&moments.second * BETA2)? + (gradient.sqr()? * (1.0 - BETA2))?)?;
            let root = (&moments.second * second_factor)?.sqrt()?;
            let change = ((&moments.first * first_factor)? / (root + EPSILON)?)?;
            let kept = (parameter.as_tensor() * (1.0 - learning_rate * WEIGHT_DECAY))?;
            parameter.set(&(kept - (change * learning_rate)?)?)?;
        }
        Ok(())
    }
}
