//! Chips, from public figures.
//!
//! - CPG: CUDA C++ Programming Guide, "Compute Capabilities" (technical specifications) and
//!   "Arithmetic Instructions" (results per clock and multiprocessor)
//! - WP: NVIDIA's architecture white paper: A100, H100, Ada (AD102), RTX Blackwell (GB202)
//! - DS: NVIDIA's datasheet of the product

use crate::device::{DeviceKind, Properties};
use std::str::FromStr;

/// The part of a datasheet's bandwidth that a copy reaches, counting reads and writes. On an H200,
/// 4.3 of 4.8 TB/s were measured; the other chips are assumed to behave alike.
pub const COPY_FRACTION: f64 = 4.3 / 4.8;

/// Results a clock and multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// f32 add, multiply, fused multiply-add.
    pub fp32: f64,
    /// 32-bit integer multiply-add.
    pub integer_multiply: f64,
    /// bf16x2 instructions: two results each.
    pub half2: f64,
    /// Integer addition, comparison, logic, shifts, minimum and maximum.
    pub alu: f64,
    /// f64.
    pub fp64: f64,
    /// MUFU and conversions.
    pub xu: f64,
    /// Threads whose load, store or shuffle the LSU takes.
    pub lsu: f64,
    /// Bytes that L1 and shared memory give or take.
    pub l1_bytes: f64,
    /// Products that tensor cores add, of 16-bit elements, dense.
    pub tensor: f64,
}

/// A whole chip, as sold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chip {
    /// The name.
    pub name: &'static str,
    /// Compute capability, as 90 for 9.0.
    pub sm: u32,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Boost clock, GHz.
    pub clock_ghz: f64,
    /// Bandwidth of the memory, GB/s.
    pub memory_gb_s: f64,
    /// L2, MiB.
    pub l2_mib: u32,
    /// 32-bit registers of a multiprocessor.
    pub registers: u32,
    /// Shared memory of a multiprocessor, KiB.
    pub shared_kib: u32,
    /// Resident threads of a multiprocessor.
    pub threads: u32,
    /// Resident thread blocks of a multiprocessor.
    pub blocks: u32,
    /// Instructions.
    pub rates: Rates,
}

/// 9.0: CPG; tensor: WP H100, 2048 FMA of FP16 a multiprocessor.
const RATES_90: Rates = Rates {
    fp32: 128.0,
    integer_multiply: 64.0,
    half2: 128.0,
    alu: 64.0,
    fp64: 64.0,
    xu: 16.0,
    lsu: 32.0,
    l1_bytes: 128.0,
    tensor: 2048.0,
};

/// 8.9: CPG; tensor: WP Ada, 512 FMA of FP16 a multiprocessor.
const RATES_89: Rates = Rates {
    half2: 64.0,
    fp64: 2.0,
    tensor: 512.0,
    ..RATES_90
};

/// The limits that chips of compute capability 9.0 and 10.0 share (CPG).
const LIKE_90: Chip = Chip {
    name: "",
    sm: 90,
    multiprocessors: 0,
    clock_ghz: 0.0,
    memory_gb_s: 0.0,
    l2_mib: 0,
    registers: 65536,
    shared_kib: 228,
    threads: 2048,
    blocks: 32,
    rates: RATES_90,
};

/// The limits that chips of 8.9 and 12.0 share (CPG).
const LIKE_89: Chip = Chip {
    sm: 89,
    shared_kib: 100,
    threads: 1536,
    blocks: 24,
    rates: RATES_89,
    ..LIKE_90
};

