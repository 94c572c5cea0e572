//! Loops of one instruction each, as fast as a CPU issues it: sums enough to hide its latency,
//! operands in registers.
//!
//! Each function is called only where [`super::arithmetic::Arithmetic::is_available`] says so.

#[cfg(target_arch = "x86_64")]
use std::arch::{asm, x86_64::*};
use std::hint::black_box;

/// Sums in registers of 512 bits, of which there are 32.
#[cfg(target_arch = "x86_64")]
pub const SUMS_512: usize = 24;
/// Sums in registers of 256 bits, of which there are 16.
#[cfg(target_arch = "x86_64")]
pub const SUMS_256: usize = 12;
/// Sums in registers of 128 bits.
pub const SUMS_PORTABLE: usize = 12;
/// Tiles of sums beside two of operands.
#[cfg(target_arch = "x86_64")]
pub const TILES: usize = 6;

/// A loop over sums of a vector type. Sums begin apart, and `$hide` makes the operand unknown
/// again before each product, so that no two of them are one.
#[cfg(target_arch = "x86_64")]
macro_rules! sums {
    (
        $(#[$doc:meta])*
        $name:ident, $features:literal, $register:ident, $count:ident, $splat:ident($start:ty),
        $operand:expr, |$sum:ident, $a:ident, $b:ident| $step:expr
    ) => {
        $(#[$doc])*
        pub fn $name(steps: usize) {
            #[target_feature(enable = $features)]
            fn run(steps: usize) {
                let mut sums = [$splat(0 as $start); $count];
                for (index, sum) in sums.iter_mut().enumerate() {
                    *sum = $splat(black_box(index as $start));
                }
                let (mut $a, $b) = (black_box($operand), black_box($operand));
                for _ in 0..steps {
                    for sum in &mut sums {
                        // SAFETY: it is no instruction at all.
                        unsafe {
                            asm!(
                                "/* {0} */",
                                inout($register) $a,
                                options(pure, nomem, nostack, preserves_flags)
                            );
                        }
                        let $sum = *sum;
                        *sum = $step;
                    }
                }
                black_box(sums);
            }
            // SAFETY: the CPU has the features where this is called.
            unsafe { run(steps) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
sums!(
    /// `vfmadd` of 16 f32.
    fma_avx512, "avx512f", zmm_reg, SUMS_512, _mm512_set1_ps(f32),
    _mm512_set1_ps(0.5), |sum, a, b| _mm512_fmadd_ps(a, b, sum)
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `vfmadd` of 8 f32.
    fma_avx2, "avx2,fma", ymm_reg, SUMS_256, _mm256_set1_ps(f32),
    _mm256_set1_ps(0.5), |sum, a, b| _mm256_fmadd_ps(a, b, sum)
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `vdpbf16ps` of 32 bf16.
    dot_bf16, "avx512f,avx512bf16", zmm_reg, SUMS_512, _mm512_set1_ps(f32),
    _mm512_set1_epi32(0x3F00_3F00), |sum, a, b| _mm512_dpbf16_ps(sum, pairs(a), pairs(b))
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `vpdpbusd` of 64 bytes.
    vnni_avx512, "avx512f,avx512vnni", zmm_reg, SUMS_512, _mm512_set1_epi32(i32),
    _mm512_set1_epi8(1), |sum, a, b| _mm512_dpbusd_epi32(sum, a, b)
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `vpdpbusd` of 32 bytes.
    vnni_avx, "avx2,avxvnni", ymm_reg, SUMS_256, _mm256_set1_epi32(i32),
    _mm256_set1_epi8(1), |sum, a, b| _mm256_dpbusd_avx_epi32(sum, a, b)
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `vpmaddubsw` of 64 bytes, and the addition of its 16-bit sums.
    maddubs_avx512, "avx512f,avx512bw", zmm_reg, SUMS_512, _mm512_set1_epi16(i16),
    _mm512_set1_epi8(1), |sum, a, b| _mm512_add_epi16(sum, _mm512_maddubs_epi16(a, b))
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `vpmaddubsw` of 32 bytes, and the addition of its 16-bit sums.
    maddubs_avx2, "avx2", ymm_reg, SUMS_256, _mm256_set1_epi16(i16),
    _mm256_set1_epi8(1), |sum, a, b| _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b))
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// Products and sums of four f32.
    f32_portable, "sse2", xmm_reg, SUMS_PORTABLE, _mm_set1_ps(f32),
    _mm_set1_ps(0.5), |sum, a, b| _mm_add_ps(sum, _mm_mul_ps(a, b))
);
#[cfg(target_arch = "x86_64")]
sums!(
    /// `pmaddwd` of eight 16-bit integers, and the addition of its sums.
    int8_portable, "sse2", xmm_reg, SUMS_PORTABLE, _mm_set1_epi32(i32),
    _mm_set1_epi16(1), |sum, a, b| _mm_add_epi32(sum, _mm_madd_epi16(a, b))
);

/// The same bits as pairs of bf16.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pairs(words: __m512i) -> __m512bh {
    // SAFETY: the two vector types have the same bits.
    unsafe { std::mem::transmute(words) }
}

/// Fused multiply-adds of four f32, as the compiler makes them.
#[cfg(not(target_arch = "x86_64"))]
pub fn f32_portable(steps: usize) {
    let mut sums = [[0f32; 4]; SUMS_PORTABLE];
    for _ in 0..steps {
        let operand = black_box([0.5f32; 4]);
        for sum in &mut sums {
            for (sum, x) in sum.iter_mut().zip(operand) {
                *sum = x.mul_add(x, *sum);
            }
        }
    }
    black_box(sums);
}

/// Products of 8-bit integers in sums of 32 bits, as the compiler makes them.
#[cfg(not(target_arch = "x86_64"))]
pub fn int8_portable(steps: usize) {
    let mut sums = [[0i32; 8]; SUMS_PORTABLE];
    for _ in 0..steps {
        let operand = black_box([1i8; 8]);
        for sum in &mut sums {
            for (sum, x) in sum.iter_mut().zip(operand) {
                *sum += i32::from(x) * i32::from(x);
            }
        }
    }
    black_box(sums);
}

/// What `ldtilecfg` reads: eight tiles of 16 rows of 64 bytes.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

#[cfg(target_arch = "x86_64")]
static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// A loop over tiles of sums; operands are zero.
#[cfg(target_arch = "x86_64")]
macro_rules! tiles {
    ($(#[$doc:meta])* $name:ident, $instruction:literal) => {
        $(#[$doc])*
        pub fn $name(steps: usize) {
            if steps == 0 {
                return;
            }
            // SAFETY: the CPU has the instructions, and the system lets this process use them,
            // where this is called. No memory but the configuration is read, none is written, and
            // no tile is in use outside of this.
            unsafe {
                asm!(
                    "ldtilecfg [{config}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    concat!($instruction, " tmm0, tmm6, tmm7"),
                    concat!($instruction, " tmm1, tmm6, tmm7"),
                    concat!($instruction, " tmm2, tmm6, tmm7"),
                    concat!($instruction, " tmm3, tmm6, tmm7"),
                    concat!($instruction, " tmm4, tmm6, tmm7"),
                    concat!($instruction, " tmm5, tmm6, tmm7"),
                    "dec {steps}",
                    "jnz 2b",
                    "tilerelease",
                    config = in(reg) &raw const CONFIG,
                    steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
tiles!(
    /// `tdpbf16ps`; it was not tried on a chip.
    tiles_bf16, "tdpbf16ps"
);
#[cfg(target_arch = "x86_64")]
tiles!(
    /// `tdpbssd`; it was not tried on a chip.
    tiles_int8, "tdpbssd"
);

/// Whether the CPU multiplies tiles of 8-bit integers.
#[cfg(target_arch = "x86_64")]
pub fn has_int8_tiles() -> bool {
    const AMX_INT8: u32 = 1 << 25;
    __cpuid_count(7, 0).edx & AMX_INT8 != 0
}
