//! Benches every kernel that this machine runs; each is verified in this process before it is
//! timed. On a GPU these are the PTX kernels, timed by events, and cuBLAS; otherwise the SIMD
//! kernels on one thread, on the fastest path of the CPU.
//!
//! Throughput counts the bytes that must move, each once, or the operations of products. The line
//! below each kernel names the bound that it comes closest to, timed before in the same process.
//!
//! `cargo bench -- cpu_quantize_fp4` picks some; `cargo bench -- 'cpu_quantize_fp4.*__avx2'` those
//! of a slower path, which are left out otherwise; `mxlab bench` is the same with rounds and a
//! record.

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use mxlab_benches::gpu::Gpu;
use mxlab_benches::record::{Measured, RoofRecord};
use mxlab_benches::run::{Found, Observer};
use mxlab_benches::suite::{self, Selection};
use mxlab_benches::{BenchError, Case, Opened, Plan, Roof, Target, cpu, run};
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

/// The bounds of a machine, timed once.
fn measure(roof: &Roof) -> Result<RoofRecord, BenchError> {
    let sampling = Sampling {
        warm_up_s: 0.05,
        sample_s: 0.005,
        samples: 10,
    };
    let plan = Plan {
        sampling,
        rounds: 3,
        energy_s: 0.0,
        memory: 0,
    };
    let found = run(&[], roof, &plan, None, &mut Silent)?;
    let refused = found.refused.into_iter().map(|refused| refused.reason);
    let missing = || BenchError::Wrong(refused.collect::<Vec<_>>().join("; "));
    let record = found.roof.ok_or_else(missing)?;
    for Measured { case, timing, .. } in record.measured() {
        let (count, unit) = match case.operations {
            0 if case.bytes == 0 => continue,
            0 => (case.bytes, "GB/s"),
            operations => (operations, "Gop/s"),
        };
        let rate = count as f64 / timing.median() / 1e9;
        println!("{:30} {rate:8.1} {unit}", case.kernel);
    }
    println!();
    Ok(record)
}

struct Silent;

impl Observer for Silent {
    fn working_on(&mut self, _case: &Case, _round: Option<u32>) {}

    fn done(&mut self, _found: &Found) -> Result<(), BenchError> {
        Ok(())
    }
}

fn bench(criterion: &mut Criterion<Seconds>, targets: &[Box<dyn Target>], roof: &RoofRecord) {
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
            if let Some(bound) = roof.bound(case) {
                let percent = 100.0 * bound.seconds / median;
                println!("    {percent:.0} % of {}\n", bound.roof.case.kernel);
            }
        }
    }
}

fn bench_all(criterion: &mut Criterion<Seconds>) -> Result<(), BenchError> {
    let selection = Selection::default();
    match Device::cuda(0) {
        Ok(device) => {
            let gpu = Gpu::new(device)?;
            println!("{}", gpu.properties().name);
            let roof = measure(&gpu.roof(selection.seed)?)?;
            bench(criterion, &suite::gpu(&gpu, &selection)?, &roof);
        }
        Err(error) => {
            println!("no GPU ({error}): the kernels of the CPU, one thread");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
            pool.build_global().expect("the first pool");
            let suite = suite::cpu(&Selection {
                kernels: kernels(),
                ..selection
            });
            if let Some(note) = suite.note() {
                println!("{note}\n");
            }
            let roof = cpu::roof(suite.targets.iter().map(|target| target.case()));
            bench(criterion, &suite.targets, &measure(&roof)?);
        }
    }
    Ok(())
}

/// All kernels of the fastest path, and those of a path that an argument names behind `__`.
fn kernels() -> Vec<glob::Pattern> {
    let path = |argument: String| {
        let (_, path) = argument.rsplit_once("__")?;
        let is_of_name = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
        let path: String = path.chars().take_while(is_of_name).collect();
        Some(format!("*__{path}"))
    };
    let patterns = std::iter::once("*".to_owned()).chain(std::env::args().filter_map(path));
    let patterns = patterns.map(|text| glob::Pattern::new(&text).expect("a pattern"));
    patterns.collect()
}

fn main() {
    let mut criterion = Criterion::default()
        .with_measurement(Seconds)
        .configure_from_args();
    if let Err(error) = bench_all(&mut criterion) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
    criterion.final_summary();
}
