//! What follows from signatures.

use mxlab_harness::assemble::Target;
use mxlab_harness::device::Device;
use mxlab_kernels::family::log_probs::LogProbs;
use mxlab_kernels::family::matmul::{MatmulOutput, MatmulVariant, Regime};
use mxlab_kernels::fragment::WeightFormat;
use mxlab_kernels::kernel::{
    Call, ElementType, Kernel, KernelId, Signature, Slice, rows, rows_alone, size,
};
use mxlab_kernels::registry::{Entry, Expectation, kernels};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn id(name: &str) -> KernelId {
    KernelId::new([name], Target::new(80))
}

/// A failure is made small by its rows: each must come out as it does in the whole.
#[test]
fn a_row_alone_has_the_results_of_the_row() {
    let mut compared = 0;
    let of_rows = ["copy", "swiglu", "norm_add", "layer_norm", "multiply"];
    let families = [&["log_probs", "sample"][..], &of_rows].concat();
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
                family if of_rows.contains(&family) => problem.size("dst_stride").unwrap(),
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
    let longer = Signature::new(id("x"), 1, [size("rows"), 1.into(), 1.into()]).input(
        "src",
        ElementType::Bf16,
        rows(size("rows"), size("src_stride"), size("cols") * 1000),
    );
    assert!(rows_alone(&longer, &short).is_empty());
}

/// The table of operands in the header of a text is written for people.
#[test]
fn extents_print_as_formulas() {
    let signature = Signature::new(id("x"), 32, [size("rows"), 1.into(), 1.into()])
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
    let signature = Signature::new(id("y"), 32, [size("rows"), 1.into(), 1.into()])
        .output("dst", ElementType::F32, size("rows"))
        .input("src", ElementType::F32, size("rows"))
        .optional()
        .may_be("dst")
        .size("rows")
        .bounded("rows", 0.into(), Some(99), 1)
        .derived("part", size("rows").div_ceil(size("parts")));
    assert_eq!(
        signature.header(),
        "//     dst   out: f32 [rows]; alignment 4\n\
         //     src   in: f32 [rows]; alignment 4; 0 if there is none; may be dst\n\
         //     rows  u32, at most 99\n\
         //     part  u32, rows / parts rounded up\n"
    );
}

/// An operand that a kernel does not have would be lost.
#[test]
fn an_operand_that_the_kernel_does_not_have_is_refused() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let buffer = device.upload("y", &[0f32; 64]).unwrap();
    let launched = |output, residual: &'static str| {
        let variant = MatmulVariant::new(WeightFormat::Dense, Regime::Gemv8, output);
        let call = Call::new().buffer(residual, Slice::whole(&buffer));
        let sizes = [("rows", 0), ("cols", 1), ("tokens", 1), ("parts", 1)];
        let strides = [("src_stride", 64), ("dst_stride", 0)];
        let call = call.sizes(sizes).sizes(strides);
        variant.launcher(&device).unwrap().launch(&stream, &call)
    };
    launched(MatmulOutput::Bf16, "residual").unwrap();
    for (output, name) in [
        (MatmulOutput::F32, "residual"),
        (MatmulOutput::Bf16, "residaul"),
    ] {
        let error = launched(output, name).unwrap_err().to_string();
        let expected = format!("it has no operand {name}; expected dst, codes, scales, src, ");
        assert!(error.contains(&expected), "{error}");
    }
}

/// An id is taken apart as it is put together, and nothing else is one.
#[test]
fn ids_round_trip() {
    for entry in kernels() {
        let id = entry.id();
        assert_eq!(id.parse::<KernelId>().as_ref(), Ok(&id));
        let target = Target::from_ptx(&entry.ptx()).unwrap();
        assert_eq!(id.target(), target, "{id}");
    }
    let of_words = KernelId::new(["round", "half-to-zero", "", "k32"], Target::new(89));
    assert_eq!(of_words, "round_half_to_zero_k32__sm89");
    for text in [
        "",
        "copy",
        "copy__sm",
        "__sm80",
        "copy_bf16_sm80",
        "Copy__sm80",
        "a b__sm80",
    ] {
        assert!(text.parse::<KernelId>().is_err(), "{text}");
    }
}
