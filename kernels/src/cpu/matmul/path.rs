//! The ways a product can go, and what the CPU must have.

use crate::cpu::Isa;
use crate::format::FloatType;
use std::fmt;

/// A way to multiply. All but AMX give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// AMX tiles of bf16 pairs where the operands are bf16, else f32; sums have an order of their
    /// own.
    Amx,
    /// AVX-512 with dot products of bf16 pairs where the operands allow it, else f32.
    Avx512Bf16,
    /// f32 with fused multiply-adds.
    F32(Isa),
}

impl Path {
    /// Every path that adds in the order of the chains, fastest first: all except AMX, which is
    /// used only on request.
    pub const ALL: [Self; 4] = [
        Self::Avx512Bf16,
        Self::F32(Isa::Avx512),
        Self::F32(Isa::Avx2),
        Self::F32(Isa::Portable),
    ];

    /// Whether this CPU has it, and its dot products round as the chains do.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512Bf16.is_available() && super::amx::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Amx => false,
            Self::Avx512Bf16 => Isa::Avx512.is_available() && super::step::has_pairs(),
            Self::F32(isa) => isa.is_available(),
        }
    }

    /// Those of [`Path::ALL`] that this CPU has, fastest first.
    pub fn available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|path| path.is_available())
            .collect()
    }

    /// The fastest of [`Path::ALL`] that this CPU has, within [`Isa::use_only`].
    pub fn best() -> Self {
        match Self::Avx512Bf16 {
            path if Isa::may_extend() && path.is_available() => path,
            _ => Self::F32(Isa::best()),
        }
    }

    /// The instruction set.
    pub const fn isa(self) -> Isa {
        match self {
            Self::Amx | Self::Avx512Bf16 => Isa::Avx512,
            Self::F32(isa) => isa,
        }
    }

    /// Whether codes are decoded in registers where values are rounded to a type.
    pub fn decodes_to(self, value_type: FloatType) -> bool {
        self.isa() != Isa::Portable && value_type != FloatType::F16
    }

    /// Tokens that steps are added for together: with two vectors of rows each, what the registers
    /// hold.
    pub(super) const fn tokens(self) -> usize {
        match self.isa() {
            Isa::Avx512 => 12,
            Isa::Avx2 => 5,
            Isa::Portable => 4,
        }
    }

    /// Whether it multiplies bf16 pairs.
    pub(super) const fn has_pairs(self) -> bool {
        matches!(self, Self::Amx | Self::Avx512Bf16)
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::F32(isa) => isa.name(),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
