//! Benches every kernel that this machine runs; each is verified in this process before it is
//! timed. On a GPU these are the PTX kernels, timed by events, and cuBLAS; otherwise the SIMD
//! kernels on one thread, for every instruction set of the CPU.
//!
//! Throughput counts the bytes that must move, each once, or the operations of products. The line
//! below each kernel compares it with a copy or a matrix product, timed before in the same process.
//!
//! `cargo bench -- cpu_quantize_fp4` picks some; `mxlab bench` is the same with rounds and a
//! record.

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use mxlab_benches::gpu::Gpu;
use mxlab_benches::suite::{self, Selection};
use mxlab_benches::{BenchError, Opened, Roof, Target, cpu};
use mxlab_harness::device::Device;
use mxlab_harness::measure::{Sampling, Timing};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Seconds, by whatever clock a target has.
struct Seconds;

impl Measurement for Seconds {
    type Intermediate = Instant;
    type Value = f64;

    fn start(&self) -> Instant {
        Instant::now()
    }

    fn end(&self, start: Instant) -> f64 {
        start.elapsed().as_secs_f64()
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, seconds: &f64) -> f64 {
        *seconds
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

fn scale(values: &mut [f64], by: f64) {
    values.iter_mut().for_each(|value| *value *= by);
}

impl ValueFormatter for Seconds {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (by, unit) = match typical {
            s if s < 1e-6 => (1e9, "ns"),
            s if s < 1e-3 => (1e6, "µs"),
            s if s < 1.0 => (1e3, "ms"),
            _ => (1.0, "s"),
        };
        scale(values, by);
        unit
    }

    fn scale_throughputs(
        &self,
        _typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let (count, unit) = match *throughput {
            Throughput::Elements(operations) => (operations as f64 / 1e9, "Gop/s"),
            Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => {
                (bytes as f64 / 1e9, "GB/s")
            }
            _ => (1.0, "/s"),
        };
        for value in values {
            *value = count / *value;
        }
        unit
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "s"
    }
}

/// The rates that a machine reaches: bytes and operations a second.
struct Bounds {
    copy: f64,
    product: f64,
}

impl Bounds {
    fn measure(roof: &Roof) -> Result<Self, BenchError> {
        let sampling = Sampling {
            warm_up_s: 0.1,
            sample_s: 0.02,
            samples: 15,
        };
        let median = |target: &dyn Target| -> Result<f64, BenchError> {
            let mut opened = target.open()?;
            let runs = sampling.runs(&mut *opened)?;
            let rounds = vec![sampling.round(&mut *opened, runs)?];
            Ok(Timing { runs, rounds }.median())
        };
        let copy = roof.copy.case().bytes as f64 / median(&*roof.copy)?;
        let product = match &roof.product {
            Some(product) => product.case().operations as f64 / median(&**product)?,
            None => f64::INFINITY,
        };
        println!(
            "copy: {:.1} GB/s; product: {:.1} Gop/s\n",
            copy / 1e9,
            product / 1e9
        );
        Ok(Self { copy, product })
    }
}

fn bench(criterion: &mut Criterion<Seconds>, targets: &[Box<dyn Target>], bounds: &Bounds) {
    for target in targets {
        let case = target.case();
        let mut group = criterion.benchmark_group(&case.kernel);
        group.throughput(match case.operations {
            0 => Throughput::Bytes(case.bytes),
            operations => Throughput::Elements(operations),
        });
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.warm_up_time(Duration::from_millis(100));
        group.measurement_time(Duration::from_millis(400));
        let opened: RefCell<Option<Box<dyn Opened>>> = RefCell::default();
        let times = RefCell::new(Vec::new());
        group.bench_function(BenchmarkId::from_parameter(case.shape()), |bencher| {
            // Only what the filter lets through is verified.
            let mut opened = opened.borrow_mut();
            let opened = opened.get_or_insert_with(|| {
                let shape = case.shape();
                target
                    .open()
                    .unwrap_or_else(|error| panic!("{} {shape}: {error}", case.kernel))
            });
            bencher.iter_custom(|runs| {
                let seconds = opened
                    .time(runs as u32)
                    .unwrap_or_else(|error| panic!("{}: {error}", case.kernel));
                times.borrow_mut().push(seconds / runs as f64);
                seconds
            });
        });
        group.finish();
        let rounds = vec![times.into_inner()];
        if !rounds[0].is_empty() {
            let median = Timing { runs: 1, rounds }.median();
            let [memory, product] = [
                case.bytes as f64 / bounds.copy,
                case.operations as f64 / bounds.product,
            ];
            let (bound, of) = match memory >= product {
                true => (memory, "bandwidth of the copy"),
                false => (product, "rate of the product"),
            };
            println!("    {:.0} % of the {of}\n", 100.0 * bound / median);
        }
    }
}

fn run(criterion: &mut Criterion<Seconds>) -> Result<(), BenchError> {
    let selection = Selection::default();
    match Device::cuda(0) {
        Ok(device) => {
            let gpu = Gpu::new(device)?;
            println!("{}", gpu.properties().name);
            let bounds = Bounds::measure(&gpu.roof(selection.seed)?)?;
            bench(criterion, &suite::gpu(&gpu, &selection)?, &bounds);
        }
        Err(error) => {
            println!("no GPU ({error}): the kernels of the CPU, one thread");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
            pool.build_global().expect("the first pool");
            let bounds = Bounds::measure(&cpu::roof())?;
            let targets = suite::cpu(&Selection {
                kernels: vec![glob::Pattern::new("*").expect("a pattern")],
                ..selection
            });
            bench(criterion, &targets, &bounds);
        }
    }
    Ok(())
}

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(Seconds)
        .configure_from_args();
    if let Err(error) = run(&mut criterion) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
    criterion.final_summary();
}
