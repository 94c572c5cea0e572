//! The time of a single warp for a body. It issues in order, each instruction as soon as its
//! operands are ready.

use super::Chip;
use super::predict::{ARITHMETIC_LATENCY, EXCHANGE_LATENCY, MEMORY_LATENCY_NS, PRODUCT_LATENCY};
use crate::sass::{Body, Class, Direction, Instruction, Space};
use std::collections::BTreeMap;

/// A register or predicate that carries a value between instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Register(u32),
    Uniform(u32),
    Predicate(u32),
}

/// Seconds for one time through the body; of a loop, once it goes round.
pub(super) fn pass_seconds(chip: &Chip, body: &Body) -> f64 {
    let clock = chip.clock_ghz * 1e9;
    let mut warp = Warp {
        memory_latency: MEMORY_LATENCY_NS * 1e-9 * clock,
        ..Warp::default()
    };
    warp.go_through(body);
    if !body.is_loop {
        return warp.now / clock;
    }
    let first = warp.now;
    warp.go_through(body);
    (warp.now - first) / clock
}

/// A warp, in clocks.
#[derive(Debug, Default)]
struct Warp {
    memory_latency: f64,
    /// When the next instruction may be issued.
    now: f64,
    /// When results are there.
    ready: BTreeMap<Name, f64>,
    /// When all asynchronous copies have arrived.
    copied: f64,
}

impl Warp {
    fn go_through(&mut self, body: &Body) {
        for instruction in &body.instructions {
            let needed = reads(instruction).into_iter();
            let mut start = needed
                .filter_map(|name| self.ready.get(&name))
                .fold(self.now, |start, &ready| start.max(ready));
            if instruction.waits_for_copies() {
                start = start.max(self.copied);
            }
            if instruction.mnemonic() == "LDGSTS" {
                self.copied = start + self.memory_latency;
            }
            let latency = self.latency(instruction);
            for name in writes(instruction) {
                self.ready.insert(name, start + latency);
            }
            self.now = start + 1.0;
        }
    }

    fn latency(&self, instruction: &Instruction) -> f64 {
        match Class::of(instruction) {
            Class::Global | Class::Local => self.memory_latency,
            Class::Shuffle | Class::Shared | Class::Conversion | Class::Mufu => EXCHANGE_LATENCY,
            Class::Mma => PRODUCT_LATENCY,
            _ => ARITHMETIC_LATENCY,
        }
    }
}

/// Whether the first operands are results.
fn has_results(instruction: &Instruction) -> bool {
    let is_store = instruction
        .access()
        .is_some_and(|access| access.direction == Direction::Store);
    !is_store && instruction.mnemonic() != "LDGSTS" && Class::of(instruction) != Class::Control
}

/// Names that an instruction writes: its first operand, and predicates that follow.
fn writes(instruction: &Instruction) -> Vec<Name> {
    if !has_results(instruction) {
        return Vec::new();
    }
    let mut written = Vec::new();
    for (i, operand) in instruction.operands.iter().enumerate() {
        let names = names(operand);
        let is_result = match names.first() {
            Some(Name::Predicate(_)) => true,
            _ => i == 0,
        };
        if !is_result {
            break;
        }
        written.extend(
            names
                .into_iter()
                .flat_map(|name| wide(name, result_words(instruction))),
        );
    }
    written
}

/// Names that it reads.
fn reads(instruction: &Instruction) -> Vec<Name> {
    let skipped = usize::from(has_results(instruction));
    let data_words = |position| match (instruction.access(), Class::of(instruction), position) {
        (Some(access), ..) if access.direction == Direction::Store => access.bits.div_ceil(32),
        // Of A, B and C, 16 rows, 8 columns and both.
        (_, Class::Mma, 1) => 2,
        (_, Class::Mma, _) => 4,
        _ => 1,
    };
    let operands = instruction.operands.iter().skip(skipped).enumerate();
    let read = operands.flat_map(|(position, operand)| {
        let words = match operand.contains(".64") {
            true => 2,
            // An address is one word, data may be more.
            false if operand.contains('[') => 1,
            false => data_words(position),
        };
        names(operand)
            .into_iter()
            .flat_map(move |name| wide(name, words))
    });
    let guard = instruction.guard.iter().flat_map(|guard| names(guard));
    read.chain(guard).collect()
}

/// Words of a result.
fn result_words(instruction: &Instruction) -> u32 {
    let is_load = |space| space != Space::Local;
    match (instruction.access(), Class::of(instruction)) {
        (Some(access), _) if is_load(access.space) => access.bits.div_ceil(32),
        (_, Class::Mma) => 4,
        _ if instruction.modifiers().any(|m| m == "WIDE" || m == "64") => 2,
        _ => 1,
    }
}

fn wide(name: Name, words: u32) -> impl Iterator<Item = Name> {
    (0..words).map(move |i| match name {
        Name::Register(r) => Name::Register(r + i),
        other => other,
    })
}

/// Registers and predicates in an operand, but for those that are constants.
fn names(operand: &str) -> Vec<Name> {
    let words = operand.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let name = |word: &str| {
        let number = |prefix| word.strip_prefix(prefix)?.parse().ok();
        let register = number("R").map(Name::Register);
        let uniform = number("UR").map(Name::Uniform);
        register.or(uniform).or(number("P").map(Name::Predicate))
    };
    words.filter_map(name).collect()
}
