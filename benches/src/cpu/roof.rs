//! The bounds of kernels on this CPU: a memory copy, and f32 fused multiply-adds.

use super::{Timer, matrix, rows_of_part};
use crate::{BenchError, Case, Opened, Roof, Target};
use mxlab_kernels::cpu::Isa;
use rayon::prelude::*;

/// f32 elements of the copy: more than caches hold.
const COPIED: usize = 1 << 25;
const COLS: usize = 1024;
/// Independent sums: enough to hide the latency of 16 AVX-512 vectors.
const CHAINS: usize = 256;
/// Multiply-adds of each.
const STEPS: usize = 1 << 14;

/// The copy and the multiply-adds.
pub fn roof() -> Roof {
    let case = |kernel: &str, rows, cols, tokens, bytes, operations| Case {
        kernel: kernel.to_owned(),
        family: "roof".to_owned(),
        rows,
        cols,
        tokens,
        bytes,
        operations,
    };
    let fused = rayon::current_num_threads() * STEPS * CHAINS;
    Roof {
        copy: Box::new(Copy(case(
            "cpu_copy",
            COPIED / COLS,
            COLS,
            None,
            8 * COPIED as u64,
            0,
        ))),
        product: Some(Box::new(Product(case(
            "cpu_fma_f32",
            STEPS,
            CHAINS,
            None,
            0,
            2 * fused as u64,
        )))),
        // Nothing is launched.
        empty: None,
    }
}

struct Copy(Case);

impl Target for Copy {
    fn case(&self) -> &Case {
        &self.0
    }

    fn memory(&self) -> u64 {
        self.0.bytes
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let from = matrix(COPIED, 1);
        let mut to = vec![0f32; COPIED];
        let part = rows_of_part(self.0.rows) * self.0.cols;
        Ok(Box::new(Timer(move || {
            let parts = to.par_chunks_mut(part).zip(from.par_chunks(part));
            parts.for_each(|(to, from)| to.copy_from_slice(from));
            std::hint::black_box(&mut to);
            Ok(())
        })))
    }
}

/// Fused multiply-adds out of registers.
struct Product(Case);

impl Target for Product {
    fn case(&self) -> &Case {
        &self.0
    }

    fn memory(&self) -> u64 {
        0
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let threads = rayon::current_num_threads();
        Ok(Box::new(Timer(move || {
            let sums = (0..threads).into_par_iter().map(|_| fused_steps(STEPS));
            std::hint::black_box(sums.sum::<f32>());
            Ok(())
        })))
    }
}

/// Sums of fused multiply-adds, in the vectors of this CPU.
fn fused_steps(steps: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(steps: usize) -> f32 {
            sums(steps)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(steps: usize) -> f32 {
            sums(steps)
        }
        match Isa::best() {
            // SAFETY: the CPU has the instruction set.
            Isa::Avx512 => return unsafe { avx512(steps) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(steps) },
            Isa::Portable => {}
        }
    }
    sums(steps)
}

#[inline(always)]
fn sums(steps: usize) -> f32 {
    let mut sums = [0.0f32; CHAINS];
    let factor = std::hint::black_box(0.5f32);
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = factor.mul_add(factor, *sum);
        }
    }
    sums.iter().sum()
}
