//! Resolves the names in a kernel.

mod operand;

use std::collections::HashMap;

use super::{ProgramError, class_of, error};
use crate::launch::MAX_SHARED;
use crate::program::{self, Instruction, Parameter, Program, Special};
use crate::registers::{Class, Register};
use crate::syntax::ast::{Function, Module, Position, Space, Statement, Type, Variable};

/// Bytes of constant memory of a module, at most. PTX ISA 5.1.3.
const MAX_CONSTANT: u64 = 64 << 10;
/// Bytes of parameters of a kernel, at most. PTX ISA 5.1.6.2.
const MAX_PARAMETERS: u64 = 32_764;

/// Where a variable lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    space: program::Space,
    offset: u64,
}

/// The declarations of a kernel, and the registers made for its constants.
pub(super) struct Names {
    scopes: Vec<HashMap<String, (Register, Type)>>,
    variables: Vec<HashMap<String, Place>>,
    names: [Vec<String>; 3],
    constants: HashMap<(Class, u64), Register>,
    specials: Vec<(Register, Special)>,
    carry: Option<Register>,
    parameters: Vec<Parameter>,
    shared: u64,
    dynamic_shared: Vec<String>,
    /// Where dynamic shared memory starts: behind everything that is static.
    dynamic_base: u64,
    local: u64,
    constant_bank: Vec<u8>,
}

impl Names {
    pub fn new(module: &Module, function: &Function) -> Result<Self, ProgramError> {
        let mut names = Self {
            scopes: vec![HashMap::new()],
            variables: vec![HashMap::new()],
            names: Default::default(),
            constants: HashMap::new(),
            specials: Vec::new(),
            carry: None,
            parameters: Vec::new(),
            shared: 0,
            dynamic_shared: Vec::new(),
            dynamic_base: 0,
            local: 0,
            constant_bank: Vec::new(),
        };
        let body = function.body.as_deref().unwrap_or_default();
        for variable in module.variables.iter().chain(&variables(body)) {
            if variable.space == Space::Shared && !variable.is_extern {
                let base = &mut names.dynamic_base;
                *base = base.next_multiple_of(u64::from(variable.alignment.max(1)));
                *base += size(variable)?;
            }
        }
        let dynamic = module
            .variables
            .iter()
            .filter(|variable| variable.is_extern);
        let alignment = dynamic.map(|variable| u64::from(variable.alignment)).max();
        names.dynamic_base = names
            .dynamic_base
            .next_multiple_of(alignment.unwrap_or(1).max(16));
        for variable in &module.variables {
            names.declare_variable(variable)?;
        }
        let mut offset = 0u64;
        for parameter in &function.parameters {
            let bytes = size(parameter)?;
            offset = offset.next_multiple_of(u64::from(parameter.alignment.max(1)));
            names.parameters.push(Parameter {
                name: parameter.name.clone(),
                offset: offset as u32,
                bytes: bytes as u32,
            });
            names.place(&parameter.name, Space::Param, offset);
            offset += bytes;
            check_size(
                "bytes of parameters",
                offset,
                MAX_PARAMETERS,
                parameter.position,
            )?;
        }
        Ok(names)
    }

    pub fn enter(&mut self) {
        self.scopes.push(HashMap::new());
        self.variables.push(HashMap::new());
    }

    pub fn leave(&mut self) {
        self.scopes.pop();
        self.variables.pop();
    }

    pub fn declare_register(
        &mut self,
        name: &str,
        ty: Type,
        position: Position,
    ) -> Result<(), ProgramError> {
        let class =
            class_of(ty).ok_or_else(|| error(position, "128-bit registers are not supported"))?;
        let register = self.fresh(class, name);
        let scope = self.scopes.len() - 1;
        match self.scopes[scope].insert(name.to_owned(), (register, ty)) {
            None => Ok(()),
            Some(_) => Err(error(
                position,
                format!("register `{name}` is declared again"),
            )),
        }
    }

    pub fn declare_variable(&mut self, variable: &Variable) -> Result<(), ProgramError> {
        let bytes = size(variable)?;
        let alignment = u64::from(variable.alignment.max(1));
        let offset = match variable.space {
            Space::Shared if variable.is_extern => {
                self.dynamic_shared.push(variable.name.clone());
                return Ok(());
            }
            Space::Shared => {
                let offset = self.shared.next_multiple_of(alignment);
                self.shared = offset + bytes;
                offset
            }
            Space::Local => {
                let offset = self.local.next_multiple_of(alignment);
                self.local = offset + bytes;
                offset
            }
            Space::Const => {
                let offset = (self.constant_bank.len() as u64).next_multiple_of(alignment);
                check_size(
                    "bytes of constant memory",
                    offset + bytes,
                    MAX_CONSTANT,
                    variable.position,
                )?;
                self.constant_bank.resize((offset + bytes) as usize, 0);
                if let Some(initial) = &variable.initial {
                    self.constant_bank[offset as usize..][..initial.len()].copy_from_slice(initial);
                }
                offset
            }
            Space::Global | Space::Param => {
                let reason = format!(
                    "`{}`: variables of this space are not supported here",
                    variable.name
                );
                return Err(error(variable.position, reason));
            }
        };
        self.place(&variable.name, variable.space, offset);
        Ok(())
    }

