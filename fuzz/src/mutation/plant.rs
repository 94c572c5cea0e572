//! Faults planted into a kernel's PTX, one at a time.

use ptx_emulator::syntax::ast::{Immediate, Instruction, Module, Operand, Position, Statement};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A rounding modifier changed: `.rn` to `.rz`, and the other way round.
    Rounding,
    /// A constant one more or one less; a float one unit in the last place.
    Constant,
    /// Two source operands swapped, where their order matters.
    Operands,
    /// A guard, or the comparison that makes a predicate, negated.
    Predicate,
    /// A comparison that includes its bound excluding it, and the other way round.
    Bound,
    /// `min` for `max`, `add` for `sub`, `and` for `or`, left for right, and the other way round.
    Opcode,
    /// A barrier, fence or wait left out.
    Barrier,
    /// A lane missing from the mask of a `.sync` instruction.
    LaneMask,
    /// An address one access further.
    Address,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Rounding,
        Self::Constant,
        Self::Operands,
        Self::Predicate,
        Self::Bound,
        Self::Opcode,
        Self::Barrier,
        Self::LaneMask,
        Self::Address,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rounding => "rounding",
            Self::Constant => "constant",
            Self::Operands => "operands",
            Self::Predicate => "predicate",
            Self::Bound => "bound",
            Self::Opcode => "opcode",
            Self::Barrier => "barrier",
            Self::LaneMask => "lane-mask",
            Self::Address => "address",
        })
    }
}

/// A kernel's text with one fault.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The kind of fault.
    pub fault: Fault,
    /// What was added to a constant, 1 or -1, or 0 for other faults.
    pub step: i8,
    /// Where the instruction stands in the kernel's own text.
    pub position: Position,
    /// The last label before it; empty if there is none.
    pub label: String,
    /// The instruction as it was.
    pub original: String,
    /// The instruction as it is; empty if it was left out.
    pub planted: String,
    /// The text.
    pub ptx: String,
}

/// Every mutant of a module.
pub fn mutants(module: &Module) -> Vec<Mutant> {
    let mut found = Vec::new();
    for (index, (label, instruction)) in instructions(module).into_iter().enumerate() {
        for (fault, step, planted) in faults(instruction) {
            let mut text = module.clone();
            replace(&mut text, index, planted.clone());
            found.push(Mutant {
                fault,
                step,
                position: instruction.position,
                label: label.to_owned(),
                original: instruction.to_string(),
                planted: planted.map_or_else(String::new, |planted| planted.to_string()),
                ptx: text.to_string(),
            });
        }
    }
    found
}

