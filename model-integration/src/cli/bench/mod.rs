//! `mxlab bench`: how fast kernels are, each verified first; and whether they became faster or slower.

mod compare;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_benches::gpu::Gpu;
use mxlab_benches::peer::Peer;
use mxlab_benches::record::{BenchMachine, KIND, PeerRecord, SCHEMA_VERSION};
use mxlab_benches::run::{Found, Observer};
use mxlab_benches::suite::{self, Selection};
use mxlab_benches::{BenchError, BenchRecord, Case, Plan, Roof, Target, cpu, run as time};
use mxlab_harness::device::{Device, DeviceChoice, DeviceKind};
use mxlab_harness::measure::{EnergyMeter, GpuMonitor, GpuState, Sampling};
use mxlab_harness::record::Environment;

use super::Done;
use super::model::threads;
use super::output::{Usage, print};
use crate::report::timings;

/// Share of the memory that buffers may take.
const MEMORY_SHARE: f64 = 0.4;

/// Time kernels, each verified against its reference first
///
/// Without --kernel: the operations of models in the formats that they are asked for in; on a GPU the PTX kernels and cuBLAS
/// beside them, else the SIMD kernels of the CPU.
#[derive(Args)]
pub struct BenchArgs {
    /// Only kernels whose name matches, such as 'matmul_fp4_*' or 'cpu_quantize_*'
    #[arg(long, value_name = "GLOB")]
    kernel: Vec<glob::Pattern>,
    /// Only these families of them, such as matmul,attention; vendor is cuBLAS, peer are those of --peer
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    family: Vec<String>,
    /// Rows and columns, such as 4096x4096
    #[arg(long, value_name = "ROWSxCOLS", value_parser = shape)]
    shape: Vec<[usize; 2]>,
    /// Tokens that weights are multiplied by, such as 1,16,64
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = positive)]
    tokens: Vec<usize>,
    /// What runs the kernels: cpu, cuda, cuda:N or emulator [default: a GPU if there is one, else cpu]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Threads of kernels on the CPU [default: all processors]
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    /// Rounds in which every kernel has its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Samples of a kernel in each round
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    samples: u32,
    /// Milliseconds of a sample, at least
    #[arg(long, value_name = "MS", default_value_t = 5.0, value_parser = milliseconds)]
    sample_ms: f64,
    /// Milliseconds that a kernel runs before its samples, each round
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = milliseconds)]
    warm_up_ms: f64,
    /// A program that times other people's implementations in the same rounds, such as benches/peers/cpu.py
    #[arg(long, value_name = "FILE")]
    peer: Vec<PathBuf>,
    /// The Python that runs peers
    #[arg(
        long,
        value_name = "FILE",
        env = "MXLAB_PYTHON",
        default_value = "python3"
    )]
    python: PathBuf,
    /// Seconds over which the energy of each kernel is measured, after its times; 0 for not
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    energy: f64,
    /// Chooses what is in tensors
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// List what would be timed, and time nothing
    #[arg(long)]
    list: bool,
    /// Write the record there, group by group
    #[arg(long, value_name = "FILE")]
    output_path: Option<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Time nothing; compare two records, the older first. Fails if anything became slower
    #[arg(long, value_name = "FILE", num_args = 2, conflicts_with_all = ["kernel", "shape", "tokens", "device", "list", "output_path"])]
    compare: Vec<PathBuf>,
    /// A time that differs by less, in percent, is the same
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, requires = "compare", value_parser = percent)]
    threshold: f64,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// Markdown
    Md,
    /// Comma-separated values
    Csv,
    /// The record itself
    Json,
}

fn shape(text: &str) -> Result<[usize; 2], String> {
    let sizes = text.split_once('x').and_then(|(rows, cols)| {
        let size = |text: &str| text.parse().ok().filter(|&size| size > 0);
        Some([size(rows)?, size(cols)?])
    });
    sizes.ok_or_else(|| "not ROWSxCOLS, such as 4096x4096".to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "not a number from 1 on".to_owned())
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (1e-3..=60_000.0).contains(number));
    number.ok_or_else(|| "not a time, 0.001 to 60000 ms".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (0.0..100.0).contains(number));
    number.ok_or_else(|| "not a percentage, 0 to 100".to_owned())
}

