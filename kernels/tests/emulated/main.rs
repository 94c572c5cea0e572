//! The PTX kernels, run by the emulator, against the reference, bit for bit.
//!
//! `MXLAB_EMULATED=all` runs every kernel that [`Variant::all`] lists instead of a sample.

mod case;
mod inputs;

use case::{Shape, check, check_elements};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, Rounding};
use mxlab_kernels::ptx::{Access, Family, Variant};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a kernel's text depends on.
fn axes(variant: &Variant) -> [String; 9] {
    let format = variant.format();
    let rounding = match format.rounding() {
        Rounding::Stochastic { .. } => "stochastic".to_owned(),
        rounding => rounding.to_string(),
    };
    [
        variant.family().to_string(),
        format.element().to_string(),
        format!("{} {}", format.scale(), format.rule()),
        format.block_size().to_string(),
        rounding,
        variant.dense().to_string(),
        variant.access().name().to_owned(),
        format.dialect().to_string(),
        variant.target().to_string(),
    ]
}

/// Kernels such that any three properties of one in the list are those of one in the sample.
fn sample() -> Vec<Variant> {
    let takes_all = std::env::var("MXLAB_EMULATED").is_ok_and(|which| which == "all");
    let mut seen = HashSet::new();
    let mut is_new = |variant: &Variant| {
        let axes = axes(variant);
        let mut is_new = takes_all;
        for a in 0..axes.len() {
            for b in a + 1..axes.len() {
                for c in b + 1..axes.len() {
                    let triple = (a, b, c, [&axes[a], &axes[b], &axes[c]].map(String::clone));
                    is_new |= seen.insert(triple);
                }
            }
        }
        is_new
    };
    Variant::all().filter(|variant| is_new(variant)).collect()
}

/// Shapes that a kernel must get right, few elements each.
fn shapes(variant: &Variant) -> Vec<Shape> {
    let k = variant.format().block_size();
    let shape = |rows, cols, first_row, gap, offset| Shape {
        rows,
        cols,
        first_row,
        gap,
        offset,
    };
    match variant.access() {
        // Three thread blocks, the last one short.
        Access::Aligned => vec![shape(3, 11 * 128, 1, 0, 0), shape(0, 128, 0, 0, 0)],
        Access::Ragged => vec![
            shape(5, 3 * k + 5, 2, 3, 1),
            shape(2, 2 * k + k / 2 + 9, 0, 0, 3),
            shape(9, 1, 0, 1, 2),
            shape(2, 0, 0, 4, 0),
            shape(0, 7, 0, 0, 0),
        ],
    }
}

#[test]
fn every_family_equals_the_reference() {
    let sample = sample();
    let families: HashSet<Family> = sample.iter().map(Variant::family).collect();
    assert_eq!(families.len(), Family::ALL.len());
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(variant) = sample.get(n) else {
                break;
            };
            for (seed, shape) in (8 * n as u32..).zip(shapes(variant)) {
                if let Err(what) = check(variant, shape, seed) {
                    failures.lock().unwrap().push(what);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    let some: Vec<_> = failures.iter().take(20).map(String::as_str).collect();
    assert!(
        failures.is_empty(),
        "{} of {} kernels:\n{}",
        failures.len(),
        sample.len(),
        some.join("\n")
    );
    println!("{} kernels", sample.len());
}

#[test]
fn random_numbers_follow_the_index_beyond_32_bits() {
    let fp8 = BlockFormat::new(ElementFormat::FP8_E4M3).rounding(Rounding::Stochastic { seed: 0 });
    let format = fp8.build().unwrap();
    for access in Access::ALL {
        let variant = Variant::new(Family::Quantize, format, FloatType::Bf16, access).unwrap();
        // The second row crosses 2^32; the last rows are those of the largest number.
        for first_row in [(1 << 21) - 2, u32::MAX as usize - 3] {
            let shape = Shape {
                rows: 4,
                cols: 2048,
                first_row,
                gap: 0,
                offset: 0,
            };
            check(&variant, shape, 5).unwrap();
        }
    }
}

#[test]
fn the_scale_of_a_tensor_larger_than_the_grid_sees_all_of_it() {
    let format = BlockFormat::NVFP4;
    for access in Access::ALL {
        let variant = Variant::new(Family::TensorScale, format, FloatType::Bf16, access).unwrap();
        let shape = Shape {
            rows: 3,
            cols: 1 << 20,
            first_row: 0,
            gap: 0,
            offset: 0,
        };
        assert_eq!(variant.grid(shape.rows, shape.cols), Ok(1024));
        // In the grid's first step, at the start of its second one, and last of all.
        for at in [7, 1024 * 256 * 8, shape.rows * shape.cols - 1] {
            let mut x = vec![0.5; shape.rows * shape.cols];
            x[at] = -3.0;
            check_elements(&variant, shape, x, 0).unwrap();
        }
    }
}