/// The chips that the model knows.
pub const CHIPS: [Chip; 7] = [
    Chip {
        name: "H200",
        // DS H200 SXM: 4.8 TB/s, 67 TFLOP/s of FP32 = 132 x 128 x 2 x 1.98 GHz.
        multiprocessors: 132,
        clock_ghz: 1.98,
        memory_gb_s: 4800.0,
        // cudaDeviceProp::l2CacheSize of an H200.
        l2_mib: 60,
        ..LIKE_90
    },
    Chip {
        name: "H100",
        // WP H100, DS H100 SXM: 132 multiprocessors, 67 TFLOP/s of FP32, 3.35 TB/s, 50 MB.
        multiprocessors: 132,
        clock_ghz: 1.98,
        memory_gb_s: 3350.0,
        l2_mib: 50,
        ..LIKE_90
    },
    Chip {
        name: "A100",
        sm: 80,
        // WP A100: 108 multiprocessors, 1410 MHz, 40 MB; DS A100 80GB SXM: 2039 GB/s.
        multiprocessors: 108,
        clock_ghz: 1.41,
        memory_gb_s: 2039.0,
        l2_mib: 40,
        // CPG 8.0.
        shared_kib: 164,
        // CPG 8.0 (bf16 at half of f16's rate); tensor: WP A100, 1024 FMA of FP16 a multiprocessor.
        rates: Rates {
            fp32: 64.0,
            half2: 64.0,
            fp64: 32.0,
            tensor: 1024.0,
            ..RATES_90
        },
        ..LIKE_90
    },
    Chip {
        name: "L40S",
        // DS L40S: 864 GB/s, 91.6 TFLOP/s of FP32 = 142 x 128 x 2 x 2.52 GHz; WP Ada: 96 MB of
        // AD102.
        multiprocessors: 142,
        clock_ghz: 2.52,
        memory_gb_s: 864.0,
        l2_mib: 96,
        ..LIKE_89
    },
    Chip {
        name: "RTX 4090",
        // WP Ada, RTX 4090: 128 multiprocessors, 2520 MHz, 1008 GB/s, 72 MB.
        multiprocessors: 128,
        clock_ghz: 2.52,
        memory_gb_s: 1008.0,
        l2_mib: 72,
        ..LIKE_89
    },
    Chip {
        name: "B200",
        sm: 100,
        // DS HGX B200, one of eight: 8 TB/s, about 75 TFLOP/s of FP32 = 148 x 128 x 2 x 1.965 GHz;
        // cudaDeviceProp::l2CacheSize: 126 MB.
        multiprocessors: 148,
        clock_ghz: 1.965,
        memory_gb_s: 8000.0,
        l2_mib: 126,
        // CPG 10.0; tensor: DS, 2.25 PFLOP/s of dense FP16.
        rates: Rates {
            tensor: 4096.0,
            ..RATES_90
        },
        ..LIKE_90
    },
    Chip {
        name: "RTX 5090",
        sm: 120,
        // WP RTX Blackwell, RTX 5090: 170 multiprocessors, 2407 MHz, 1792 GB/s, 96 MB.
        multiprocessors: 170,
        clock_ghz: 2.407,
        memory_gb_s: 1792.0,
        l2_mib: 96,
        // WP: integer products at the rate of FP32; the rest as 8.9.
        rates: Rates {
            integer_multiply: 128.0,
            ..RATES_89
        },
        ..LIKE_89
    },
];

/// Not the name of a chip.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown chip `{0}`; expected {known}", known = CHIPS.map(|chip| chip.name).join(", "))]
pub struct UnknownChip(String);

/// Why a device has no datasheet to compare with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCompared {
    /// It has a part of the multiprocessors and of the memory.
    #[error("not compared: MIG slice")]
    MigSlice,
    /// It is no GPU.
    #[error("not compared: the emulator is no chip")]
    Emulator,
    /// Its figures are unknown.
    #[error("not compared: no figures of `{0}` are known")]
    Unknown(String),
}

/// Words of names of products that have a chip's name and not its figures.
const OTHER_PRODUCTS: [&str; 5] = ["PCIE", "NVL", "LAPTOP", "MAX-Q", "D"];

impl Chip {
    /// The chip whose datasheet a device is compared with: by name, compute capability and
    /// multiprocessors.
    ///
    /// # Errors
    /// [`NotCompared`] of a MIG slice, whatever its chip; of the emulator; of any other chip.
    pub fn of_device(properties: &Properties) -> Result<Self, NotCompared> {
        if properties.kind == DeviceKind::Emulator {
            return Err(NotCompared::Emulator);
        }
        if properties.mig.is_some() {
            return Err(NotCompared::MigSlice);
        }
        let upper = properties.name.to_uppercase();
        let words: Vec<&str> = upper.split([' ', '-']).collect();
        let is_it = |chip: &Self| {
            let name = chip.name.to_uppercase();
            let parts: Vec<&str> = name.split(' ').collect();
            let count = properties.multiprocessors;
            words.windows(parts.len()).any(|part| part == parts)
                && chip.sm == properties.sm
                && count.is_none_or(|count| count == chip.multiprocessors)
        };
        let is_other = words.iter().any(|word| OTHER_PRODUCTS.contains(word));
        let chip = CHIPS.into_iter().find(|chip| !is_other && is_it(chip));
        chip.ok_or_else(|| NotCompared::Unknown(properties.name.clone()))
    }

    /// Operations a second of dense products of bf16 at boost clock.
    pub fn tensor_rate(&self) -> f64 {
        2.0 * self.rates.tensor * f64::from(self.multiprocessors) * self.clock_ghz * 1e9
    }

    /// Bandwidth that a copy reaches, bytes a second; see [`COPY_FRACTION`].
    pub fn copy_bandwidth(&self) -> f64 {
        self.memory_gb_s * 1e9 * COPY_FRACTION
    }
}

impl FromStr for Chip {
    type Err = UnknownChip;

    /// In any case, blanks or not.
    fn from_str(text: &str) -> Result<Self, UnknownChip> {
        let plain = |name: &str| name.replace([' ', '-', '_'], "").to_lowercase();
        let chip = CHIPS.into_iter().find(|c| plain(c.name) == plain(text));
        chip.ok_or_else(|| UnknownChip(text.to_owned()))
    }
}