/// The instructions of all bodies, in order, each with the last label before it.
fn instructions(module: &Module) -> Vec<(&str, &Instruction)> {
    fn visit<'a>(
        body: &'a [Statement],
        label: &mut &'a str,
        found: &mut Vec<(&'a str, &'a Instruction)>,
    ) {
        for statement in body {
            match statement {
                Statement::Instruction(instruction) => found.push((*label, instruction)),
                Statement::Label(name, _) => *label = name,
                Statement::Block(body) => visit(body, label, found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    let bodies = module.functions.iter().filter_map(|f| f.body.as_ref());
    bodies.for_each(|body| visit(body, &mut "", &mut found));
    found
}

/// Puts `planted` in the place of an instruction, or takes that out.
fn replace(module: &mut Module, index: usize, planted: Option<Instruction>) {
    fn visit(body: &mut Vec<Statement>, left: &mut usize, planted: &Option<Instruction>) -> bool {
        for i in 0..body.len() {
            match &mut body[i] {
                Statement::Instruction(instruction) if *left == 0 => {
                    match planted {
                        Some(planted) => *instruction = planted.clone(),
                        None => drop(body.remove(i)),
                    }
                    return true;
                }
                Statement::Instruction(_) => *left -= 1,
                Statement::Block(body) => {
                    let is_found = visit(body, left, planted);
                    if is_found {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }
    let mut left = index;
    for body in module.functions.iter_mut().filter_map(|f| f.body.as_mut()) {
        if visit(body, &mut left, &planted) {
            return;
        }
    }
}

/// The faults that an instruction can have; `None` leaves it out.
fn faults(instruction: &Instruction) -> Vec<(Fault, i8, Option<Instruction>)> {
    let mut found = Vec::new();
    let mut plant = |fault, step, change: &dyn Fn(&mut Instruction)| {
        let mut planted = instruction.clone();
        change(&mut planted);
        found.push((fault, step, Some(planted)));
    };
    for (i, modifier) in instruction.modifiers.iter().enumerate() {
        let mut change = |fault, to: &str| {
            plant(fault, 0, &|planted| planted.modifiers[i] = to.to_owned());
        };
        if let Some(to) = partner(modifier, &ROUNDINGS) {
            change(Fault::Rounding, to);
        }
        // The first modifier of a comparison.
        if i == 0 && matches!(instruction.opcode.as_str(), "setp" | "set") {
            if let Some(to) = partner(modifier, &NEGATIONS) {
                change(Fault::Predicate, to);
            }
            if let Some(to) = partner(modifier, &BOUNDS) {
                change(Fault::Bound, to);
            }
        }
    }
    if instruction.guard.is_some() {
        plant(Fault::Predicate, 0, &|planted| {
            if let Some(guard) = &mut planted.guard {
                guard.is_negated = !guard.is_negated;
            }
        });
    }
    if let Some(to) = partner(&instruction.opcode, &OPCODES) {
        plant(Fault::Opcode, 0, &|planted| {
            planted.opcode = to.to_owned();
            // Shifts to the left know no signs.
            if to == "shl"
                && let Some(ty) = planted.modifiers.last_mut()
            {
                ty.replace_range(..1, "b");
            }
        });
    }
    // The operand of `bar.sync` is a barrier, that of `bar.warp.sync` a mask.
    let has = |name: &str| instruction.modifiers.iter().any(|m| m == name);
    let has_lane_mask = match instruction.opcode.as_str() {
        "shfl" | "vote" | "match" | "redux" => has("sync"),
        "bar" => has("warp"),
        _ => false,
    };
    let last = instruction.operands.len().wrapping_sub(1);
    for (i, operand) in instruction.operands.iter().enumerate() {
        match operand {
            Operand::Immediate(Immediate::Integer(mask)) if has_lane_mask && i == last => {
                // The highest lane of the mask.
                let lane = 63 - (*mask as u32 as u64 | 1).leading_zeros();
                let without = Immediate::Integer(mask & !(1 << lane));
                plant(Fault::LaneMask, 0, &|planted| {
                    planted.operands[i] = Operand::Immediate(without);
                });
            }
            Operand::Immediate(immediate) => {
                for (neighbour, step) in neighbours(*immediate).into_iter().zip([-1, 1]) {
                    plant(Fault::Constant, step, &|planted| {
                        planted.operands[i] = Operand::Immediate(neighbour);
                    });
                }
            }
            Operand::Address { base, offset } if instruction.opcode != "cp" => {
                let is_parameter = instruction.modifiers.iter().any(|m| m == "param");
                if !is_parameter {
                    let further = Operand::Address {
                        base: base.clone(),
                        offset: offset + i64::from(access_bytes(instruction)),
                    };
                    plant(Fault::Address, 0, &|planted| {
                        planted.operands[i] = further.clone()
                    });
                }
            }
            _ => {}
        }
    }
    for &(a, b) in ordered_pairs(instruction) {
        let operands = &instruction.operands;
        if operands[a] != operands[b] {
            plant(Fault::Operands, 0, &|planted| planted.operands.swap(a, b));
        }
    }
    let waits = matches!(
        instruction.opcode.as_str(),
        "bar" | "barrier" | "membar" | "fence"
    ) || (instruction.opcode == "cp"
        && instruction.modifiers.iter().any(|m| m.starts_with("wait")));
    if waits {
        found.push((Fault::Barrier, 0, None));
    }
    found
}

const ROUNDINGS: [(&str, &str); 3] = [("rn", "rz"), ("rm", "rp"), ("rni", "rzi")];
const NEGATIONS: [(&str, &str); 5] = [
    ("lt", "ge"),
    ("le", "gt"),
    ("eq", "ne"),
    ("lo", "hs"),
    ("ls", "hi"),
];
const BOUNDS: [(&str, &str); 4] = [("lt", "le"), ("gt", "ge"), ("lo", "ls"), ("hi", "hs")];
const OPCODES: [(&str, &str); 4] = [
    ("min", "max"),
    ("add", "sub"),
    ("and", "or"),
    ("shl", "shr"),
];

/// The other one of a pair.
fn partner<'a>(word: &str, pairs: &[(&'a str, &'a str)]) -> Option<&'a str> {
    pairs.iter().find_map(|&(a, b)| {
        if word == a {
            Some(b)
        } else {
            (word == b).then_some(a)
        }
    })
}

/// A constant one less and one more.
fn neighbours(immediate: Immediate) -> [Immediate; 2] {
    match immediate {
        Immediate::Integer(n) => [n.wrapping_sub(1), n.wrapping_add(1)].map(Immediate::Integer),
        Immediate::Single(bits) => {
            [bits.wrapping_sub(1), bits.wrapping_add(1)].map(Immediate::Single)
        }
        Immediate::Double(bits) => {
            [bits.wrapping_sub(1), bits.wrapping_add(1)].map(Immediate::Double)
        }
    }
}

/// Pairs of sources whose order matters.
fn ordered_pairs(instruction: &Instruction) -> &'static [(usize, usize)] {
    let is_equality = || {
        let comparison = instruction.modifiers.first().map_or("", String::as_str);
        matches!(comparison, "eq" | "ne" | "equ" | "neu")
    };
    match (instruction.opcode.as_str(), instruction.operands.len()) {
        ("setp" | "set", 3..) if is_equality() => &[],
        ("sub" | "div" | "rem" | "shl" | "shr", 3..) => &[(1, 2)],
        ("setp" | "set" | "selp" | "prmt" | "copysign", 3..) => &[(1, 2)],
        ("fma" | "mad", 4..) => &[(2, 3)],
        ("cvt", 3) => &[(1, 2)],
        ("bfe" | "bfi" | "shf", 4..) => &[(1, 2)],
        _ => &[],
    }
}

/// Bytes of a load or store, from its type and vector.
fn access_bytes(instruction: &Instruction) -> u32 {
    use ptx_emulator::syntax::ast::Type;
    let types = instruction.modifiers.iter().rev();
    let bytes = types
        .filter_map(|m| Type::from_name(m))
        .map(Type::bytes)
        .next();
    let vector = instruction.modifiers.iter().find_map(|m| match m.as_str() {
        "v2" => Some(2),
        "v4" => Some(4),
        "v8" => Some(8),
        _ => None,
    });
    bytes.unwrap_or(1) * vector.unwrap_or(1)
}
