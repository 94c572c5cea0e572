//! The ways a product of integers can go, and what the CPU must have.

use crate::cpu::Isa;
use std::fmt;

/// A way to multiply integers. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerPath {
    /// AVX-512 with `vpdpbusd`.
    Avx512Vnni,
    /// AVX-512 with `vpmaddubsw` and `vpmaddwd`.
    Avx512,
    /// AVX2 with `vpdpbusd`.
    AvxVnni,
    /// AVX2 with `vpmaddubsw` and `vpmaddwd`.
    Avx2,
    /// The base instructions of the target architecture.
    Portable,
}

impl IntegerPath {
    /// Every path, fastest first.
    pub const ALL: [Self; 5] = [
        Self::Avx512Vnni,
        Self::Avx512,
        Self::AvxVnni,
        Self::Avx2,
        Self::Portable,
    ];

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        let has_more = match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => is_x86_feature_detected!("avxvnni"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Vnni | Self::AvxVnni => false,
            Self::Avx512 | Self::Avx2 | Self::Portable => true,
        };
        has_more && self.isa().is_available()
    }

    /// Those that this CPU has, fastest first.
    pub fn available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|path| path.is_available())
            .collect()
    }

    /// The fastest that this CPU has, within [`Isa::use_only`].
    pub fn best() -> Self {
        if Isa::may_extend() {
            let found = Self::ALL.into_iter().find(|path| path.is_available());
            return found.unwrap_or(Self::Portable);
        }
        match Isa::best() {
            Isa::Avx512 => Self::Avx512,
            Isa::Avx2 => Self::Avx2,
            Isa::Portable => Self::Portable,
        }
    }

    /// The instruction set.
    pub const fn isa(self) -> Isa {
        match self {
            Self::Avx512Vnni | Self::Avx512 => Isa::Avx512,
            Self::AvxVnni | Self::Avx2 => Isa::Avx2,
            Self::Portable => Isa::Portable,
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 | Self::Avx2 | Self::Portable => self.isa().name(),
        }
    }
}

impl fmt::Display for IntegerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