/// Times and prints, or compares.
pub fn run(args: &BenchArgs) -> Result<Done> {
    if let [before, after] = args.compare.as_slice() {
        return compare::run(before, after, args.threshold / 100.0, args.format);
    }
    ensure!(
        (0.0..=600.0).contains(&args.energy),
        Usage("--energy: not a time, 0 to 600 s".to_owned())
    );
    let device = open(args)?;
    match device {
        None => on_cpu(args),
        Some(device) => on_device(args, device),
    }
}

/// The device that was asked for, or the GPU that is there; `None` for the CPU.
fn open(args: &BenchArgs) -> Result<Option<Device>> {
    match args.device {
        Some(DeviceChoice::Cpu) => Ok(None),
        Some(choice) => {
            let device = Device::open(choice).with_context(|| format!("--device {choice}"))?;
            if device.properties().kind == DeviceKind::Emulator {
                ensure!(
                    !args.kernel.is_empty() && !args.shape.is_empty(),
                    Usage(
                        "--device emulator: name kernels and a small shape, --kernel and --shape; \
                         times on it say nothing of a GPU"
                            .to_owned()
                    )
                );
                eprintln!("times on the emulator say nothing of a GPU");
            }
            Ok(Some(device))
        }
        None => match Device::cuda(0) {
            Ok(device) => Ok(Some(device)),
            Err(error) => {
                eprintln!("no GPU ({error}): the kernels of the CPU");
                Ok(None)
            }
        },
    }
}

fn selection(args: &BenchArgs) -> Selection {
    Selection {
        kernels: args.kernel.clone(),
        families: args.family.clone(),
        shapes: args.shape.clone(),
        tokens: args.tokens.clone(),
        seed: args.seed,
    }
}

fn on_cpu(args: &BenchArgs) -> Result<Done> {
    if let Some(threads) = args.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build_global().context("--threads")?;
    }
    let machine = BenchMachine::Cpu {
        threads: rayon::current_num_threads(),
        load: load(),
    };
    let memory = Environment::capture().machine.memory_bytes;
    let memory = memory.map_or(1 << 30, |bytes| (bytes as f64 * MEMORY_SHARE) as u64);
    let mut targets = suite::cpu(&selection(args));
    let peers = complete(args, &mut targets)?;
    let bench = Bench {
        machine,
        peers,
        targets,
        roof: cpu::roof(),
        meter: EnergyMeter::of_cpu(),
        memory,
        monitor: None,
    };
    bench.measure(args)
}

/// Processes that want to run, over a minute.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn on_device(args: &BenchArgs, device: Device) -> Result<Done> {
    let properties = device.properties().clone();
    let monitor = properties.uuid.as_deref().and_then(GpuMonitor::open);
    let monitor = monitor.map(Arc::new);
    let machine = BenchMachine::Device {
        properties: Box::new(properties),
        driver: monitor.as_ref().and_then(|monitor| monitor.driver()),
        states: Vec::new(),
    };
    let memory = (device.free_memory()? as f64 * MEMORY_SHARE) as u64;
    let gpu = Gpu::new(device)?;
    let mut targets = suite::gpu(&gpu, &selection(args))?;
    let peers = complete(args, &mut targets)?;
    let bench = Bench {
        machine,
        peers,
        targets,
        roof: gpu.roof(args.seed)?,
        meter: monitor.as_ref().and_then(EnergyMeter::of_gpu),
        memory,
        monitor,
    };
    bench.measure(args)
}

/// Starts the programs beside ours, adds what they have, and leaves out other families than those asked for.
fn complete(args: &BenchArgs, targets: &mut Vec<Box<dyn Target>>) -> Result<Vec<PeerRecord>> {
    let mut records = Vec::new();
    for program in &args.peer {
        let (theirs, record) = Peer::start(program, &args.python, &selection(args))?;
        targets.extend(theirs);
        records.push(record);
    }
    let selection = selection(args);
    targets.retain(|target| selection.has_family(target.case()));
    Ok(records)
}

/// What is timed, on what.
struct Bench {
    machine: BenchMachine,
    peers: Vec<PeerRecord>,
    targets: Vec<Box<dyn Target>>,
    roof: Roof,
    meter: Option<EnergyMeter>,
    memory: u64,
    monitor: Option<Arc<GpuMonitor>>,
}

