//! Which keys a query sees, and what its scores become; the factors that kernels take for it.

use super::AttentionVariant;
use crate::format::pow2;
use std::f64::consts::LOG2_E;

/// Which keys a query sees, and what its scores become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScoreForm {
    /// It sees all keys up to its own position.
    #[default]
    Causal,
    /// It sees the last `window` of these, its own included.
    Window,
    /// The same, and a score s becomes `cap tanh(s / cap)`, rounded to bf16 as are the steps to it.
    Capped,
}

impl ScoreForm {
    /// The form for a window, or none, and a cap, or none.
    pub const fn new(has_window: bool, has_cap: bool) -> Self {
        match (has_window, has_cap) {
            (false, false) => Self::Causal,
            (true, false) => Self::Window,
            (_, true) => Self::Capped,
        }
    }

    /// The size `window` of a query that sees all keys up to its own position.
    pub const NO_WINDOW: usize = u32::MAX as usize;

    /// The name; none of [`ScoreForm::Causal`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Causal => "",
            Self::Window => "window",
            Self::Capped => "capped",
        }
    }

    /// Whether `window` is a parameter.
    pub const fn has_window(self) -> bool {
        matches!(self, Self::Window | Self::Capped)
    }

    /// Whether `scale_factor`, `cap` and `cap_inverse` are parameters.
    pub const fn has_cap(self) -> bool {
        matches!(self, Self::Capped)
    }
}

impl AttentionVariant {
    /// The operand `score_factor` for scores that are multiplied by `scale`. It multiplies the
    /// products of queries and key operands, and 2 to the power of the result is e^(scale q k).
    /// Where scores have a cap it multiplies these: it is log2 e. A launch refuses a scale whose
    /// factor is 0, infinite or NaN.
    pub fn score_factor(&self, scale: f32) -> f32 {
        match self.form.has_cap() {
            true => LOG2_E as f32,
            false => (f64::from(scale) * LOG2_E * pow2(self.keys.excess())) as f32,
        }
    }

    /// The operands `scale_factor`, which makes scores of products, `cap` and `cap_inverse`.
    pub fn cap_factors(&self, scale: f32, cap: f32) -> [(&'static str, f32); 3] {
        let scale = f64::from(scale) * pow2(self.keys.excess());
        [
            ("scale_factor", scale as f32),
            ("cap", cap),
            ("cap_inverse", 1.0 / cap),
        ]
    }

    /// The operand `value_factor`, which multiplies the sums of value operands.
    pub fn value_factor(&self) -> f32 {
        pow2(self.values.excess()) as f32
    }
}
