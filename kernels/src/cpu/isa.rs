//! Instruction sets that the kernels are compiled for.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// The most that [`Isa::best`] chooses.
static LIMIT: OnceLock<Isa> = OnceLock::new();

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 F, BW, DQ, VL with BMI2.
    Avx512,
    /// AVX2 with FMA and BMI2.
    Avx2,
    /// The base instructions of the target architecture.
    Portable,
}

impl Isa {
    /// Every instruction set, fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The instruction sets of this CPU, fastest first.
    pub fn available() -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect()
    }

    /// The fastest that this CPU has, or the one of [`Isa::use_only`].
    pub fn best() -> Self {
        let found = || Self::ALL.into_iter().find(|isa| isa.is_available());
        let limit = LIMIT.get().copied();
        limit.or_else(found).unwrap_or(Self::Portable)
    }

    /// Makes this process choose an instruction set, without extensions such as bf16 pairs, as a
    /// CPU does that has no more. Call it before any kernel runs.
    ///
    /// # Errors
    /// [`IsaError`] if this CPU lacks it, or another one was chosen before.
    pub fn use_only(self) -> Result<(), IsaError> {
        if !self.is_available() {
            return Err(IsaError::Missing(self));
        }
        match *LIMIT.get_or_init(|| self) {
            chosen if chosen == self => Ok(()),
            chosen => Err(IsaError::Chosen(chosen)),
        }
    }

    /// Whether extensions of the instruction set may be chosen, where the CPU has them.
    pub fn may_extend() -> bool {
        LIMIT.get().is_none()
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        let isa = Self::ALL.into_iter().find(|isa| isa.name() == name);
        isa.ok_or_else(|| IsaError::Unknown(name.to_owned()))
    }
}

/// Why an instruction set cannot be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No instruction set has the name.
    #[error("no instruction set `{0}`; choose avx512, avx2 or portable")]
    Unknown(String),
    /// This CPU lacks it.
    #[error("this CPU has no {0}; it has {available}", available = names(&Isa::available()))]
    Missing(Isa),
    /// This process has chosen another one.
    #[error("this process uses {0} already")]
    Chosen(Isa),
}

fn names(isas: &[Isa]) -> String {
    let names: Vec<&str> = isas.iter().map(|isa| isa.name()).collect();
    names.join(", ")
}
