//! The kinds of parts in which decoder layers differ.

/// A norm along the features. Statistics are `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / rms(x)`, rounded, times the gain.
    Rms,
    /// `x / rms(x)` times the gain, rounded once.
    RmsOnce,
    /// `x / rms(x)` times one more than the gain, rounded once.
    RmsPlusOne,
    /// `(x - mean(x)) / deviation(x)` times the gain, plus a bias, rounded once.
    Layer,
}

/// What norms of queries and keys normalise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorms {
    /// Every head by itself.
    Each,
    /// All heads of a token together.
    Whole,
}

/// The nonlinear function of an MLP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ActivationFunction {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`.
    GeluTanh,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// gpt-oss: `gate / (1 + exp(-alpha gate)) (up + 1)`, where the gate is at most `limit` and the
    /// other factor's `up` lies between `-limit` and `limit`.
    ClampedSwiglu {
        /// Slope of the sigmoid.
        alpha: f64,
        /// Bound of both inputs.
        limit: f64,
    },
}

impl ActivationFunction {
    /// The names in a `config.json`; the first of each function is written. transformers computes
    /// `gelu_new` and `gelu_fast` by the same formula in several steps.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("silu", Self::Silu),
        ("swish", Self::Silu),
        ("gelu_pytorch_tanh", Self::GeluTanh),
        ("gelu_new", Self::GeluTanh),
        ("gelu_fast", Self::GeluTanh),
        ("gelu", Self::Gelu),
        ("gelu_python", Self::Gelu),
        ("relu", Self::Relu),
    ];

    /// Its name; a clamped SwiGLU is called by the function that it clamps.
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        let found = names.find(|(_, function)| *function == self);
        found.map_or("silu", |(name, _)| name)
    }
}
