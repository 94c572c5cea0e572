//! The vector operations that the kernels are written in, per instruction set.
//!
//! A value of a type that implements [`Simd`] proves that the CPU has its instruction set, so
//! its methods are safe. All are `inline(always)`, to take on the features of the kernel; a kernel
//! takes them from [`Simd::outline`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod e2m1;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use e2m1::PacksE2m1;
pub(super) use portable::Portable;

use super::pack::CHUNK;

/// Lanes of f32 and u32. Arithmetic is IEEE, round to nearest; integers wrap.
pub(super) trait Simd: Copy {
    /// Lanes in a vector; divides [`super::pack::CHUNK`], or is 1.
    const LANES: usize;
    /// Whether products decode codes in registers, which pays where a lane is not a number of its
    /// own.
    const DECODES_WORDS: bool;
    /// Whether [`Simd::look_up`] is a single instruction.
    const LOOKS_UP_LANES: bool;
    /// f32 lanes.
    type F: Copy;
    /// u32 lanes.
    type U: Copy;
    /// A condition per lane.
    type M: Copy;
    /// Sixteen f32 to look up.
    type Table: Copy;
    /// Sixteen bytes to look up.
    type Bytes: Copy;
    /// Packs E2M1 in few operations.
    type E2m1: PacksE2m1<Self>;

    /// Runs `f` as a function of its own that is compiled for the instruction set. `f` and what it
    /// calls must be `inline(always)`: no closures of vectors, as for `map`. Compile time grows
    /// faster than the size of a function: a body that several others use, or that is large,
    /// belongs behind this boundary.
    fn outline<R>(self, f: impl FnOnce() -> R) -> R;

    /// Whether and how E2M1 is packed in few operations.
    fn e2m1(self) -> Option<Self::E2m1>;

    /// The first [`Simd::LANES`] elements.
    fn load(self, x: &[f32]) -> Self::F;
    /// Fetches the cache line that lies `ahead` elements behind the first, if it exists.
    #[inline(always)]
    fn prefetch<T>(self, _x: &[T], _ahead: usize) {}
    /// Overwrites the first [`Simd::LANES`] elements.
    fn store(self, x: Self::F, to: &mut [f32]);
    /// The first [`Simd::LANES`] bytes, widened.
    fn load_bytes(self, x: &[u8]) -> Self::U;
    /// The nibbles of the first [`Simd::LANES`] / 2 bytes, low first, widened.
    fn load_nibbles(self, x: &[u8]) -> Self::U;
    /// The first [`Simd::LANES`] halves of words, widened.
    fn load_halves(self, x: &[u16]) -> Self::U;
    /// The first [`Simd::LANES`] words.
    fn load_bits(self, x: &[u32]) -> Self::U;
    /// The lanes, each below 256, as bytes.
    fn store_bytes(self, x: Self::U, to: &mut [u8]);
    /// The lanes, each below 16, as nibbles, low first; [`Simd::LANES`] is even.
    fn store_nibbles(self, x: Self::U, to: &mut [u8]);

    /// The lanes of the first 32 / [`Simd::LANES`] vectors, each below 16, as nibbles, low first.
    #[inline(always)]
    fn store_nibbles_of_32(self, x: &[Self::U; 4], to: &mut [u8]) {
        let bytes = to[..16].chunks_exact_mut(Self::LANES / 2);
        for (&x, to) in x.iter().zip(bytes) {
            self.store_nibbles(x, to);
        }
    }
    /// The lanes of the first 32 / [`Simd::LANES`] vectors, each below 256, as bytes.
    #[inline(always)]
    fn store_bytes_of_32(self, x: &[Self::U; 4], to: &mut [u8]) {
        let bytes = to[..32].chunks_exact_mut(Self::LANES);
        for (&x, to) in x.iter().zip(bytes) {
            self.store_bytes(x, to);
        }
    }

