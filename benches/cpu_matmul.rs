//! y = x W^T with W packed [8192, 2048], on one thread and on all: every path of this CPU, one token, a
//! few, and a prompt.
//!
//! Throughput is floating-point operations a second, two for a product and its sum; for one token,
//! bytes of packed weights. Behind each group stand the medians as fractions of what the same run
//! measured the core to do: f32 fused multiply-adds out of registers, and a copy (read and written) of
//! 256 MiB. A product is timed only after its first and last token equalled the
//! definition, bit for bit, in this process; otherwise the bench stops.
//!
//! `cargo bench -p mxlab-benches --bench cpu_matmul -- 'fp4_e2m1 e8m0 .*/avx512-bf16'` picks some.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use mxlab_kernels::cpu::{Isa, Matmul, Path};
use mxlab_kernels::format::{
    BlockFormat, ElementFormat, FloatType, PackedTensor, ScaleFormat, random_at,
};
use mxlab_kernels::{cpu, reference};
use rayon::ThreadPool;
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROWS: usize = 8192;
const COLS: usize = 2048;
const TOKENS: [usize; 3] = [1, 16, 512];

/// MX elements under E8M0, and FP4 as its other scales have it.
fn formats() -> Vec<BlockFormat> {
    let fp4 = BlockFormat::new(ElementFormat::FP4_E2M1);
    let elements = ElementFormat::ALL
        .iter()
        .map(|&element| BlockFormat::new(element));
    let others = [
        fp4.scale(ScaleFormat::UE5M3).block_size(16),
        BlockFormat::NVFP4.to_builder(),
    ];
    let builders = elements.chain(others);
    builders
        .map(|builder| builder.build().expect("the parts fit together"))
        .collect()
}

/// Uniform bf16 numbers between -1 and 1.
fn values(seed: u32, count: usize) -> Vec<f32> {
    let value = |i| FloatType::Bf16.round(random_at(seed, i) as i32 as f32 / 2f32.powi(31));
    (0..count as u64).map(value).collect()
}

/// The definition: chains of 512 fused multiply-adds, added up in order.
fn chains(x: &[f32], w: &[f32]) -> f32 {
    let chain = |(x, w): (&[f32], &[f32])| {
        x.iter()
            .zip(w)
            .fold(0.0f32, |sum, (x, w)| w.mul_add(*x, sum))
    };
    let sums = x.chunks(512).zip(w.chunks(512)).map(chain);
    sums.reduce(|total, sum| total + sum).unwrap_or(0.0)
}

/// Stops the bench unless the first and the last token are what the definition says.
fn verify(path: Path, weights: &PackedTensor, w: &[f32], x: &[f32], y: &mut [f32]) {
    Matmul::new(weights)
        .with_path(path)
        .multiply(x, y)
        .expect("the sizes fit");
    for token in [0, x.len() / COLS - 1] {
        let x = &x[token * COLS..][..COLS];
        for (row, (y, w)) in y[token * ROWS..]
            .iter()
            .zip(w.chunks_exact(COLS))
            .enumerate()
        {
            let expected = chains(x, w);
            assert!(
                y.to_bits() == expected.to_bits(),
                "refusing to bench: {path} {}: token {token} row {row} is {y:e}, not {expected:e}",
                weights.format()
            );
        }
    }
}

/// What one core was measured to do.
struct Peaks {
    /// Operations a second of f32 fused multiply-adds.
    fused: f64,
    /// Bytes a second, read and written.
    copy: f64,
}

impl Peaks {
    fn measure() -> Self {
        let from = vec![1u8; 256 << 20];
        let mut to = vec![0u8; from.len()];
        let copy = best(|| black_box(&mut to).copy_from_slice(black_box(&from)));
        let steps = 1 << 20;
        let fused = best(|| {
            black_box(fused_steps(black_box(steps)));
        });
        Self {
            fused: steps as f64 * 2.0 * CHAINS as f64 / fused,
            copy: 2.0 * from.len() as f64 / copy,
        }
    }
}

/// Independent sums: what hides the latency of 16 vectors of AVX-512.
const CHAINS: usize = 256;

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
    let factor = black_box(0.5f32);
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = factor.mul_add(factor, *sum);
        }
    }
    sums.iter().sum()
}

/// Seconds of the fastest of several calls.
fn best(mut call: impl FnMut()) -> f64 {
    let seconds = (0..10).map(|_| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

fn bench(criterion: &mut Criterion, format: BlockFormat, pools: &[ThreadPool]) {
    let w = values(1, ROWS * COLS);
    let weights = cpu::quantize(&w, ROWS, COLS, &format, FloatType::F32).expect("sizes fit");
    let w = reference::dequantize(&weights);
    for tokens in TOKENS {
        let x = values(2, tokens * COLS);
        let mut y = vec![0.0; tokens * ROWS];
        let mut medians = Vec::new();
        let operations = 2.0 * (ROWS * COLS * tokens) as f64;
        let mut group = criterion.benchmark_group(format!("matmul/{format}/{tokens}"));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_secs(1));
        group.throughput(match tokens {
            1 => Throughput::Bytes(weights.bytes() as u64),
            _ => Throughput::Elements(operations as u64),
        });
        let paths = Path::available().into_iter();
        // Portable steps are calls into the C library.
        for path in paths.filter(|path| path.isa() != Isa::Portable) {
            for pool in pools {
                let threads = pool.current_num_threads();
                let id = BenchmarkId::new(path.name(), format!("{threads}-threads"));
                let mut seconds = Vec::new();
                group.bench_function(id, |bencher| {
                    if seconds.is_empty() {
                        verify(path, &weights, &w, &x, &mut y);
                    }
                    let matmul = Matmul::new(&weights).with_path(path);
                    bencher.iter_custom(|count| {
                        let start = Instant::now();
                        pool.install(|| {
                            for _ in 0..count {
                                matmul.multiply(&x, &mut y).expect("the sizes fit");
                            }
                        });
                        let elapsed = start.elapsed();
                        seconds.push(elapsed.as_secs_f64() / count as f64);
                        elapsed
                    });
                });
                seconds.sort_by(f64::total_cmp);
                if let Some(&median) = seconds.get(seconds.len() / 2) {
                    medians.push((path, threads, median));
                }
            }
        }
        group.finish();
        let peaks = (!medians.is_empty()).then(Peaks::measure);
        for (peaks, (path, threads, median)) in peaks.iter().cycle().zip(medians) {
            println!(
                "{format} {tokens} tokens {path} {threads} threads: {:.0} us, {:.1} GFLOP/s = {:.2} of f32 \
                 steps on one core ({:.0}), {:.1} GB/s of weights = {:.2} of a copy ({:.1})",
                median * 1e6,
                operations / median / 1e9,
                operations / median / peaks.fused,
                peaks.fused / 1e9,
                weights.bytes() as f64 / median / 1e9,
                weights.bytes() as f64 / median / peaks.copy,
                peaks.copy / 1e9,
            );
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads can be started")
    };
    let mut pools = vec![pool(1)];
    if all > 1 {
        pools.push(pool(all));
    }
    for format in formats() {
        bench(&mut criterion, format, &pools);
    }
    criterion.final_summary();
}
