//! bf16 pairs by AMX tiles: 32 tokens by 32 rows of W by 32 columns in four instructions.
//!
//! **The order of sums** differs from the chains. `tdpbf16ps` takes 32 columns: the products of
//! even and of odd columns form two chains of fused multiply-adds from zero, and their sum is added
//! to the accumulator. The accumulator takes 512 columns from zero and is then added to y.
//! Subnormals count as zero, in operands too. AMX is used where all of x and W are bf16 and codes
//! are decoded in registers (4, 6 or 8 bits, blocks of whole sixteens); otherwise products are
//! chains of f32. A sum does not depend on other tokens, other rows, threads or the number of
//! tokens. But its last bits differ from the other paths, which all CPUs have, so AMX is used only
//! on request.
//!
//! This path was tested on an emulation of the instructions (`emulated.rs`), not on a chip with
//! AMX. With one token it reads all of W for a sixteenth of a tile.
//!
//! ```text
//!     tiles   4: x, tokens 0..16   6: W, rows 0..16   7: W, rows 16..32   [16 pairs][rows]
//!             5: x, tokens 16..32
//!     sums    0 = 4 x 6    1 = 4 x 7
//!             2 = 5 x 6    3 = 5 x 7
//! ```
//!
//! Intel SDM, volume 2: LDTILECFG, TILELOADD, TDPBF16PS, TILESTORED; Linux,
//! Documentation/arch/x86/xstate.rst.

#[cfg(all(test, target_os = "linux"))]
mod emulated;

use super::panels::Panels;
use super::step::{Pairs, Step, TileShape};
use super::words::WordSink;
use crate::cpu::simd::Avx512;
use std::arch::asm;
use std::arch::x86_64::{__m512, __m512i};
use std::ops::Range;
use std::sync::OnceLock;

/// Rows of a tile, and words of one of its rows.
const SIDE: usize = 16;
/// What four products of tiles multiply.
const SHAPE: TileShape = TileShape {
    tokens: 2 * SIDE,
    rows: 2 * SIDE,
    steps: SIDE,
};

/// AMX tiles. Proof that the CPU has them, and that this process may use them.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Tiles {
    pairs: Pairs,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Tiles for so many tokens; without rows are those of tokens that are not there.
    fn new(tokens: usize) -> Self {
        let mut rows = [0; 16];
        let (lower, upper) = (tokens.min(SIDE) as u8, tokens.saturating_sub(SIDE) as u8);
        rows[..8].copy_from_slice(&[
            lower, lower, upper, upper, lower, upper, SIDE as u8, SIDE as u8,
        ]);
        Self {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: rows.map(|rows| if rows > 0 { 4 * SIDE as u16 } else { 0 }),
            rows,
        }
    }
}

impl Tiles {
    /// # Safety
    /// [`is_available`], and the CPU must have AVX512_BF16 and AVX512_VBMI.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        // SAFETY: as above.
        let pairs = unsafe { Pairs::new() };
        Self { pairs }
    }
}

impl Step<Avx512> for Tiles {
    const COLUMNS: usize = 2;
    const TILES: Option<TileShape> = Some(SHAPE);

    #[inline(always)]
    fn outline<R>(self, s: Avx512, f: impl FnOnce() -> R) -> R {
        self.pairs.outline(s, f)
    }

    fn add(self, _: Avx512, _: __m512, _: __m512i, _: __m512i) -> __m512 {
        unreachable!("tiles add up steps of their own")
    }

    fn multiply_tiles(
        self,
        panel: &[f32],
        words: &[f32],
        stride: usize,
        tokens: usize,
        sums: &mut [f32],
    ) {
        let steps = panel.len() / SHAPE.rows;
        assert!((1..=SHAPE.tokens).contains(&tokens) && steps > 0);
        assert!(panel.len().is_multiple_of(SHAPE.rows * SHAPE.steps));
        assert!(words.len() >= (tokens - 1) * stride + steps && stride >= steps);
        assert!(sums.len() >= tokens * SHAPE.rows);
        let config = Config::new(tokens);
        // SAFETY: the CPU has the instructions, as `self` proves, and the assertions keep the tiles
        // of `config` inside the slices: of W whole ones, of x and of the sums as many rows as
        // there are tokens; x of tokens from 16 on is not read where there are none. No tile is in
        // use outside of this.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "2:",
                "tileloadd tmm6, [{w} + {w_stride}*1]",
                "tileloadd tmm7, [{w} + {w_stride}*1 + 64]",
                "tileloadd tmm4, [{x} + {x_stride}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "cmp {tokens}, 16",
                "jbe 3f",
                "tileloadd tmm5, [{x_upper} + {x_stride}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "3:",
                "add {w}, 2048",
                "add {x}, 64",
                "add {x_upper}, 64",
                "dec {count}",
                "jnz 2b",
                "tilestored [{sums} + {w_stride}*1], tmm0",
                "tilestored [{sums} + {w_stride}*1 + 64], tmm1",
                "cmp {tokens}, 16",
                "jbe 4f",
                "tilestored [{sums} + {w_stride}*1 + 2048], tmm2",
                "tilestored [{sums} + {w_stride}*1 + 2112], tmm3",
                "4:",
                "tilerelease",
                config = in(reg) &raw const config,
                w = inout(reg) panel.as_ptr() => _,
                w_stride = in(reg) 4 * SHAPE.rows,
                x = inout(reg) words.as_ptr() => _,
                x_upper = inout(reg) words.as_ptr().wrapping_add(SIDE * stride) => _,
                x_stride = in(reg) 4 * stride,
                count = inout(reg) steps / SHAPE.steps => _,
                tokens = in(reg) tokens,
                sums = in(reg) sums.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    #[inline(always)]
    fn decode<const V: usize, const KIND: u8>(
        self,
        s: Avx512,
        panels: &Panels,
        first: usize,
        columns: Range<usize>,
        rounds: bool,
        sink: &mut impl WordSink<Avx512>,
    ) {
        self.pairs
            .decode::<V, KIND>(s, panels, first, columns, rounds, sink);
    }
}

/// Whether this CPU has tiles of bf16 and the system lets this process use them; asked once.
pub(super) fn is_available() -> bool {
    #[cfg(all(test, target_os = "linux"))]
    if emulated::is_installed() {
        return true;
    }
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| has_tiles() && may_use_tiles())
}

fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
    features & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
}

/// Asks Linux for the state of tiles, which processes do not have of themselves.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but what this process may do.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}
