//! The prediction.

use super::pass::pass_seconds;
use super::{Chip, Occupancy};
use crate::sass::{Body, Class, Instruction, Pipe};
use std::fmt;

/// The part of the time for which schedulers and pipes are busy: no scheduler finds a ready warp at
/// every clock. Assumed.
pub const BUSY_FRACTION: f64 = 0.85;
/// From a load to its result while memory is busy. Idle memory of a V100, A100 or H100 takes about
/// 400 clocks (doi:10.1016/j.ultsonch.2023.106546, table 3), 0.3 us at most; a busy one is assumed
/// to take twice that.
pub const MEMORY_LATENCY_NS: f64 = 600.0;
/// From an instruction to one that needs its result, clocks (the same table).
pub const ARITHMETIC_LATENCY: f64 = 4.0;
/// The same for shuffles, shared memory and XU: 20 clocks of shared memory in the same table, and
/// half as much again for queues.
pub const EXCHANGE_LATENCY: f64 = 30.0;

/// The same for a matrix product. Assumed, since there is no figure for each chip.
pub const PRODUCT_LATENCY: f64 = 33.0;

const WARP: f64 = 32.0;
/// Warp instructions that a multiprocessor issues a clock, one a scheduler.
const ISSUE_RATE: f64 = 4.0;

/// The work of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Bytes that must move to and from memory, each once.
    pub bytes: u64,
    /// Elements.
    pub elements: u64,
    /// Elements that a thread handles each time it goes through the body.
    pub elements_per_pass: f64,
}

/// The limit that takes longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Bandwidth of the memory.
    Memory,
    /// Issue slots.
    Issue,
    /// A pipe.
    Pipe(Pipe),
    /// Too few resident threads for how long each takes.
    Latency,
}

/// A predicted time and its parts, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Each limit alone; the pipes that the body uses, of those whose rate is known.
    pub limits: Vec<(Limiter, f64)>,
    /// Until the first thread is done.
    pub fill_s: f64,
    /// The whole.
    pub time_s: f64,
    /// The longest.
    pub limiter: Limiter,
    /// Bandwidth, of what a copy reaches.
    pub copy_fraction: f64,
    /// Issue slots an element.
    pub slots_per_element: f64,
}

/// Predicts the time of a launch; see [the model](super).
pub fn predict(chip: &Chip, occupancy: &Occupancy, body: &Body, work: &Work) -> Prediction {
    let clock = chip.clock_ghz * 1e9;
    // Times that a warp goes through the body, on each multiprocessor.
    let passes = work.elements as f64 / work.elements_per_pass / WARP;
    let passes = passes / f64::from(chip.multiprocessors);
    let busy = |clocks: f64| passes * clocks / (clock * BUSY_FRACTION);

    let memory = work.bytes as f64 / chip.copy_bandwidth();
    let pass = pass_seconds(chip, body);
    let mut limits = vec![
        (Limiter::Memory, memory),
        (Limiter::Issue, busy(body.slots() as f64 / ISSUE_RATE)),
    ];
    for pipe in [
        Pipe::Fma,
        Pipe::Alu,
        Pipe::Fp64,
        Pipe::Xu,
        Pipe::Lsu,
        Pipe::Tensor,
    ] {
        let own = body
            .instructions
            .iter()
            .filter(|i| Class::of(i).pipe() == pipe);
        let clocks: f64 = own.map(|i| clocks(chip, i)).sum();
        if clocks > 0.0 {
            limits.push((Limiter::Pipe(pipe), busy(clocks)));
        }
    }
    limits.push((Limiter::Latency, passes * pass / f64::from(occupancy.warps)));
    let longest = |a: (Limiter, f64), b: (Limiter, f64)| if b.1 > a.1 { b } else { a };
    let (limiter, longest) = limits.iter().copied().fold((Limiter::Memory, 0.0), longest);
    let time = longest + pass;
    Prediction {
        limits,
        fill_s: pass,
        time_s: time,
        limiter,
        copy_fraction: memory / time,
        slots_per_element: body.slots() as f64 / work.elements_per_pass,
    }
}

/// Clocks for which a warp's instruction occupies its pipe.
fn clocks(chip: &Chip, instruction: &Instruction) -> f64 {
    let rates = &chip.rates;
    let class = Class::of(instruction);
    let rate = match class {
        Class::Fp32 => rates.fp32,
        Class::IntegerMultiply => rates.integer_multiply,
        Class::Half => rates.half2,
        Class::Alu => rates.alu,
        Class::Fp64 => rates.fp64,
        Class::Conversion | Class::Mufu => rates.xu,
        Class::Global | Class::Shared | Class::Local | Class::Shuffle => rates.lsu,
        Class::Mma => return products(instruction) / rates.tensor,
        Class::Control | Class::Constant | Class::Uniform => return 0.0,
    };
    let bytes = instruction
        .access()
        .map_or(0.0, |access| f64::from(access.bits) / 8.0);
    WARP * f64::max(1.0 / rate, bytes / rates.l1_bytes)
}

/// Products of 16-bit elements that take as long: from the shape, as 16816 for 16 x 8 x 16 or
/// 64x128x16; 8-bit elements count a half.
fn products(instruction: &Instruction) -> f64 {
    let shape = instruction.modifiers().find_map(|modifier| {
        let sizes: Vec<&str> = match modifier {
            "884" => vec!["8", "8", "4"],
            "1684" => vec!["16", "8", "4"],
            "1688" => vec!["16", "8", "8"],
            "16816" => vec!["16", "8", "16"],
            "16832" => vec!["16", "8", "32"],
            "16864" => vec!["16", "8", "64"],
            _ => modifier.split('x').collect(),
        };
        let sizes: Option<Vec<f64>> = sizes.iter().map(|size| size.parse().ok()).collect();
        sizes.filter(|sizes| sizes.len() == 3)
    });
    let products: f64 = shape.map_or(0.0, |sizes| sizes.iter().product());
    match instruction.mnemonic() {
        "IMMA" | "QMMA" | "IGMMA" | "QGMMA" => products / 2.0,
        _ => products,
    }
}

impl Prediction {
    /// The time that one limit alone would take, in seconds; 0 for a pipe that is not used.
    pub fn limit_s(&self, limiter: Limiter) -> f64 {
        let limit = self.limits.iter().find(|(name, _)| *name == limiter);
        limit.map_or(0.0, |&(_, seconds)| seconds)
    }
}

impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.pad("memory"),
            Self::Issue => f.pad("issue"),
            Self::Pipe(pipe) => f.pad(&format!("{pipe} pipe")),
            Self::Latency => f.pad("latency"),
        }
    }
}
