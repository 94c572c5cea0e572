//! The kinds of arithmetic that products are made of, each as fast as an instruction set does it
//! out of registers.

use super::loops;
use crate::cpu::Timer;
use crate::{BenchError, Case, Opened, Target};
use mxlab_kernels::cpu::{IntegerPath, Isa, Path};

/// Steps of a run, for each thread: enough that waking threads takes none of its time.
const STEPS: usize = 1 << 19;

/// A kind of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32 fused multiply-adds; multiplications and additions where the instruction set has none.
    F32(Isa),
    /// Dot products of bf16 pairs, `vdpbf16ps`.
    Bf16,
    /// The same by tiles, `tdpbf16ps`.
    Bf16Tiles,
    /// Dot products of 8-bit integers: `vpdpbusd`, or `vpmaddubsw` and an addition.
    Int8(IntegerPath),
    /// The same by tiles, `tdpbssd`.
    Int8Tiles,
}

impl Arithmetic {
    /// Every kind, of each type the fastest first.
    pub const ALL: [Self; 11] = [
        Self::F32(Isa::Avx512),
        Self::F32(Isa::Avx2),
        Self::F32(Isa::Portable),
        Self::Bf16Tiles,
        Self::Bf16,
        Self::Int8Tiles,
        Self::Int8(IntegerPath::Avx512Vnni),
        Self::Int8(IntegerPath::Avx512),
        Self::Int8(IntegerPath::AvxVnni),
        Self::Int8(IntegerPath::Avx2),
        Self::Int8(IntegerPath::Portable),
    ];

    /// The kinds of this CPU.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| kind.is_available())
    }

    /// What a product of bf16 activations goes by.
    pub const fn of(path: Path) -> Self {
        match path {
            Path::Amx => Self::Bf16Tiles,
            Path::Avx512Bf16 => Self::Bf16,
            Path::F32(isa) => Self::F32(isa),
        }
    }

    /// The fastest kind that this process may choose for operands of a type that peers name: `f32`,
    /// `bf16` or `int8`. bf16 is multiplied in f32 where nothing else is there.
    pub fn fastest(operands: &str) -> Option<Self> {
        let is_of = |kind: &Self| match kind {
            Self::F32(_) => operands == "f32",
            Self::Bf16 | Self::Bf16Tiles => operands == "bf16",
            Self::Int8(_) | Self::Int8Tiles => operands == "int8",
        };
        let fastest = Self::available().find(|kind| is_of(kind) && kind.may_be_chosen());
        fastest.or_else(|| (operands == "bf16").then(|| Self::F32(Isa::best())))
    }

    /// The name of the roof.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32(Isa::Avx512) => "cpu_fma_f32__avx512",
            Self::F32(Isa::Avx2) => "cpu_fma_f32__avx2",
            Self::F32(Isa::Portable) => "cpu_fma_f32__portable",
            Self::Bf16 => "cpu_dot_bf16__avx512_bf16",
            Self::Bf16Tiles => "cpu_dot_bf16__amx",
            Self::Int8Tiles => "cpu_dot_int8__amx",
            Self::Int8(IntegerPath::Avx512Vnni) => "cpu_dot_int8__avx512_vnni",
            Self::Int8(IntegerPath::Avx512) => "cpu_dot_int8__avx512",
            Self::Int8(IntegerPath::AvxVnni) => "cpu_dot_int8__avx_vnni",
            Self::Int8(IntegerPath::Avx2) => "cpu_dot_int8__avx2",
            Self::Int8(IntegerPath::Portable) => "cpu_dot_int8__portable",
        }
    }

    /// Whether it is within [`Isa::use_only`].
    fn may_be_chosen(self) -> bool {
        let (isa, is_extension) = match self {
            Self::F32(isa) => (isa, false),
            Self::Bf16 | Self::Bf16Tiles | Self::Int8Tiles => (Isa::Avx512, true),
            Self::Int8(path @ (IntegerPath::Avx512Vnni | IntegerPath::AvxVnni)) => {
                (path.isa(), true)
            }
            Self::Int8(path) => (path.isa(), false),
        };
        let rank = |isa: Isa| Isa::ALL.iter().position(|&other| other == isa);
        rank(isa) >= rank(Isa::best()) && (Isa::may_extend() || !is_extension)
    }

    /// Whether this CPU has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::F32(isa) => isa.is_available(),
            Self::Bf16 => Path::Avx512Bf16.is_available(),
            Self::Bf16Tiles => Path::Amx.is_available(),
            Self::Int8(path) => path.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Int8Tiles => Path::Amx.is_available() && loops::has_int8_tiles(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Int8Tiles => false,
        }
    }

    /// The loop, and the multiplications and additions of a step of it.
    fn steps(self) -> (fn(usize), usize) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::F32(Isa::Avx512) => (loops::fma_avx512, loops::SUMS_512 * 2 * 16),
            #[cfg(target_arch = "x86_64")]
            Self::F32(Isa::Avx2) => (loops::fma_avx2, loops::SUMS_256 * 2 * 8),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => (loops::dot_bf16, loops::SUMS_512 * 2 * 32),
            #[cfg(target_arch = "x86_64")]
            Self::Bf16Tiles => (loops::tiles_bf16, loops::TILES * 2 * 16 * 16 * 32),
            #[cfg(target_arch = "x86_64")]
            Self::Int8Tiles => (loops::tiles_int8, loops::TILES * 2 * 16 * 16 * 64),
            #[cfg(target_arch = "x86_64")]
            Self::Int8(IntegerPath::Avx512Vnni) => (loops::vnni_avx512, loops::SUMS_512 * 2 * 64),
            #[cfg(target_arch = "x86_64")]
            Self::Int8(IntegerPath::Avx512) => (loops::maddubs_avx512, loops::SUMS_512 * 2 * 64),
            #[cfg(target_arch = "x86_64")]
            Self::Int8(IntegerPath::AvxVnni) => (loops::vnni_avx, loops::SUMS_256 * 2 * 32),
            #[cfg(target_arch = "x86_64")]
            Self::Int8(IntegerPath::Avx2) => (loops::maddubs_avx2, loops::SUMS_256 * 2 * 32),
            Self::Int8(_) => (loops::int8_portable, loops::SUMS_PORTABLE * 2 * 8),
            _ => (loops::f32_portable, loops::SUMS_PORTABLE * 2 * 4),
        }
    }
}

/// A kind of arithmetic out of registers, on every thread of the current pool.
pub struct Rate {
    arithmetic: Arithmetic,
    case: Case,
}

impl Rate {
    /// By so many threads of the current pool.
    pub fn new(arithmetic: Arithmetic, threads: usize) -> Self {
        let (_, operations) = arithmetic.steps();
        Self {
            arithmetic,
            case: Case {
                kernel: arithmetic.name().to_owned(),
                family: "roof".to_owned(),
                rows: threads,
                cols: STEPS,
                operations: (threads * STEPS * operations) as u64,
                arithmetic: Some(arithmetic.name().to_owned()),
                ..Case::default()
            },
        }
    }
}

impl Target for Rate {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        0
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Self { arithmetic, .. } = *self;
        if !arithmetic.is_available() {
            let reason = "this CPU lacks the instructions".to_owned();
            let kernel = self.case.kernel.clone();
            return Err(BenchError::Shape { kernel, reason });
        }
        let (steps, _) = arithmetic.steps();
        Ok(Box::new(Timer(move || {
            rayon::broadcast(|_| steps(STEPS));
            Ok(())
        })))
    }
}
