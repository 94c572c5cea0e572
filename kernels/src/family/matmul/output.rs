//! The outputs of a product.

use crate::format::FloatType;

/// What y is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatmulOutput {
    /// The sums in bf16, with a residual if there is one.
    Bf16,
    /// The sums in f32.
    F32,
    /// `silu(gate) * up` in bf16: the rows of W alternate, 16 of gate and 16 of up.
    Swiglu,
}

impl MatmulOutput {
    /// Every output there is.
    pub const ALL: [Self; 3] = [Self::Bf16, Self::F32, Self::Swiglu];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::Swiglu => "swiglu",
        }
    }

    /// The type of y.
    pub const fn float_type(self) -> FloatType {
        match self {
            Self::Bf16 | Self::Swiglu => FloatType::Bf16,
            Self::F32 => FloatType::F32,
        }
    }

    /// Whether a residual can be added.
    pub const fn takes_residual(self) -> bool {
        matches!(self, Self::Bf16)
    }

    /// Rows of W that a feature of y is made of.
    pub const fn rows_of_feature(self) -> usize {
        match self {
            Self::Bf16 | Self::F32 => 1,
            Self::Swiglu => 2,
        }
    }
}
