//! Instructions by what they do and where they execute.

use super::Instruction;
use std::fmt;

/// The classes or the pipes: each with its name.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $enum:ident {
        $($(#[$doc:meta])* $variant:ident = $name:literal $(on $pipe:ident)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$doc])* $variant),*
        }

        impl $enum {
            /// The name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),*
                }
            }

            named!(@pipes $($variant $($pipe)?),*);
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
    (@pipes $($variant:ident $pipe:ident),*) => {
        /// All, in the order of the pipes.
        pub const ALL: [Self; [$(stringify!($variant)),*].len()] = [$(Self::$variant),*];

        /// Where it executes (Nsight Compute, Kernel Profiling Guide, Pipelines).
        pub const fn pipe(self) -> Pipe {
            match self {
                $(Self::$variant => Pipe::$pipe),*
            }
        }
    };
    (@pipes $($variant:ident),*) => {};
}

named! {
    /// What an instruction does.
    pub enum Class {
        /// Arithmetic on f32.
        Fp32 = "f32" on Fma,
        /// Integer multiplication and addition, which is also used to move and shift.
        IntegerMultiply = "integer multiply" on Fma,
        /// Arithmetic on two f16 or bf16.
        Half = "f16, bf16" on Fma,
        /// Integers, logic, comparison, selection, permutation, packing, minimum and maximum.
        Alu = "integer, logic" on Alu,
        /// Arithmetic on f64.
        Fp64 = "f64" on Fp64,
        /// Conversion between integers and floats of different widths; counts of bits.
        Conversion = "conversion" on Xu,
        /// Approximations: reciprocal, square root, logarithm, exponential, sine.
        Mufu = "MUFU" on Xu,
        /// Global memory.
        Global = "global" on Lsu,
        /// Shared memory.
        Shared = "shared" on Lsu,
        /// Local memory.
        Local = "local" on Lsu,
        /// Exchange between lanes; special registers.
        Shuffle = "shuffle" on Lsu,
        /// Matrix products.
        Mma = "MMA" on Tensor,
        /// Branches, barriers, predicates of a warp, no-ops.
        Control = "control" on Control,
        /// Constants, from the constant cache.
        Constant = "constant" on Control,
        /// The uniform datapath: once a warp.
        Uniform = "uniform" on Uniform,
    }
}

named! {
    /// The unit of a multiprocessor that executes a class, by the names that Nsight Compute has for
    /// them.
    pub enum Pipe {
        /// Fused multiply-add: f32, f16 and bf16 pairs, integer products.
        Fma = "FMA",
        /// Integers and logic.
        Alu = "ALU",
        /// f64.
        Fp64 = "FP64",
        /// Transcendental functions and conversions.
        Xu = "XU",
        /// Loads, stores, shuffles.
        Lsu = "LSU",
        /// Tensor cores.
        Tensor = "tensor",
        /// Branches, barriers, constants.
        Control = "control",
        /// The uniform datapath.
        Uniform = "uniform",
    }
}

impl Class {
    /// By the mnemonic (CUDA Binary Utilities, Instruction Set Reference). What is not named here
    /// is of the ALU, as most of the instruction set is.
    pub fn of(instruction: &Instruction) -> Self {
        let name = instruction.mnemonic();
        match name {
            "FADD" | "FFMA" | "FMUL" | "FADD2" | "FFMA2" | "FMUL2" | "FSWZADD" | "FADD32I"
            | "FFMA32I" | "FMUL32I" => Self::Fp32,
            "IMAD" | "IMUL" | "IDP" | "IDP4A" | "IMAD32I" | "IMUL32I" => Self::IntegerMultiply,
            "HADD2" | "HFMA2" | "HMUL2" | "HADD2_32I" | "HFMA2_32I" | "HMUL2_32I" => Self::Half,
            "DADD" | "DFMA" | "DMUL" | "DSETP" | "DMNMX" => Self::Fp64,
            "F2F" | "F2I" | "I2F" | "FRND" | "POPC" | "FLO" | "BREV" | "I2I" | "FCHK" => {
                Self::Conversion
            }
            "MUFU" => Self::Mufu,
            "SHFL" | "MOVM" | "S2R" | "MATCH" | "REDUX" => Self::Shuffle,
            "HMMA" | "IMMA" | "BMMA" | "DMMA" | "QMMA" | "OMMA" | "HGMMA" | "IGMMA" | "QGMMA"
            | "BGMMA" => Self::Mma,
            "LDC" | "LDCU" | "ULDC" => Self::Constant,
            "BRA" | "BRX" | "BRXU" | "JMP" | "JMX" | "JMXU" | "CALL" | "RET" | "EXIT" | "KILL"
            | "BPT" | "NOP" | "BSSY" | "BSYNC" | "BREAK" | "BMOV" | "WARPSYNC" | "BAR"
            | "DEPBAR" | "MEMBAR" | "ERRBAR" | "YIELD" | "NANOSLEEP" | "VOTE" | "LDGDEPBAR"
            | "CCTL" | "FENCE" | "ACQBULK" | "PREEXIT" | "WARPGROUP" | "SYNCS" | "ELECT"
            | "ARRIVES" => Self::Control,
            _ => match instruction.access().map(|access| access.space) {
                Some(super::Space::Global) => Self::Global,
                Some(super::Space::Shared) => Self::Shared,
                Some(super::Space::Local) => Self::Local,
                None if is_bulk(name) => Self::Global,
                // UMOV, UIADD3, ULOP3, S2UR, R2UR, ...
                None if name.starts_with('U') || matches!(name, "S2UR" | "R2UR") => Self::Uniform,
                None => Self::Alu,
            },
        }
    }
}

/// Copies of the tensor memory accelerator, whose size the instruction does not say.
fn is_bulk(name: &str) -> bool {
    name.starts_with("UTMA") || name.starts_with("UBLK")
}

/// How many instructions there are of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    counts: [usize; Class::ALL.len()],
}

impl Mix {
    /// Counts.
    pub fn of<'a>(instructions: impl IntoIterator<Item = &'a Instruction>) -> Self {
        let mut mix = Self::default();
        for instruction in instructions {
            mix.counts[Class::of(instruction) as usize] += 1;
        }
        mix
    }

    /// Of one class.
    pub const fn count(&self, class: Class) -> usize {
        self.counts[class as usize]
    }

    /// Of each class that occurs.
    pub fn present(&self) -> impl Iterator<Item = (Class, usize)> {
        let counts = Class::ALL
            .into_iter()
            .map(|class| (class, self.count(class)));
        counts.filter(|&(_, count)| count > 0)
    }

    /// Of all.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }
}