    fn splat(self, x: f32) -> Self::F;
    fn splat_bits(self, x: u32) -> Self::U;
    /// 0, 1, 2, ...
    fn iota(self) -> Self::U;
    fn bits(self, x: Self::F) -> Self::U;
    fn float(self, x: Self::U) -> Self::F;

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// a b + c, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller; neither is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// A signed integer as a float.
    fn convert(self, x: Self::U) -> Self::F;

    fn add_bits(self, a: Self::U, b: Self::U) -> Self::U;
    fn sub_bits(self, a: Self::U, b: Self::U) -> Self::U;
    fn mul_bits(self, a: Self::U, b: Self::U) -> Self::U;
    fn and(self, a: Self::U, b: Self::U) -> Self::U;
    fn or(self, a: Self::U, b: Self::U) -> Self::U;
    fn xor(self, a: Self::U, b: Self::U) -> Self::U;
    /// The larger, unsigned.
    fn max_bits(self, a: Self::U, b: Self::U) -> Self::U;
    fn shift_left(self, x: Self::U, count: u32) -> Self::U;
    fn shift_right(self, x: Self::U, count: u32) -> Self::U;
    /// The largest lane, unsigned.
    fn largest(self, x: Self::U) -> u32;
    /// The largest lane of each of the first [`Simd::LANES`] vectors, unsigned.
    #[inline(always)]
    fn largest_of_each(self, x: &[Self::U; CHUNK]) -> Self::U {
        let mut largest = [0.0; CHUNK];
        for (largest, &x) in largest.iter_mut().zip(&x[..Self::LANES]) {
            *largest = f32::from_bits(self.largest(x));
        }
        self.bits(self.load(&largest))
    }

    /// The sum of the lanes of each of the first [`Simd::LANES`] vectors, in any order.
    #[inline(always)]
    fn sum_of_each(self, x: &[Self::F; CHUNK]) -> Self::F {
        let mut sums = [0.0; CHUNK];
        for (sum, &x) in sums.iter_mut().zip(&x[..Self::LANES]) {
            let mut lanes = [0.0; CHUNK];
            self.store(x, &mut lanes);
            *sum = lanes[..Self::LANES].iter().sum();
        }
        self.load(&sums)
    }

    fn equal(self, a: Self::F, b: Self::F) -> Self::M;
    fn at_most(self, a: Self::F, b: Self::F) -> Self::M;
    /// Signed comparison of integers.
    fn exceeds(self, a: Self::U, b: Self::U) -> Self::M;
    fn both(self, a: Self::M, b: Self::M) -> Self::M;
    fn either(self, a: Self::M, b: Self::M) -> Self::M;
    fn not(self, a: Self::M) -> Self::M;
    /// Whether the condition holds in every lane.
    fn all(self, a: Self::M) -> bool;
    /// x where the condition holds, else 0.
    fn keep_if(self, condition: Self::M, x: Self::U) -> Self::U;
    /// x where the condition does not hold, else 0.
    fn keep_unless(self, condition: Self::M, x: Self::U) -> Self::U;

    fn table(self, values: &[f32; 16]) -> Self::Table;
    /// The entry that each lane's low four bits say.
    fn look_up(self, table: Self::Table, index: Self::U) -> Self::F;

    fn sixteen_bytes(self, bytes: &[u8; 16]) -> Self::Bytes;
    /// For every byte of the index the entry that its low four bits say, or 0 if its highest bit is
    /// set.
    fn look_up_bytes(self, table: Self::Bytes, index: Self::U) -> Self::U;
    /// The sums of bytes, which wrap.
    fn add_bytes(self, a: Self::U, b: Self::U) -> Self::U;
    /// The bytes of lanes in the order in which [`Simd::zip_bytes`] takes them.
    fn arrange_bytes(self, x: Self::U) -> Self::U;
    /// Halves of lanes with a byte of `low` and one of `high` each: of bytes 0 and 1 of a lane, and
    /// of its bytes 2 and 3, before they were arranged.
    fn zip_bytes(self, low: Self::U, high: Self::U) -> [Self::U; 2];
    /// a - b in halves of lanes, unsigned; 0 where b is larger.
    fn lower_halves(self, a: Self::U, b: Self::U) -> Self::U;
}