impl Bench {
    fn measure(self, args: &BenchArgs) -> Result<Done> {
        let Self {
            machine,
            peers,
            targets,
            roof,
            meter,
            memory,
            monitor,
        } = self;
        ensure!(
        !targets.is_empty(),
        Usage(
            "--kernel, --family: no kernel is of that name and family; `mxlab list` and `mxlab bench --list` have them"
                .to_owned()
        )
    );
        if args.list {
            let cases = targets.iter().map(|target| target.case());
            let lines = cases.map(|case| format!("{}  {}\n", case.kernel, case.shape()));
            print(&lines.collect::<String>())?;
            return Ok(Done::Well);
        }
        let sampling = Sampling {
            warm_up_s: args.warm_up_ms / 1e3,
            sample_s: args.sample_ms / 1e3,
            samples: args.samples,
        };
        let plan = Plan {
            sampling,
            rounds: args.rounds,
            energy_s: args.energy,
            memory,
        };
        let record = BenchRecord {
            schema_version: SCHEMA_VERSION,
            kind: KIND.to_owned(),
            environment: Environment::capture(),
            machine,
            sampling,
            rounds: args.rounds,
            seed: args.seed,
            peers,
            is_complete: false,
            roof: None,
            measured: Vec::new(),
            refused: Vec::new(),
        };
        let mut recorder = Recorder {
            record,
            path: args.output_path.clone(),
            monitor,
            bar: bar(),
        };
        // A path that cannot be written is told before hours are spent.
        recorder.write()?;
        let found = time(&targets, &roof, &plan, meter.as_ref(), &mut recorder);
        recorder.bar.finish_and_clear();
        recorder.look();
        if let Ok(found) = &found {
            recorder.take(found);
            recorder.record.is_complete = true;
        }
        // What was timed is printed whatever went wrong after, a full disk included.
        let written = recorder.write();
        print(&printed(&recorder.record, args.format)?)?;
        found?;
        written?;
        Ok(match recorder.record.refused.is_empty() {
            true => Done::Well,
            false => Done::WithFindings,
        })
    }
}

fn printed(record: &BenchRecord, format: Format) -> Result<String> {
    Ok(match format {
        Format::Table => timings::aligned(record),
        Format::Md => timings::markdown(record),
        Format::Csv => timings::csv(record)?,
        Format::Json => {
            let json = serde_json::to_string_pretty(record);
            json.context("a record is plain data")? + "\n"
        }
    })
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    bar.set_style(style.expect("a well-formed template"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Keeps what was found on disk.
struct Recorder {
    record: BenchRecord,
    path: Option<PathBuf>,
    monitor: Option<Arc<GpuMonitor>>,
    bar: ProgressBar,
}

impl Recorder {
    fn write(&self) -> Result<(), BenchError> {
        match &self.path {
            Some(path) => self.record.write(path),
            None => Ok(()),
        }
    }

    fn take(&mut self, found: &Found) {
        self.record.roof.clone_from(&found.roof);
        self.record.measured.clone_from(&found.measured);
        self.record.refused.clone_from(&found.refused);
    }

    /// Notes the state of the GPU.
    fn look(&mut self) {
        if let (BenchMachine::Device { states, .. }, Some(monitor)) =
            (&mut self.record.machine, &self.monitor)
        {
            let state: GpuState = monitor.state();
            states.push(state);
        }
    }
}

impl Observer for Recorder {
    fn working_on(&mut self, case: &Case, round: Option<u32>) {
        let shape = case.shape();
        self.bar.set_message(match round {
            None => format!("verifying {} {shape}", case.kernel),
            Some(round) => format!("round {}: {} {shape}", round + 1, case.kernel),
        });
    }

    fn round(&mut self) {
        self.look();
    }

    /// A record that cannot be written now may be later; what was timed is printed in any case.
    fn done(&mut self, found: &Found) -> Result<(), BenchError> {
        self.take(found);
        if let Err(error) = self.write() {
            self.bar.suspend(|| eprintln!("{error}; the run goes on"));
        }
        Ok(())
    }
}
