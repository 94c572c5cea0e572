//! The PTX emulator on one core, every check on: arithmetic, kernels that quantise, with vectors
//! and one element at a time, a tile in shared memory, products on tensor cores.
//!
//! Throughput is thread instructions per second: 32 for each instruction that a whole warp runs.
//! A kernel is measured only after its results equalled what the host computes, in this process;
//! otherwise the bench stops.

use criterion::{Criterion, SamplingMode, Throughput};
use half::bf16;
use mxlab_kernels::family::block::{Addressing, BlockOperation, BlockVariant};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, ScaleRule, random_at};
use mxlab_kernels::kernel::Kernel;
use mxlab_kernels::reference;
use ptx_emulator::launch::{DEFAULT_BUDGET, Geometry, Kernels};
use ptx_emulator::memory::global::GlobalMemory;
use ptx_emulator::statistics::Statistics;
use std::time::Duration;

/// A kernel with its memory, launched again and again.
struct Launch {
    name: &'static str,
    kernels: Kernels,
    memory: GlobalMemory,
    parameters: Vec<u8>,
    grid: u32,
    block: u32,
}

impl Launch {
    fn new(name: &'static str, ptx: &str, grid: u32, block: u32) -> Self {
        let kernels = Kernels::load(ptx).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            name,
            kernels,
            memory: GlobalMemory::new(1 << 30),
            parameters: Vec::new(),
            grid,
            block,
        }
    }

    /// A buffer that the kernel writes, as its next parameter.
    fn output(&mut self, bytes: usize) -> u64 {
        let address = self.memory.allocate(bytes as u64, "output");
        let address = address.expect("the memory is large enough");
        self.parameters.extend(address.to_le_bytes());
        address
    }

    /// A buffer that the kernel reads, as its next parameter.
    fn input(&mut self, bytes: &[u8]) {
        let address = self.output(bytes.len());
        let written = self.memory.write(address, bytes);
        written.expect("the buffer is that long");
    }

    fn number(&mut self, value: u32) {
        self.parameters.extend(value.to_le_bytes());
    }

    fn run(&mut self) -> Statistics {
        let geometry = Geometry {
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            dynamic_shared: 0,
        };
        let kernel = self.kernels.programs()[0].name.clone();
        let memory = &mut self.memory;
        self.kernels
            .launch(&kernel, geometry, &self.parameters, memory, DEFAULT_BUDGET)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the kernel left in a buffer.
    fn bytes(&self, address: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = self.memory.read(address, &mut bytes);
        read.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        bytes
    }

    /// Stops the bench unless the kernel leaves `expected` in a buffer.
    fn verify(&mut self, address: u64, expected: &[u8]) {
        self.run();
        let equal = self.bytes(address, expected.len()) == expected;
        assert!(equal, "{} does not compute what the host does", self.name);
    }
}

fn arithmetic() -> Launch {
    const STEPS: u32 = 1000;
    let (grid, block) = (8, 256);
    let ptx = include_str!("emulator/arithmetic.ptx");
    let mut launch = Launch::new("arithmetic", ptx, grid, block);
    let out = launch.output((4 * grid * block) as usize);
    launch.number(STEPS);
    let expected = (0..grid * block).flat_map(|thread| {
        let (mut x, mut f) = (thread, 0f32);
        for _ in 0..STEPS {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let low = ((x >> 16) ^ x) & 0xffff;
            let g = if low > 0x8000 { low as f32 } else { 1.0 };
            f = f.mul_add(0.5, g).max(1.0);
        }
        (f.to_bits() ^ x).to_le_bytes()
    });
    launch.verify(out, &expected.collect::<Vec<u8>>());
    launch
}

/// Uniform bf16 values whose range changes from block to block.
fn matrix(rows: usize, cols: usize) -> Vec<bf16> {
    let value = |i: u64| {
        let uniform = f64::from(random_at(1, i)) / f64::from(u32::MAX) - 0.5;
        let scale = (random_at(2, i / 32) % 16) as i32 - 8;
        bf16::from_f64(uniform * 2f64.powi(scale))
    };
    (0..(rows * cols) as u64).map(value).collect()
}

