//! A pass over memory, in the widest registers of this CPU.

use super::register::Register;
use mxlab_kernels::cpu::Isa;

/// A cache line, and its alignment.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line(#[expect(dead_code, reason = "read by pointers")] [u8; LINE]);

impl Line {
    /// One that is not zero: pages of zeros may all be one page of memory.
    pub const ONES: Self = Self([1; LINE]);
}

/// Its bytes.
pub const LINE: usize = 64;
/// Lines of a step of a stream.
const UNROLLED: usize = 4;
/// Lines that a pass is a multiple of.
pub const STEP: usize = UNROLLED * 4;

/// What a pass does with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Reads.
    Read,
    /// Writes.
    Fill,
    /// Writes past the caches.
    FillStreaming,
    /// Reads and writes elsewhere.
    Copy,
    /// Reads and writes elsewhere, past the caches.
    CopyStreaming,
    /// Reads and writes in place.
    Update,
}

impl Traffic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Fill,
        Self::FillStreaming,
        Self::Copy,
        Self::CopyStreaming,
        Self::Update,
    ];

    /// The beginning of the roof's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "cpu_read",
            Self::Fill => "cpu_fill",
            Self::FillStreaming => "cpu_fill_streaming",
            Self::Copy => "cpu_copy",
            Self::CopyStreaming => "cpu_copy_streaming",
            Self::Update => "cpu_update",
        }
    }

    /// Whether it goes past the caches.
    pub const fn is_streaming(self) -> bool {
        matches!(self, Self::FillStreaming | Self::CopyStreaming)
    }

    /// Whether it has a source beside its destination.
    pub const fn has_source(self) -> bool {
        matches!(self, Self::Copy | Self::CopyStreaming)
    }

    /// Times that it reads and writes each byte of its destination, or of what it reads.
    pub const fn counts(self) -> [u64; 2] {
        match self {
            Self::Read => [1, 0],
            Self::Fill | Self::FillStreaming => [0, 1],
            Self::Copy | Self::CopyStreaming | Self::Update => [1, 1],
        }
    }
}

/// How a pass goes through memory: what suits a CPU is found out.
#[derive(Clone, Copy, Debug)]
pub enum Walk {
    /// From the first line to the last.
    Straight,
    /// Straight, asking for lines ahead.
    Prefetched,
    /// In four streams side by side.
    Streams,
    /// In four streams, asking for lines ahead.
    PrefetchedStreams,
}

impl Walk {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Straight,
        Self::Prefetched,
        Self::Streams,
        Self::PrefetchedStreams,
    ];
}

/// Passes over `to`, whole steps, from `from` where the traffic has a source.
pub fn pass(traffic: Traffic, walk: Walk, from: &[Line], to: &mut [Line]) {
    assert!(to.len().is_multiple_of(STEP));
    assert!(from.len() == to.len() || !traffic.has_source());
    let walked = match walk {
        Walk::Straight => widest::<1, 0>,
        Walk::Prefetched => widest::<1, 2048>,
        Walk::Streams => widest::<4, 0>,
        Walk::PrefetchedStreams => widest::<4, 1024>,
    };
    walked(traffic, from, to);
}

