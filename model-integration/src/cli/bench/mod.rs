//! `mxlab bench`: verifies and times kernels, or compares two records.

mod args;
mod compare;
mod generation;
mod recorder;

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use mxlab_benches::gpu::Gpu;
use mxlab_benches::peer::Peer;
use mxlab_benches::record::{BenchMachine, PeerRecord};
use mxlab_benches::{BenchRecord, Plan, Roof, Target, cpu, run as time, suite};
use mxlab_harness::device::{Device, DeviceChoice, DeviceKind};
use mxlab_harness::measure::{EnergyMeter, GpuMonitor, Sampling};
use mxlab_harness::record::Environment;

pub use self::args::BenchArgs;
use self::args::Format;
use self::recorder::Recorder;
use super::Done;
use super::output::{Usage, print};
use crate::record;
use crate::report::timings;

/// Share of the memory that buffers may take.
const MEMORY_SHARE: f64 = 0.4;

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

/// The requested device, or the GPU if there is one; `None` for the CPU.
fn open(args: &BenchArgs) -> Result<Option<Device>> {
    match args.device {
        Some(DeviceChoice::Cpu) => {
            ensure!(
                args.images.images.is_none(),
                Usage("--images needs PTX kernels; add --device cuda".to_owned())
            );
            Ok(None)
        }
        Some(choice) => {
            let device = args.images.open_device(choice)?;
            if device.properties().kind == DeviceKind::Emulator {
                ensure!(
                    args.roofs_only
                        || args.model.is_some()
                        || (!args.kernel.is_empty() && !args.shape.is_empty()),
                    Usage(
                        "--device emulator: name kernels and a small shape with --kernel and \
                         --shape, or use --roofs-only; its times do not predict a GPU's"
                            .to_owned()
                    )
                );
                eprintln!("times on the emulator do not predict a GPU's");
            }
            Ok(Some(device))
        }
        None if args.images.images.is_some() => {
            Ok(Some(args.images.open_device(DeviceChoice::Cuda(None))?))
        }
        None => match Device::cuda(0) {
            Ok(device) => Ok(Some(device)),
            Err(error) => {
                eprintln!("no GPU ({error}): timing the CPU's kernels");
                Ok(None)
            }
        },
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
    let mut note = None;
    let mut targets = match args.generation() {
        Some(asked) => generation::targets(args, &asked, args.engine(DeviceChoice::Cpu))?,
        None if args.roofs_only => Vec::new(),
        None => {
            let suite = suite::cpu(&args.selection());
            note = suite.note();
            suite.targets
        }
    };
    let peers = complete(args, &mut targets)?;
    if let Some(note) = note {
        let message = || {
            Usage(format!(
                "--kernel: no kernel of the fastest path matches; {note}"
            ))
        };
        ensure!(!targets.is_empty(), message());
        eprintln!("{note}");
    }
    let roof = cpu::roof(targets.iter().map(|target| target.case()));
    let bench = Bench {
        machine,
        peers,
        targets,
        roof,
        meter: EnergyMeter::of_cpu(),
        memory,
        monitor: None,
        gpu: None,
    };
    bench.measure(args)
}

/// The load average of the last minute.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn on_device(args: &BenchArgs, device: Device) -> Result<Done> {
    let mut properties = device.properties().clone();
    let monitor = GpuMonitor::open(&properties).map(Arc::new);
    // NVML also identifies a slice by its UUID.
    let slice = monitor
        .as_ref()
        .and_then(|monitor| monitor.slice(properties.uuid.as_deref()));
    properties.mig = slice.or(properties.mig);
    let machine = BenchMachine::Device {
        properties: Box::new(properties),
        driver: monitor.as_ref().and_then(|monitor| monitor.driver()),
        states: Vec::new(),
    };
    let memory = (device.free_memory()? as f64 * MEMORY_SHARE) as u64;
    let gpu = Gpu::new(device)?;
    let mut targets = match args.generation() {
        Some(asked) => {
            let choice = args.device.unwrap_or(DeviceChoice::Cuda(None));
            generation::targets(args, &asked, args.engine(choice))?
        }
        None if args.roofs_only => Vec::new(),
        None => suite::gpu(&gpu, &args.selection())?,
    };
    let peers = complete(args, &mut targets)?;
    let bench = Bench {
        machine,
        peers,
        targets,
        roof: gpu.roof(args.seed)?,
        meter: monitor.as_ref().and_then(EnergyMeter::of_gpu),
        memory,
        monitor,
        gpu: Some(gpu),
    };
    bench.measure(args)
}

/// Starts the peer programs, adds their targets, and drops families that were not requested.
fn complete(args: &BenchArgs, targets: &mut Vec<Box<dyn Target>>) -> Result<Vec<PeerRecord>> {
    let mut records = Vec::new();
    for program in &args.peer {
        let (theirs, record) = Peer::start(program, &args.python, &args.selection())?;
        targets.extend(theirs);
        records.push(record);
    }
    let selection = args.selection();
    targets.retain(|target| selection.has_family(target.case()));
    Ok(records)
}

/// The kernels to time, and the machine.
struct Bench {
    machine: BenchMachine,
    peers: Vec<PeerRecord>,
    targets: Vec<Box<dyn Target>>,
    roof: Roof,
    meter: Option<EnergyMeter>,
    memory: u64,
    monitor: Option<Arc<GpuMonitor>>,
    gpu: Option<Rc<Gpu>>,
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
            gpu,
        } = self;
        ensure!(
            args.roofs_only || !targets.is_empty(),
            Usage(
                "--kernel, --family: no kernel of this device matches; `mxlab bench --list` prints \
                 the kernels, `mxlab list` the PTX kernels"
                    .to_owned()
            )
        );
        if args.list {
            let cases = targets.iter().map(|target| target.case());
            let lines = cases.map(|case| format!("{}  {}\n", case.kernel, case.shape()));
            print(&lines.collect::<String>())?;
            return Ok(Done::Ok);
        }
        if args.energy > 0.0 && meter.is_none() {
            eprintln!("--energy: this machine has no energy meter; energy is not measured");
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
            environment: Environment::capture(),
            machine,
            sampling,
            rounds: args.rounds,
            seed: args.seed,
            kernel_loads: None,
            peers,
            is_complete: false,
            roof: None,
            measured: Vec::new(),
            refused: Vec::new(),
        };
        let mut recorder = Recorder::new(record, args.output_path.clone(), monitor, gpu);
        // A path that cannot be written is reported before hours are spent.
        recorder.write()?;
        let found = time(&targets, &roof, &plan, meter.as_ref(), &mut recorder);
        recorder.finish(found.as_ref());
        // Timings are printed whatever fails later, a full disk included.
        let written = recorder.write();
        print(&printed(recorder.record(), args.format)?)?;
        args.images.report(&recorder.record().kernel_loads);
        found?;
        written?;
        Ok(match recorder.record().refused.is_empty() {
            true => Done::Ok,
            false => Done::WithFindings,
        })
    }
}

fn printed(bench: &BenchRecord, format: Format) -> Result<String> {
    Ok(match format {
        Format::Table => timings::aligned(bench),
        Format::Md => timings::markdown(bench),
        Format::Csv => timings::csv(bench)?,
        Format::Json => record::to_json(bench),
    })
}
