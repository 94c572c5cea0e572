//! From the syntax tree of a kernel to a [`Program`].

mod atomic;
mod instructions;
mod matrix;
mod memory;
mod names;
mod warp;

use std::collections::HashMap;

use crate::alu::{self, LowerError, Operands};
use crate::program::{Instruction, Operation, Program};
use crate::registers::{Class, Register};
use crate::syntax::ast::{self, Function, Module, Operand, Position, Statement, Type};

pub use instructions::instructions;
use names::Names;

/// Why a kernel cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {reason}")]
pub struct ProgramError {
    /// Where.
    pub position: Position,
    /// Why.
    pub reason: String,
}

fn error(position: Position, reason: impl Into<String>) -> ProgramError {
    ProgramError {
        position,
        reason: reason.into(),
    }
}

/// Makes every kernel of a module ready to run.
///
/// # Errors
/// The first instruction that is not known, or name that is not declared.
pub fn lower(module: &Module) -> Result<Vec<Program>, ProgramError> {
    let entries = module.functions.iter().filter(|function| function.is_entry);
    entries
        .filter_map(|function| function.body.as_deref().map(|body| (function, body)))
        .map(|(function, body)| kernel(module, function, body))
        .collect()
}

fn kernel(
    module: &Module,
    function: &Function,
    body: &[Statement],
) -> Result<Program, ProgramError> {
    let mut lowering = Lowering {
        names: Names::new(module, function)?,
        instructions: Vec::new(),
        branches: Vec::new(),
        labels: vec![HashMap::new()],
    };
    lowering.body(body)?;
    lowering.resolve_branches()?;
    let Lowering {
        names,
        mut instructions,
        ..
    } = lowering;
    instructions.push(Instruction {
        position: instructions
            .last()
            .map_or(function.position, |last| last.position),
        text: "exit".to_owned(),
        guard: None,
        operation: Operation::Exit,
        reads: Vec::new(),
        writes: Vec::new(),
    });
    if instructions.len() > usize::from(u16::MAX) {
        return Err(error(function.position, "more than 65535 instructions"));
    }
    names.check_sizes(function.position)?;
    Ok(names.into_program(function, instructions))
}

struct Lowering {
    names: Names,
    instructions: Vec<Instruction>,
    /// Branches and the labels they go to, with the scopes these are looked up in.
    branches: Vec<(usize, String, Position, Vec<usize>)>,
    /// Labels of every scope.
    labels: Vec<HashMap<String, u32>>,
}

impl Lowering {
    fn body(&mut self, statements: &[Statement]) -> Result<(), ProgramError> {
        self.scope(statements, &[0])
    }

