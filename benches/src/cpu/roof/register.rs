//! The widest registers of an instruction set, for loops that do nothing but move memory.

/// A register that lines of memory go through.
///
/// # Safety
/// The functions may only run where the CPU has the register, on pointers that are valid for
/// [`Register::BYTES`] and aligned to as many.
pub unsafe trait Register: Copy {
    /// Its size.
    const BYTES: usize;

    /// A byte in every place.
    ///
    /// # Safety
    /// That of the trait.
    unsafe fn splat(byte: u8) -> Self;

    /// Reads one.
    ///
    /// # Safety
    /// That of the trait.
    unsafe fn load(from: *const u8) -> Self;

    /// Writes one.
    ///
    /// # Safety
    /// That of the trait.
    unsafe fn store(self, to: *mut u8);

    /// Writes one past the caches.
    ///
    /// # Safety
    /// That of the trait.
    unsafe fn stream(self, to: *mut u8);

    /// The exclusive or of both.
    ///
    /// # Safety
    /// That of the trait.
    unsafe fn xor(self, other: Self) -> Self;

    /// Asks for the line of an address, which need not be valid.
    ///
    /// # Safety
    /// That of the trait.
    unsafe fn prefetch(address: *const u8);
}

/// A vector type of x86-64 and its intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! register {
    ($type:ty, $splat:ident, $load:ident, $store:ident, $stream:ident, $xor:ident) => {
        // SAFETY: the intrinsics do what the trait says.
        unsafe impl Register for $type {
            const BYTES: usize = size_of::<Self>();

            #[inline(always)]
            unsafe fn splat(byte: u8) -> Self {
                // SAFETY: the CPU has the register.
                unsafe { $splat(byte as i8) }
            }

            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                // SAFETY: as above; the pointer is valid and aligned.
                unsafe { $load(from.cast()) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                // SAFETY: as above.
                unsafe { $store(to.cast(), self) }
            }

            #[inline(always)]
            unsafe fn stream(self, to: *mut u8) {
                // SAFETY: as above; the pass ends with a fence.
                unsafe { $stream(to.cast(), self) }
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: the CPU has the register.
                unsafe { $xor(self, other) }
            }

            #[inline(always)]
            unsafe fn prefetch(address: *const u8) {
                // SAFETY: a prefetch of any address is allowed.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
register!(
    __m512i,
    _mm512_set1_epi8,
    _mm512_load_si512,
    _mm512_store_si512,
    _mm512_stream_si512,
    _mm512_xor_si512
);
#[cfg(target_arch = "x86_64")]
register!(
    __m256i,
    _mm256_set1_epi8,
    _mm256_load_si256,
    _mm256_store_si256,
    _mm256_stream_si256,
    _mm256_xor_si256
);
#[cfg(target_arch = "x86_64")]
register!(
    __m128i,
    _mm_set1_epi8,
    _mm_load_si128,
    _mm_store_si128,
    _mm_stream_si128,
    _mm_xor_si128
);

/// What compilers make registers of where there are no intrinsics here. It streams by plain
/// stores and does not prefetch.
#[cfg(not(target_arch = "x86_64"))]
// SAFETY: plain reads and writes do what the trait says.
unsafe impl Register for [u64; 2] {
    const BYTES: usize = 16;

    #[inline(always)]
    unsafe fn splat(byte: u8) -> Self {
        [u64::from_ne_bytes([byte; 8]); 2]
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the pointer is valid and aligned.
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: as above.
        unsafe { to.cast::<Self>().write(self) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: as above.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        [self[0] ^ other[0], self[1] ^ other[1]]
    }

    #[inline(always)]
    unsafe fn prefetch(_address: *const u8) {}
}