    fn place(&mut self, name: &str, space: Space, offset: u64) {
        let space = match space {
            Space::Const => program::Space::Const,
            Space::Global => program::Space::Global,
            Space::Local => program::Space::Local,
            Space::Param => program::Space::Param,
            Space::Shared => program::Space::Shared,
        };
        let scope = self.variables.len() - 1;
        self.variables[scope].insert(name.to_owned(), Place { space, offset });
    }

    fn fresh(&mut self, class: Class, name: &str) -> Register {
        let names = &mut self.names[class as usize];
        names.push(name.to_owned());
        Register {
            class,
            index: (names.len() - 1) as u16,
        }
    }

    /// The register that holds a constant.
    pub fn constant(&mut self, class: Class, value: u64) -> Register {
        if let Some(&register) = self.constants.get(&(class, value)) {
            return register;
        }
        let register = self.fresh(class, &format!("{value:#x}"));
        self.constants.insert((class, value), register);
        register
    }

    fn register(&self, name: &str) -> Option<(Register, Type)> {
        self.scopes
            .iter()
            .rev()
            .find_map(|scope| scope.get(name))
            .copied()
    }

    fn variable(&self, name: &str) -> Option<Place> {
        if self.dynamic_shared.iter().any(|known| known == name) {
            return Some(Place {
                space: program::Space::Shared,
                offset: self.dynamic_base,
            });
        }
        self.variables
            .iter()
            .rev()
            .find_map(|scope| scope.get(name))
            .copied()
    }

    /// Checks that what is declared fits where it goes.
    pub fn check_sizes(&self, position: Position) -> Result<(), ProgramError> {
        let registers = self.names.iter().map(Vec::len).max().unwrap_or(0) as u64;
        let sizes = [
            ("registers and constants of a class", registers, 1 << 16),
            ("bytes of shared memory", self.shared, u64::from(MAX_SHARED)),
            (
                "bytes of shared memory",
                self.dynamic_base,
                u64::from(MAX_SHARED),
            ),
            ("bytes of local memory", self.local, 512 << 10),
        ];
        sizes
            .into_iter()
            .try_for_each(|(what, size, most)| check_size(what, size, most, position))
    }

    pub fn into_program(self, function: &Function, instructions: Vec<Instruction>) -> Program {
        let mut constants: Vec<(Register, u64)> = self
            .constants
            .into_iter()
            .map(|((_, value), register)| (register, value))
            .collect();
        constants.sort_by_key(|(register, _)| (register.class as usize, register.index));
        Program {
            name: function.name.clone(),
            instructions,
            registers: [0, 1, 2].map(|class| self.names[class].len()),
            names: self.names,
            constants,
            specials: self.specials,
            parameters: self.parameters,
            static_shared: if self.dynamic_shared.is_empty() {
                self.shared as u32
            } else {
                self.dynamic_base as u32
            },
            local: self.local as u32,
            constant_bank: self.constant_bank,
            required_threads: function.required_threads,
            maximum_threads: function.maximum_threads,
        }
    }
}

/// The variables that a body declares, at any depth.
fn variables(body: &[Statement]) -> Vec<Variable> {
    let mut found = Vec::new();
    for statement in body {
        match statement {
            Statement::Variable(variable) => found.push(variable.clone()),
            Statement::Block(inner) => found.extend(variables(inner)),
            _ => {}
        }
    }
    found
}

fn check_size(what: &str, size: u64, most: u64, position: Position) -> Result<(), ProgramError> {
    if size <= most {
        return Ok(());
    }
    let reason = format!("{size} {what}, at most {most} are possible");
    Err(error(position, reason))
}

/// Bytes of a variable.
fn size(variable: &Variable) -> Result<u64, ProgramError> {
    let bytes = variable
        .elements
        .checked_mul(u64::from(variable.ty.bytes()));
    bytes.filter(|&bytes| bytes <= 1 << 30).ok_or_else(|| {
        error(
            variable.position,
            format!("`{}` is too large", variable.name),
        )
    })
}