    fn scope(&mut self, statements: &[Statement], scopes: &[usize]) -> Result<(), ProgramError> {
        for statement in statements {
            match statement {
                Statement::Label(name, position) => {
                    let here = self.instructions.len() as u32;
                    let scope = scopes[scopes.len() - 1];
                    if self.labels[scope].insert(name.clone(), here).is_some() {
                        return Err(error(
                            *position,
                            format!("label `{name}` stands here again"),
                        ));
                    }
                }
                Statement::Registers { ty, names } => {
                    for (name, position) in names {
                        self.names.declare_register(name, *ty, *position)?;
                    }
                }
                Statement::Variable(variable) => self.names.declare_variable(variable)?,
                Statement::Instruction(instruction) => self.instruction(instruction, scopes)?,
                Statement::Block(inner) => {
                    self.labels.push(HashMap::new());
                    let mut scopes = scopes.to_vec();
                    scopes.push(self.labels.len() - 1);
                    self.names.enter();
                    self.scope(inner, &scopes)?;
                    self.names.leave();
                }
            }
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        instruction: &ast::Instruction,
        scopes: &[usize],
    ) -> Result<(), ProgramError> {
        let position = instruction.position;
        let explain = |reason: LowerError| error(position, reason.to_string());
        let guard = match &instruction.guard {
            None => None,
            Some(guard) => {
                let operand = Operand::Name(guard.register.clone());
                let register = self.names.source(&operand, Type::Pred).map_err(explain)?;
                Some((register, guard.is_negated))
            }
        };
        let text = instruction.full_opcode();
        let opcode = instruction.opcode.as_str();
        if !instructions::is_known(opcode) {
            return Err(error(position, format!("unknown instruction `{text}`")));
        }
        let mut lowered = if opcode == "bra" {
            if text != "bra" && text != "bra.uni" {
                return Err(error(
                    position,
                    format!("`{text}` is not known, only `bra.uni`"),
                ));
            }
            let [Operand::Name(label)] = instruction.operands.as_slice() else {
                return Err(error(position, format!("`{text}` takes a label")));
            };
            let branch = (
                self.instructions.len(),
                label.clone(),
                position,
                scopes.to_vec(),
            );
            self.branches.push(branch);
            Lowered::new(Operation::Branch { target: 0 })
        } else {
            let lowered = of_a_chapter(instruction, &mut self.names).map_err(explain)?;
            lowered.ok_or_else(|| error(position, format!("unknown instruction `{text}`")))?
        };
        let key = |register: &Register| (register.class as u8, register.index);
        lowered.reads.sort_unstable_by_key(key);
        lowered.reads.dedup();
        self.instructions.push(Instruction {
            position,
            text,
            guard,
            operation: lowered.operation,
            reads: lowered.reads,
            writes: lowered.writes,
        });
        Ok(())
    }

    fn resolve_branches(&mut self) -> Result<(), ProgramError> {
        for (index, label, position, scopes) in &self.branches {
            let found = scopes
                .iter()
                .rev()
                .find_map(|&scope| self.labels[scope].get(label));
            let Some(&target) = found else {
                return Err(error(*position, format!("there is no label `{label}`")));
            };
            self.instructions[*index].operation = Operation::Branch { target };
        }
        Ok(())
    }
}

/// Lowers an instruction by the modules of the chapters of PTX ISA; `None` if none of them knows
/// it.
fn of_a_chapter(
    instruction: &ast::Instruction,
    names: &mut Names,
) -> Result<Option<Lowered>, LowerError> {
    for lower in [memory::lower, warp::lower, matrix::lower] {
        let lowered = lower(Reader::new(instruction), names)?;
        if lowered.is_some() {
            return Ok(lowered);
        }
    }
    Ok(alu::lower(instruction, names)?.map(|alu| Lowered {
        reads: alu.sources.clone(),
        writes: alu.destinations.clone(),
        operation: Operation::Alu(alu),
    }))
}

/// An operation with the registers that it reads and writes.
struct Lowered {
    operation: Operation,
    reads: Vec<Register>,
    writes: Vec<Register>,
}

impl Lowered {
    fn new(operation: Operation) -> Self {
        Self {
            operation,
            reads: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// The same, with registers that it reads.
    fn reading(mut self, registers: impl IntoIterator<Item = Register>) -> Self {
        self.reads.extend(registers);
        self
    }

    /// The same, with registers that it writes.
    fn writing(mut self, registers: impl IntoIterator<Item = Register>) -> Self {
        self.writes.extend(registers);
        self
    }
}

/// The class of the registers that hold values of a type.
fn class_of(ty: Type) -> Option<Class> {
    match ty.bits() {
        1 => Some(Class::Predicate),
        64 => Some(Class::Double),
        128 => None,
        _ => Some(Class::Word),
    }
}

/// The result of lowering an instruction.
type Outcome = Result<Lowered, LowerError>;

/// Reads the modifiers and operands of an instruction. Every modifier must be taken.
struct Reader<'a> {
    instruction: &'a ast::Instruction,
    rest: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn new(instruction: &'a ast::Instruction) -> Self {
        Self {
            instruction,
            rest: instruction.modifiers.iter().map(String::as_str).collect(),
        }
    }

    /// Takes a modifier if it is there, wherever it stands.
    fn take(&mut self, modifier: &str) -> bool {
        self.take_any(&[modifier]).is_some()
    }

    /// Takes the first of some modifiers that is there.
    fn take_any(&mut self, modifiers: &[&str]) -> Option<&'a str> {
        let index = self.rest.iter().position(|part| modifiers.contains(part))?;
        Some(self.rest.remove(index))
    }

    /// Takes the first modifier that `from_name` knows.
    fn take_word<T>(&mut self, from_name: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut words = self.rest.iter().enumerate();
        let (index, word) = words.find_map(|(index, part)| Some((index, from_name(part)?)))?;
        self.rest.remove(index);
        Some(word)
    }

    /// Takes the last modifier as a type.
    fn ty(&mut self) -> Result<Type, LowerError> {
        let name = self.rest.pop();
        name.and_then(Type::from_name)
            .ok_or_else(|| self.wrong("a type is missing at its end"))
    }

    /// An error about the modifiers.
    fn wrong(&self, reason: impl Into<String>) -> LowerError {
        LowerError::Modifier {
            instruction: self.instruction.full_opcode(),
            reason: reason.into(),
        }
    }

    /// Checks that nothing is left.
    fn done(&self) -> Result<(), LowerError> {
        match self.rest.first() {
            None => Ok(()),
            Some(part) => Err(self.wrong(format!("`.{part}` is not known here"))),
        }
    }

    /// The operands, if there are `N`.
    fn operands<const N: usize>(&self) -> Result<&'a [Operand; N], LowerError> {
        let operands = self.instruction.operands.as_slice();
        operands
            .try_into()
            .map_err(|_| self.wrong(format!("it takes {N} operands, not {}", operands.len())))
    }

    /// An error about an operand, counted from 1.
    fn operand(&self, number: usize, reason: impl Into<String>) -> LowerError {
        LowerError::Operand {
            instruction: self.instruction.full_opcode(),
            number,
            reason: reason.into(),
        }
    }
}
