//! What bounds kernels on this CPU: copying memory, and multiplying matrices of f32.

use super::{Timer, matrix, rows_of_part};
use crate::{BenchError, Case, Opened, Roof, Target};
use gemm_common::Parallelism;
use rayon::prelude::*;

/// Elements of f32 of the copy: more than caches hold.
const COPIED: usize = 1 << 25;
/// Rows, columns and tokens of the product.
const SIDE: usize = 1024;

/// The copy and the product.
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
    let cube = (SIDE * SIDE * SIDE) as u64;
    let bytes = 3 * 4 * (SIDE * SIDE) as u64;
    Roof {
        copy: Box::new(Copy(case(
            "cpu_copy",
            COPIED / SIDE,
            SIDE,
            None,
            8 * COPIED as u64,
            0,
        ))),
        product: Some(Box::new(Product(case(
            "cpu_gemm_f32",
            SIDE,
            SIDE,
            Some(SIDE),
            bytes,
            2 * cube,
        )))),
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

struct Product(Case);

impl Target for Product {
    fn case(&self) -> &Case {
        &self.0
    }

    fn memory(&self) -> u64 {
        self.0.bytes
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let (x, w) = (matrix(SIDE * SIDE, 2), matrix(SIDE * SIDE, 3));
        let mut y = vec![0f32; SIDE * SIDE];
        let threads = rayon::current_num_threads();
        let side = SIDE as isize;
        Ok(Box::new(Timer(move || {
            // SAFETY: three matrices of SIDE x SIDE, row after row; y is no part of the others.
            unsafe {
                gemm_f32::gemm::f32::get_gemm_fn()(
                    SIDE,
                    SIDE,
                    SIDE,
                    y.as_mut_ptr(),
                    1,
                    side,
                    false,
                    x.as_ptr(),
                    1,
                    side,
                    w.as_ptr(),
                    1,
                    side,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    match threads {
                        1 => Parallelism::None,
                        threads => Parallelism::Rayon(threads),
                    },
                );
            }
            std::hint::black_box(&mut y);
            Ok(())
        })))
    }
}
