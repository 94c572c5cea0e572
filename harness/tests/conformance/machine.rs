//! Runs one instruction, written as text, over arrays of lanes.

use ptx_emulator::alu::{self, Alu, LowerError, Operands};
use ptx_emulator::registers::{Class, LANES, Register, Registers};
use ptx_emulator::syntax::ast::{Immediate, Instruction, Operand, Position, Type};

/// The registers that an instruction's operands became. A name such as `d_64` is a register of
/// that width; any other has the width that the instruction asks for.
#[derive(Default)]
pub struct Names {
    counts: [u16; 3],
    pub named: Vec<(String, Type, Register)>,
    constants: Vec<(Register, u64)>,
}

impl Names {
    fn fresh(&mut self, ty: Type) -> Register {
        let class = match ty.bits() {
            1 => Class::Predicate,
            64 => Class::Double,
            _ => Class::Word,
        };
        let count = &mut self.counts[class as usize];
        *count += 1;
        Register {
            class,
            index: *count - 1,
        }
    }

    pub fn register(&self, name: &str) -> Register {
        self.named
            .iter()
            .find(|named| named.0 == name)
            .expect(name)
            .2
    }
}

impl Operands for Names {
    fn source(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError> {
        match operand {
            Operand::Immediate(Immediate::Integer(value)) => {
                let register = self.fresh(ty);
                self.constants.push((register, *value));
                Ok(register)
            }
            _ => self.destination(operand, ty),
        }
    }

    fn destination(&mut self, operand: &Operand, ty: Type) -> Result<Register, LowerError> {
        let name = match operand {
            Operand::Name(name) => name.clone(),
            Operand::Sink => "_".into(),
            other => panic!("{other:?}"),
        };
        if let Some(known) = self.named.iter().find(|known| known.0 == name) {
            return Ok(known.2);
        }
        let register = self.fresh(ty);
        self.named.push((name, ty, register));
        Ok(register)
    }

    fn width(&self, operand: &Operand) -> Option<u32> {
        let Operand::Name(name) = operand else {
            return None;
        };
        name.split_once('_')
            .and_then(|(_, width)| width.parse().ok())
    }

    fn carry(&mut self) -> Register {
        self.destination(&Operand::Name("carry".into()), Type::Pred)
            .expect("a predicate")
    }
}

fn operand(text: &str) -> Operand {
    let text = text.trim();
    if let Some(parts) = text.strip_prefix('{') {
        let parts = parts.trim_end_matches('}').split(',');
        Operand::Vector(parts.map(operand).collect())
    } else if let Some((d, p)) = text.split_once('|') {
        Operand::Pair(Box::new(operand(d)), Box::new(operand(p)))
    } else if let Some(name) = text.strip_prefix('!') {
        Operand::Not(name.into())
    } else if let Some(digits) = text.strip_prefix("0x") {
        let value = u64::from_str_radix(digits, 16).expect("a number");
        Operand::Immediate(Immediate::Integer(value))
    } else if text == "_" {
        Operand::Sink
    } else {
        Operand::Name(text.into())
    }
}

/// An instruction from text such as `cvt.rn.f16x2.f32 d, a, b`.
pub fn parse(text: &str) -> Instruction {
    let (head, operands) = text.split_once(' ').expect("operands");
    let mut parts = head.split('.').map(String::from);
    let mut depth = 0;
    let operands = operands
        .split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        })
        .map(operand)
        .collect();
    Instruction {
        position: Position::default(),
        guard: None,
        opcode: parts.next().expect("an opcode"),
        modifiers: parts.collect(),
        operands,
    }
}

/// Lowers an instruction; `None` when it is not an ALU one or has no such form.
pub fn lower(text: &str) -> Result<Option<(Alu, Names)>, LowerError> {
    let mut names = Names::default();
    Ok(alu::lower(&parse(text), &mut names)?.map(|alu| (alu, names)))
}

/// An instruction with its registers.
pub struct Machine {
    alu: Alu,
    pub names: Names,
    pub registers: Registers,
}

impl Machine {
    pub fn new(text: &str) -> Self {
        let (alu, names) = match lower(text) {
            Ok(Some(lowered)) => lowered,
            Ok(None) => panic!("`{text}` is not for the ALU"),
            Err(error) => panic!("{error}"),
        };
        let [words, doubles, predicates] = names.counts.map(usize::from);
        let mut machine = Self {
            alu,
            registers: Registers::new(words, doubles, predicates),
            names,
        };
        for (register, value) in std::mem::take(&mut machine.names.constants) {
            machine.write_register(register, [value; LANES]);
        }
        machine
    }

    fn write_register(&mut self, register: Register, values: [u64; LANES]) {
        match register.class {
            Class::Word => *self.registers.word_mut(register) = values.map(|v| v as u32),
            Class::Double => *self.registers.double_mut(register) = values,
            Class::Predicate => {
                let lanes = (0..LANES).fold(0, |all, i| all | (values[i] as u32 & 1) << i);
                self.registers.set_predicate(register, lanes, u32::MAX);
            }
        }
    }

    pub fn write(&mut self, name: &str, values: [u64; LANES]) {
        self.write_register(self.names.register(name), values);
    }

    pub fn read(&self, name: &str) -> [u64; LANES] {
        let register = self.names.register(name);
        match register.class {
            Class::Word => self.registers.word(register).map(u64::from),
            Class::Double => *self.registers.double(register),
            Class::Predicate => {
                let lanes = self.registers.predicate(register);
                std::array::from_fn(|i| u64::from(lanes >> i & 1))
            }
        }
    }

    pub fn run(&mut self, active: u32) {
        (self.alu.run)(&self.alu, &mut self.registers, active);
    }
}
