//! Quantise, dequantise and both in one pass, on one core: every format and instruction set of
//! this CPU, on a matrix that fits the L2 cache and on one of 64 MiB.
//!
//! Throughput is bytes of f32 per second: read when quantising, written when dequantising, held
//! when done in place. A kernel is measured only after it equalled the reference on the very
//! matrix of the measurement, in this process; otherwise the bench stops.
//!
//! `cargo bench -p mxlab-benches -- 'quantize/fp4_e2m1 e8m0 .*/avx512/L2'` picks some.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use mxlab_kernels::cpu::{Isa, Quantizer, dequantize_with};
use mxlab_kernels::format::{
    BlockFormat, Dialect, ElementFormat, FloatType, PackedTensor, Rounding, ScaleFormat, random_at,
};
use mxlab_kernels::reference;
use std::cell::OnceCell;
use std::time::Duration;

const COLS: usize = 1024;

/// Rows of each size of matrix.
const SIZES: [(&str, usize); 2] = [("L2", 64), ("64MiB", 16384)];

/// Every element format under E8M0, and the scales, roundings and dialects under FP4.
fn formats() -> Vec<BlockFormat> {
    let fp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
    let elements = ElementFormat::ALL
        .iter()
        .map(|&element| BlockFormat::new(element));
    let others = [
        fp4.block_size(16),
        fp4.scale(ScaleFormat::UE5M3).block_size(16),
        BlockFormat::NVFP4.to_builder(),
        fp4.dialect(Dialect::MicroxcalingCuda),
        fp4.dialect(Dialect::MicroxcalingTorch),
        fp4.dialect(Dialect::Nvidia),
        fp4.rounding(Rounding::Stochastic { seed: 1 }),
    ];
    let builders = elements.chain(others);
    builders
        .map(|builder| builder.build().expect("the parts fit together"))
        .collect()
}

/// Uniform values whose range changes from block to block.
fn matrix(rows: usize) -> Vec<f32> {
    let value = |i: u64| {
        let uniform = f64::from(random_at(1, i)) / f64::from(u32::MAX) - 0.5;
        (uniform * 2f64.powi((random_at(2, i / 32) % 16) as i32 - 8)) as f32
    };
    (0..(rows * COLS) as u64).map(value).collect()
}

/// A matrix and what the reference makes of it, computed when first asked for.
struct Case {
    format: BlockFormat,
    x: Vec<f32>,
    expected: OnceCell<(PackedTensor, Vec<u32>)>,
}

impl Case {
    fn rows(&self) -> usize {
        self.x.len() / COLS
    }

    fn quantizer(&self, isa: Isa) -> Quantizer {
        let quantizer = Quantizer::for_tensor(self.format, FloatType::F32, &self.x);
        quantizer
            .expect("float32 suits every dialect")
            .with_isa(isa)
    }

    /// The packed tensor, after every kernel of the instruction set equalled the reference.
    fn verified(&self, isa: Isa) -> &PackedTensor {
        let rows = self.rows();
        let (packed, values) = self.expected.get_or_init(|| {
            let packed = reference::quantize(&self.x, rows, COLS, &self.format, FloatType::F32);
            let packed = packed.expect("the matrix has whole rows");
            let values = bits(&reference::dequantize(&packed));
            (packed, values)
        });
        let refuse = |kernel| -> ! {
            panic!(
                "refusing to bench: {kernel} {} {isa} differs from the reference",
                self.format
            )
        };
        if self.quantizer(isa).quantize(&self.x, rows, COLS).as_ref() != Ok(packed) {
            refuse("quantize");
        }
        let mut out = vec![0.0; self.x.len()];
        if dequantize_with(isa, packed, 0..rows, &mut out).is_err() || bits(&out) != *values {
            refuse("dequantize");
        }
        out.copy_from_slice(&self.x);
        let fake = self.quantizer(isa).fake_quantize_rows(&mut out, COLS, 0);
        if fake.is_err() || bits(&out) != *values {
            refuse("fake_quantize");
        }
        packed
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn bench(criterion: &mut Criterion, size: &str, case: &Case) {
    let rows = case.rows();
    let mut out = vec![0.0; case.x.len()];
    for operation in ["quantize", "dequantize", "fake_quantize"] {
        let mut group = criterion.benchmark_group(format!("{operation}/{}", case.format));
        group.throughput(Throughput::Bytes(4 * case.x.len() as u64));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(400));
        for isa in Isa::available() {
            let verified = OnceCell::new();
            group.bench_function(BenchmarkId::new(isa.name(), size), |bencher| {
                let packed = *verified.get_or_init(|| case.verified(isa));
                let quantizer = case.quantizer(isa);
                match operation {
                    "quantize" => {
                        let mut codes = packed.codes().to_vec();
                        let mut scales = packed.scales().to_vec();
                        bencher.iter(|| {
                            quantizer.quantize_rows(&case.x, COLS, 0, &mut codes, &mut scales)
                        });
                    }
                    "dequantize" => {
                        bencher.iter(|| dequantize_with(isa, packed, 0..rows, &mut out));
                    }
                    // The values of the first pass are quantised again: as fast, and in place.
                    _ => {
                        out.copy_from_slice(&case.x);
                        bencher.iter(|| quantizer.fake_quantize_rows(&mut out, COLS, 0));
                    }
                }
            });
        }
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (size, rows) in SIZES {
        let x = matrix(rows);
        for format in formats() {
            let case = Case {
                format,
                x: x.clone(),
                expected: OnceCell::new(),
            };
            bench(&mut criterion, size, &case);
        }
    }
    criterion.final_summary();
}