/// In the widest registers that this CPU has.
fn widest<const STREAMS: usize, const AHEAD: usize>(
    traffic: Traffic,
    from: &[Line],
    to: &mut [Line],
) {
    let bytes = to.len() * LINE;
    let (from, to) = (from.as_ptr().cast::<u8>(), to.as_mut_ptr().cast::<u8>());
    let pass = Pass { from, to, bytes };
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m128i, __m256i, __m512i};

        /// # Safety
        /// That of [`Pass::go`].
        #[target_feature(enable = "avx512f")]
        unsafe fn avx512<const S: usize, const A: usize>(pass: Pass, traffic: Traffic) {
            // SAFETY: the CPU has the register; the rest is the caller's promise.
            unsafe { pass.go::<__m512i, S, A>(traffic) }
        }
        /// # Safety
        /// That of [`Pass::go`].
        #[target_feature(enable = "avx2")]
        unsafe fn avx2<const S: usize, const A: usize>(pass: Pass, traffic: Traffic) {
            // SAFETY: as above.
            unsafe { pass.go::<__m256i, S, A>(traffic) }
        }
        // SAFETY: the CPU has the features. The slices are whole steps of aligned lines, and as
        // long as each other where both are used.
        unsafe {
            if Isa::Avx512.is_available() {
                avx512::<STREAMS, AHEAD>(pass, traffic);
            } else if Isa::Avx2.is_available() {
                avx2::<STREAMS, AHEAD>(pass, traffic);
            } else {
                pass.go::<__m128i, STREAMS, AHEAD>(traffic);
            }
            // Streaming stores are done when the pass is.
            std::arch::x86_64::_mm_sfence();
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: as above.
    unsafe {
        pass.go::<[u64; 2], STREAMS, AHEAD>(traffic);
    }
}

/// Where a pass goes.
#[derive(Clone, Copy)]
struct Pass {
    from: *const u8,
    to: *mut u8,
    bytes: usize,
}

impl Pass {
    /// # Safety
    /// The CPU has the register, and the pointers are valid for the traffic's bytes, which are
    /// whole steps of aligned lines.
    #[inline(always)]
    unsafe fn go<R: Register, const STREAMS: usize, const AHEAD: usize>(self, traffic: Traffic) {
        let Self { from, to, .. } = self;
        // SAFETY: the offsets are inside the slices; prefetched addresses may be outside.
        unsafe {
            let one = R::splat(1);
            match traffic {
                Traffic::Read => {
                    let mut seen = [R::splat(0); UNROLLED];
                    self.lines::<R, STREAMS>(|at, line| {
                        prefetch::<R, AHEAD>(to.wrapping_add(at));
                        seen[line] = seen[line].xor(R::load(to.add(at)));
                    });
                    std::hint::black_box(seen);
                }
                Traffic::Fill => self.lines::<R, STREAMS>(|at, _| one.store(to.add(at))),
                Traffic::FillStreaming => {
                    self.lines::<R, STREAMS>(|at, _| one.stream(to.add(at)));
                }
                Traffic::Copy => self.lines::<R, STREAMS>(|at, _| {
                    prefetch::<R, AHEAD>(from.wrapping_add(at));
                    R::load(from.add(at)).store(to.add(at));
                }),
                Traffic::CopyStreaming => self.lines::<R, STREAMS>(|at, _| {
                    prefetch::<R, AHEAD>(from.wrapping_add(at));
                    R::load(from.add(at)).stream(to.add(at));
                }),
                Traffic::Update => self.lines::<R, STREAMS>(|at, _| {
                    prefetch::<R, AHEAD>(to.wrapping_add(at));
                    R::load(to.add(at)).xor(one).store(to.add(at));
                }),
            }
        }
    }

    /// Calls for every register's offset, in streams side by side.
    #[inline(always)]
    fn lines<R: Register, const STREAMS: usize>(self, mut visit: impl FnMut(usize, usize)) {
        let stream = self.bytes / STREAMS;
        for step in (0..stream).step_by(UNROLLED * LINE) {
            for first in 0..STREAMS {
                for line in 0..UNROLLED {
                    for part in (0..LINE).step_by(R::BYTES) {
                        visit(first * stream + step + line * LINE + part, line);
                    }
                }
            }
        }
    }
}

/// Asks for the line that lies some bytes ahead, once a line.
#[inline(always)]
fn prefetch<R: Register, const AHEAD: usize>(address: *const u8) {
    if AHEAD > 0 && (R::BYTES == LINE || address.addr().is_multiple_of(LINE)) {
        // SAFETY: a prefetch of any address is allowed.
        unsafe { R::prefetch(address.wrapping_add(AHEAD)) }
    }
}
