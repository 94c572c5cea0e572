//! Bodies: statements and instructions. PTX ISA, sections 4.3 and 9.1 to 9.3.

use super::{
    ast::{Guard, Instruction, Operand, Position, Space, Statement, Type},
    lexer::Token,
    parser::{Parsed, Parser, fail_at},
};

impl Parser<'_> {
    /// `{ ... }`.
    pub(super) fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.nested(|parser| {
            parser.expect("{", "`{`")?;
            let mut statements = Vec::new();
            while !parser.accept("}")? {
                parser.statement(&mut statements)?;
            }
            Ok(statements)
        })
    }

    /// Appends the next statement; a declaration may be several, and debugging information none.
    fn statement(&mut self, statements: &mut Vec<Statement>) -> Parsed<()> {
        match self.current.token {
            Token::Mark("{") => statements.push(Statement::Block(self.block()?)),
            Token::Mark("@") => {
                let position = self.current.position;
                self.advance()?;
                let is_negated = self.accept("!")?;
                let (register, _) = self.name("the predicate of a guard")?;
                let guard = Guard {
                    register,
                    is_negated,
                };
                let mut instruction = self.instruction()?;
                instruction.position = position;
                instruction.guard = Some(guard);
                statements.push(Statement::Instruction(instruction));
            }
            Token::Word(_) => {
                // A label has the form of an opcode until its colon.
                let (name, position) = self.name("an instruction")?;
                if self.accept(":")? {
                    statements.push(Statement::Label(name, position));
                } else if is_opcode(&name) {
                    let instruction = self.instruction_after(name, position)?;
                    statements.push(Statement::Instruction(instruction));
                } else {
                    return fail_at(position, format!("expected an instruction, found `{name}`"));
                }
            }
            Token::Directive(name) => self.directive_statement(name, statements)?,
            _ => return self.unexpected("a statement or `}`"),
        }
        Ok(())
    }

    fn directive_statement(&mut self, name: &str, statements: &mut Vec<Statement>) -> Parsed<()> {
        match name {
            "reg" => {
                let (ty, names) = self.registers()?;
                // `%r<0>` declares nothing.
                if !names.is_empty() {
                    statements.push(Statement::Registers { ty, names });
                }
            }
            "branchtargets" | "calltargets" | "callprototype" => {
                return self.fail(format!("`.{name}` is not supported"));
            }
            _ => match Space::from_name(name) {
                Some(space) => {
                    let variables = self.variables(space, false)?;
                    statements.extend(variables.into_iter().map(Statement::Variable));
                }
                None if self.debugging()? => {}
                None => return self.unexpected("a statement or `}`"),
            },
        }
        Ok(())
    }

    /// `.reg .type names;`
    fn registers(&mut self) -> Parsed<(Type, Vec<(String, Position)>)> {
        self.advance()?;
        if let Some("v2" | "v4") = self.directive() {
            return self.fail("vector registers are not supported: declare each component");
        }
        let Some(ty) = self.directive().and_then(Type::from_name) else {
            return self.unexpected("a type");
        };
        self.advance()?;
        let mut names = self.declared_names("the name of a register")?;
        while self.accept(",")? {
            names.append(&mut self.declared_names("the name of a register")?);
        }
        self.expect(";", "`<`, `,` or `;`")?;
        Ok((ty, names))
    }

    fn instruction(&mut self) -> Parsed<Instruction> {
        let position = self.current.position;
        if !matches!(self.current.token, Token::Word(word) if is_opcode(word)) {
            return self.unexpected("an instruction");
        }
        let (opcode, _) = self.name("an instruction")?;
        self.instruction_after(opcode, position)
    }

    /// The rest of an instruction whose opcode has been passed.
    fn instruction_after(&mut self, opcode: String, position: Position) -> Parsed<Instruction> {
        let mut modifiers = Vec::new();
        while let Some(modifier) = self.directive() {
            modifiers.push(modifier.to_owned());
            self.advance()?;
        }
        let operands = self.operands(opcode == "call")?;
        Ok(Instruction {
            position,
            guard: None,
            opcode,
            modifiers,
            operands,
        })
    }

    /// Operands up to the `;`.
    fn operands(&mut self, is_call: bool) -> Parsed<Vec<Operand>> {
        let mut operands = Vec::new();
        if self.accept(";")? {
            return Ok(operands);
        }
        loop {
            operands.push(self.operand(is_call)?);
            if !self.accept(",")? {
                self.expect(";", "`,` or `;`")?;
                return Ok(operands);
            }
        }
    }
}

/// Whether a word can be an opcode; labels and registers may start with other characters.
fn is_opcode(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic()) && word != "WARP_SZ"
}
