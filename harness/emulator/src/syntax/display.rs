//! The tree as PTX text: one statement a line, parameterised names where members are in sequence.

use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter, Write},
};

use super::ast::{
    Function, Immediate, Instruction, Module, Operand, Position, Statement, Type, Variable,
};

impl Instruction {
    /// The opcode with its modifiers: `cvt.rn.f32.u32`.
    pub fn full_opcode(&self) -> String {
        let mut opcode = self.opcode.clone();
        for modifier in &self.modifiers {
            opcode.push('.');
            opcode.push_str(modifier);
        }
        opcode
    }
}

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, ".version {}.{}", self.version.0, self.version.1)?;
        writeln!(f, ".target {}", self.target.join(", "))?;
        writeln!(f, ".address_size 64")?;
        for variable in &self.variables {
            let linkage = if variable.is_extern { "" } else { ".visible " };
            writeln!(f, "{linkage}{variable};")?;
        }
        let defined: HashSet<&str> = self
            .functions
            .iter()
            .filter(|function| function.body.is_some())
            .map(|function| function.name.as_str())
            .collect();
        for function in &self.functions {
            let is_foreign = !defined.contains(function.name.as_str());
            f.write_str(if is_foreign { ".extern " } else { ".visible " })?;
            writeln!(f, "{function}")?;
        }
        Ok(())
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_entry { ".entry " } else { ".func " })?;
        if !self.returns.is_empty() {
            write!(f, "({}) ", Separated(&self.returns))?;
        }
        write!(f, "{}({})", self.name, Separated(&self.parameters))?;
        for (directive, threads) in [
            ("reqntid", self.required_threads),
            ("maxntid", self.maximum_threads),
        ] {
            if let Some([x, y, z]) = threads {
                write!(f, " .{directive} {x}, {y}, {z}")?;
            }
        }
        match &self.body {
            None => f.write_char(';'),
            Some(statements) => {
                f.write_str("\n{\n")?;
                write_statements(f, statements, 1)?;
                f.write_char('}')
            }
        }
    }
}

fn write_statements(f: &mut Formatter<'_>, statements: &[Statement], level: usize) -> fmt::Result {
    for statement in statements {
        // Labels stand out by one level.
        let is_label = matches!(statement, Statement::Label(..));
        write!(f, "{:1$}", "", 4 * (level - usize::from(is_label)))?;
        match statement {
            Statement::Label(name, _) => writeln!(f, "{name}:")?,
            Statement::Registers { ty, names } => write_registers(f, *ty, names)?,
            Statement::Variable(variable) => writeln!(f, "{variable};")?,
            Statement::Instruction(instruction) => writeln!(f, "{instruction}")?,
            Statement::Block(inner) => {
                writeln!(f, "{{")?;
                write_statements(f, inner, level + 1)?;
                writeln!(f, "{:1$}}}", "", 4 * level)?;
            }
        }
    }
    Ok(())
}

fn write_registers(f: &mut Formatter<'_>, ty: Type, names: &[(String, Position)]) -> fmt::Result {
    write!(f, ".reg .{} ", ty.name())?;
    let mut rest = names;
    while let Some((name, _)) = rest.first() {
        if rest.len() < names.len() {
            f.write_str(", ")?;
        }
        let run = sequence_length(rest);
        match name.strip_suffix('0') {
            Some(prefix) if run > 1 => write!(f, "{prefix}<{run}>")?,
            _ => f.write_str(name)?,
        }
        rest = &rest[run..];
    }
    f.write_str(";\n")
}

/// How many of the first names are `prefix0`, `prefix1`, ...; 1 where the first starts no such
/// sequence or its prefix is no name.
fn sequence_length(names: &[(String, Position)]) -> usize {
    let prefix = names.first().and_then(|(name, _)| name.strip_suffix('0'));
    let Some(prefix) = prefix.filter(|prefix| !matches!(*prefix, "" | "%" | "_")) else {
        return 1;
    };
    let is_member = |(i, (name, _)): &(usize, &(String, Position))| {
        name.strip_prefix(prefix) == Some(&i.to_string())
    };
    names.iter().enumerate().take_while(is_member).count()
}

impl Display for Variable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_extern {
            f.write_str(".extern ")?;
        }
        write!(f, ".{} ", self.space.name())?;
        if self.alignment != self.ty.bytes() {
            write!(f, ".align {} ", self.alignment)?;
        }
        write!(f, ".{} {}", self.ty.name(), self.name)?;
        match self.elements {
            0 => f.write_str("[]")?,
            // ptxas takes braces around the value of an array only.
            1 => {}
            elements => write!(f, "[{elements}]")?,
        }
        let Some(bytes) = &self.initial else {
            return Ok(());
        };
        let size = self.ty.bytes() as usize;
        if self.elements == 1 {
            return write!(f, " = {}", element(self.ty, bytes));
        }
        // What the braces leave out is zero: a large array that is mostly empty stays short.
        let count = bytes.iter().rposition(|&byte| byte != 0);
        let count = count.map_or(0, |last| last / size + 1);
        f.write_str(" = {")?;
        for (i, bytes) in bytes.chunks_exact(size).take(count).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", element(self.ty, bytes))?;
        }
        f.write_char('}')
    }
}

/// One little-endian element of an initial value.
fn element(ty: Type, bytes: &[u8]) -> Immediate {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match ty {
        Type::F32 => Immediate::Single(bits as u32),
        Type::F64 => Immediate::Double(bits),
        _ => Immediate::Integer(bits),
    }
}

impl Display for Instruction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(guard) = &self.guard {
            let not = if guard.is_negated { "!" } else { "" };
            write!(f, "@{not}{} ", guard.register)?;
        }
        f.write_str(&self.full_opcode())?;
        if !self.operands.is_empty() {
            write!(f, " {}", Separated(&self.operands))?;
        }
        f.write_char(';')
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            // As of addresses below.
            Self::Offset { base, offset } => write!(f, "{base}+{offset}"),
            Self::Not(name) => write!(f, "!{name}"),
            Self::Immediate(value) => value.fmt(f),
            Self::Address { base: None, offset } => write!(f, "[{offset}]"),
            Self::Address {
                base: Some(base),
                offset: 0,
            } => write!(f, "[{base}]"),
            // A negative offset is `+-4`, the only form that ptxas takes.
            Self::Address {
                base: Some(base),
                offset,
            } => write!(f, "[{base}+{offset}]"),
            Self::Vector(elements) => write!(f, "{{{}}}", Separated(elements)),
            Self::List(elements) => write!(f, "({})", Separated(elements)),
            Self::Pair(first, second) => write!(f, "{first}|{second}"),
            Self::Sink => f.write_char('_'),
        }
    }
}

impl Display for Immediate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Integer(bits) => write!(f, "{}", bits as i64),
            Self::Single(bits) => write!(f, "0f{bits:08X}"),
            Self::Double(bits) => write!(f, "0d{bits:016X}"),
        }
    }
}

/// Items with a comma between them.
struct Separated<'a, T>(&'a [T]);

impl<T: Display> Display for Separated<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
