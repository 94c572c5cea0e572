//! What follows from signatures.

use mxlab_kernels::family::log_probs::LogProbs;
use mxlab_kernels::kernel::{ElementType, Signature, rows, rows_alone, size};
use mxlab_kernels::registry::{Entry, Expectation, kernels};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A failure is made small by its rows: each must come out as it does in the whole.
#[test]
fn a_row_alone_has_the_results_of_the_row() {
    let mut compared = 0;
    let families = ["log_probs", "sample", "copy", "swiglu"];
    for entry in kernels()
        .filter(|entry| families.contains(&entry.family()))
        .step_by(97)
    {
        for seed in 0..4 {
            let problem = entry.problem(&mut ChaCha8Rng::seed_from_u64(seed), 600);
            let whole = entry.reference(&problem).unwrap();
            let smaller = entry.smaller(&problem);
            let count = problem.size("rows").unwrap();
            assert_eq!(smaller.len(), if count == 1 { 0 } else { count });
            let stride = match entry.family() {
                "copy" | "swiglu" => problem.size("dst_stride").unwrap(),
                _ => 1,
            };
            for (row, alone) in smaller.iter().enumerate() {
                let alone = entry.reference(alone).unwrap();
                for output in ["dst", "dst_max", "dst_argmax", "dst_target"] {
                    let (Some(whole), Some(alone)) = (whole.get(output), alone.get(output)) else {
                        continue;
                    };
                    let (Expectation::Exactly(whole), Expectation::Exactly(alone)) = (whole, alone)
                    else {
                        panic!("{output} of {} has ranges", entry.id());
                    };
                    let got = &whole.bits[row * stride..][..alone.bits.len()];
                    assert_eq!(got, alone.bits, "{} row {row}", entry.id());
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 50, "{compared}");
    let short = LogProbs.problem(&mut ChaCha8Rng::seed_from_u64(0), 600);
    let longer = Signature::new("x", 1, [size("rows"), 1.into(), 1.into()]).input(
        "src",
        ElementType::Bf16,
        rows(size("rows"), size("src_stride"), size("cols") * 1000),
    );
    assert!(rows_alone(&longer, &short).is_empty());
}

/// The table of operands in the header of a text is written for people.
#[test]
fn extents_print_as_formulas() {
    let signature = Signature::new("x", 32, [size("rows"), 1.into(), 1.into()])
        .output(
            "dst",
            ElementType::U8,
            size("rows") * size("cols").div_ceil(16) * 8,
        )
        .input(
            "src",
            ElementType::Bf16,
            rows(
                size("rows"),
                size("src_stride"),
                size("cols").next_multiple_of(8),
            ),
        )
        .aligned(16)
        .stride("src_stride", size("cols"), 8);
    assert_eq!(
        signature.header(),
        "//     dst         out: u8 [rows * (cols / 16 rounded up) * 8]; alignment 1\n\
         //     src         in: bf16 [rows, cols up to a multiple of 8], rows src_stride apart; \
         alignment 16\n\
         //     src_stride  u32, a multiple of 8 and at least cols\n"
    );
}
