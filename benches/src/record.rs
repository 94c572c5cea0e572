//! The record of a bench, for comparison and reports.

use crate::Case;
use mxlab_harness::device::{Loads, Properties};
use mxlab_harness::measure::{Energy, GpuState, Sampling, Timing};
use mxlab_harness::record::Environment;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A run of the bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchRecord {
    /// Machine, build, command.
    pub environment: Environment,
    /// The machine that the kernels ran on.
    pub machine: BenchMachine,
    /// How times were sampled.
    pub sampling: Sampling,
    /// Rounds.
    pub rounds: u32,
    /// The seed of the values of tensors.
    pub seed: u64,
    /// Whether the run came to its end.
    pub is_complete: bool,
    /// How many kernels were loaded, by where their machine code came from; `None` on the CPU and
    /// in records from before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_loads: Option<Loads>,
    /// Peer programs that were timed too.
    pub peers: Vec<PeerRecord>,
    /// The bounds of kernels on this machine.
    pub roof: Option<RoofRecord>,
    /// The timed cases.
    pub measured: Vec<Measured>,
    /// The cases that were not timed, and why.
    pub refused: Vec<Refused>,
}

/// The machine of a bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum BenchMachine {
    /// The CPU of the environment.
    Cpu {
        /// Threads that shared the work.
        threads: usize,
        /// Processes that wanted to run, over a minute, before the run began; by the system.
        load: Option<f64>,
    },
    /// A GPU, or the emulator in its place, whose times say nothing of a GPU.
    Device {
        /// What it is.
        properties: Box<Properties>,
        /// Version of the driver.
        driver: Option<String>,
        /// As it was before each round and at the end, by NVML.
        states: Vec<GpuState>,
    },
}

/// A program that timed other people's kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRecord {
    /// The file.
    pub program: String,
    /// The name that it reports.
    pub name: String,
    /// Versions of what it uses.
    pub versions: BTreeMap<String, String>,
}

/// The bounds of kernels, timed in the same rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoofRecord {
    /// A copy.
    pub copy: Measured,
    /// A product of matrices.
    pub product: Option<Measured>,
    /// A kernel that does nothing; `None` where none is launched, and in older records.
    #[serde(default)]
    pub empty: Option<Measured>,
    /// Kinds of traffic on working sets of several sizes; none on a GPU and in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Measured>,
    /// Kinds of arithmetic out of registers; none on a GPU and in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arithmetic: Vec<Measured>,
}

/// A case and its times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What.
    pub case: Case,
    /// Seconds of a run.
    pub timing: Timing,
    /// Joules of a run; `None` is not measured.
    pub energy: Option<RunEnergy>,
}

/// Energy of one of many runs in a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEnergy {
    /// Runs.
    pub runs: u64,
    /// Energy of all runs.
    pub energy: Energy,
}

impl RunEnergy {
    /// Joules of a run.
    pub fn joules(&self) -> f64 {
        self.energy.joules / self.runs as f64
    }
}

/// A case that was not timed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// What.
    pub case: Case,
    /// Why.
    pub reason: String,
}

impl Measured {
    /// Bytes a second.
    pub fn bandwidth(&self) -> f64 {
        self.case.bytes as f64 / self.timing.median()
    }

    /// Seconds of a run in the fastest round: a roof is what a machine does undisturbed.
    pub fn fastest(&self) -> f64 {
        let rounds = self.timing.round_medians().into_iter();
        rounds.fold(f64::INFINITY, f64::min)
    }

    /// Tokens a second; `None` of what is no generation.
    pub fn token_rate(&self) -> Option<f64> {
        let tokens = self.case.tokens.filter(|_| self.case.family == "generate");
        tokens.map(|tokens| tokens as f64 / self.timing.median())
    }

    /// Operations a second; `None` of a kernel without products.
    pub fn rate(&self) -> Option<f64> {
        let operations = self.case.operations;
        (operations > 0).then(|| operations as f64 / self.timing.median())
    }
}

impl RoofRecord {
    /// Microseconds that a launch of an empty kernel takes in a graph: no time of a kernel is
    /// without them, and none is corrected by them. `None` is not measured.
    pub fn gap_us(&self) -> Option<f64> {
        let empty = self.empty.as_ref()?;
        Some(1e6 * empty.timing.median())
    }

    /// What was timed.
    pub fn measured(&self) -> impl Iterator<Item = &Measured> {
        let others = self.product.iter().chain(&self.empty);
        let others = others.chain(&self.memory).chain(&self.arithmetic);
        std::iter::once(&self.copy).chain(others)
    }

    /// The least time of a case, relative to its measured time; `None` as [`RoofRecord::bound`].
    pub fn fraction(&self, measured: &Measured) -> Option<f64> {
        let bound = self.bound(&measured.case)?;
        Some(bound.seconds / measured.timing.median())
    }
}

impl BenchRecord {
    /// Everything that disturbed the run, each once.
    pub fn marks(&self) -> Vec<String> {
        let mut marks = Vec::new();
        match &self.machine {
            BenchMachine::Cpu { threads, load } => {
                let cores = self.environment.machine.cores;
                if let (Some(load), Some(cores)) = (load, cores)
                    && load + *threads as f64 > cores as f64 + 0.5
                {
                    marks.push(format!("{load:.1} others ran on {cores} processors"));
                }
            }
            BenchMachine::Device {
                properties, states, ..
            } => {
                let slice = GpuState {
                    is_mig: properties.mig.as_ref().map(|_| true),
                    ..GpuState::default()
                };
                let states = states.iter().chain(std::iter::once(&slice));
                marks.extend(states.flat_map(GpuState::marks));
            }
        }
        if !self.is_complete {
            marks.push("the run was cut short".to_owned());
        }
        if self.environment.dirty == Some(true) {
            marks.push("built from a tree that differs from its commit".to_owned());
        }
        marks.sort();
        marks.dedup();
        marks
    }
}