/// bf16 to FP4 with E8M0 scales, k = 32: codes and scales in one pass, or codes by given scales.
fn encode(
    name: &'static str,
    operation: BlockOperation,
    addressing: Addressing,
    rule: ScaleRule,
) -> Launch {
    let (rows, cols) = (128, 2048);
    let format = BlockFormat::new(ElementFormat::FP4_E2M1).rule(rule);
    let format = format.build().expect("the parts fit together");
    let variant = BlockVariant::new(operation, format, FloatType::Bf16, addressing);
    let variant = variant.expect("there is such a kernel");
    let x = matrix(rows, cols);
    let wide: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
    let packed = reference::quantize(&wide, rows, cols, &format, FloatType::Bf16);
    let packed = packed.expect("the matrix has whole rows");
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();

    let sizes = [("rows", rows), ("cols", cols), ("src_stride", cols)];
    let sizes = sizes.into_iter().collect();
    let grid = variant.signature().thread_blocks(&sizes);
    let [grid, ..] = grid.expect("the matrix is small");
    let mut launch = Launch::new(name, &variant.ptx(), grid, variant.block_threads());
    let codes = launch.output(packed.codes().len());
    let scales = match operation {
        BlockOperation::Quantize => Some(launch.output(packed.scales().len())),
        _ => None,
    };
    launch.input(&bytes);
    if scales.is_none() {
        launch.input(packed.scales());
    }
    for number in [rows, cols, cols] {
        launch.number(number as u32);
    }
    launch.verify(codes, packed.codes());
    if let Some(scales) = scales {
        launch.verify(scales, packed.scales());
    }
    launch
}

fn tile() -> Launch {
    let (grid, steps) = (8, 101);
    let mut launch = Launch::new("tile", include_str!("emulator/tile.ptx"), grid, 256);
    let out = launch.output((4096 * grid) as usize);
    let words = |element: fn(u32) -> u32| -> Vec<u8> {
        let all = (0..grid).flat_map(|block| (0..1024).map(move |at| (block, at)));
        all.flat_map(|(block, at)| (block << 16 | element(at)).to_le_bytes())
            .collect()
    };
    launch.input(&words(|at| at));
    launch.number(steps);
    launch.verify(out, &words(|at| at % 32 * 32 + at / 32));
    launch
}

fn product() -> Launch {
    let (grid, steps) = (8, 1000);
    let mut launch = Launch::new("product", include_str!("emulator/product.ptx"), grid, 32);
    let out = launch.output((1024 * grid) as usize);
    // Small integers: every sum is exact.
    let element = |seed: u32, at: usize| (random_at(seed, at as u64) % 17) as f32 - 8.0;
    for seed in [1, 2] {
        let matrix = (0..256).map(|at| bf16::from_f32(element(seed, at)));
        launch.input(&matrix.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
    launch.number(steps);
    let dot = |at: usize| -> f32 {
        let terms = (0..16).map(|k| element(1, at / 16 * 16 + k) * element(2, at % 16 * 16 + k));
        terms.sum()
    };
    let block: Vec<u8> = (0..256)
        .flat_map(|at| (steps as f32 * dot(at)).to_le_bytes())
        .collect();
    launch.verify(out, &block.repeat(grid as usize));
    launch
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10)
        .configure_from_args();
    let mut group = criterion.benchmark_group("emulator");
    group.sampling_mode(SamplingMode::Flat);
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let one_core = one_core.expect("a thread can be started");
    let launches = [
        arithmetic(),
        encode(
            "quantize",
            BlockOperation::Quantize,
            Addressing::Aligned,
            ScaleRule::Floor,
        ),
        encode(
            "quantize_mse",
            BlockOperation::Quantize,
            Addressing::Ragged,
            ScaleRule::Mse,
        ),
        encode(
            "round",
            BlockOperation::Round,
            Addressing::Ragged,
            ScaleRule::Floor,
        ),
        tile(),
        product(),
    ];
    for mut launch in launches {
        let instructions = launch.run().thread_instructions();
        group.throughput(Throughput::Elements(instructions));
        group.bench_function(launch.name, |bencher| {
            one_core.install(|| bencher.iter(|| launch.run()));
        });
    }
    group.finish();
    criterion.final_summary();
}
