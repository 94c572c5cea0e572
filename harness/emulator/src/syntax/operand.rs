//! Operands of instructions. PTX ISA, chapter 6.

use super::{
    ast::Operand,
    lexer::Token,
    parser::{Parsed, Parser},
};

impl Parser<'_> {
    /// One operand. Parentheses are a list in a call and an expression elsewhere.
    pub(super) fn operand(&mut self, is_call: bool) -> Parsed<Operand> {
        match self.current.token {
            Token::Mark("{") => {
                self.advance()?;
                Ok(Operand::Vector(self.elements("}", "`,` or `}`")?))
            }
            Token::Mark("[") => self.address(),
            Token::Mark("(") if is_call => {
                self.advance()?;
                if self.accept(")")? {
                    return Ok(Operand::List(Vec::new()));
                }
                Ok(Operand::List(self.elements(")", "`,` or `)`")?))
            }
            _ => {
                let first = self.simple("an operand")?;
                let is_destination = matches!(first, Operand::Name(_) | Operand::Sink);
                if !is_destination || !self.accept("|")? {
                    return Ok(first);
                }
                let Token::Word(_) = self.current.token else {
                    return self.unexpected("the second register of a pair");
                };
                let second = self.simple("the second register of a pair")?;
                Ok(Operand::Pair(Box::new(first), Box::new(second)))
            }
        }
    }

    /// Simple operands up to and including `close`.
    fn elements(&mut self, close: &str, expected: &str) -> Parsed<Vec<Operand>> {
        let mut elements = vec![self.simple("a register or constant")?];
        while self.accept(",")? {
            elements.push(self.simple("a register or constant")?);
        }
        self.expect(close, expected)?;
        Ok(elements)
    }

    /// A name, `name+4`, `!p`, `_` or a constant.
    fn simple(&mut self, expected: &str) -> Parsed<Operand> {
        match self.current.token {
            Token::Word("_") => {
                self.advance()?;
                Ok(Operand::Sink)
            }
            Token::Word(word) if word != "WARP_SZ" => {
                let base = self.dotted_name()?;
                if !(self.is_at("+") || self.is_at("-")) {
                    return Ok(Operand::Name(base));
                }
                let offset = self.offset()?;
                Ok(Operand::Offset { base, offset })
            }
            Token::Mark("!") => {
                let position = self.advance()?.position;
                match self.current.token {
                    Token::Word(word) if !matches!(word, "_" | "WARP_SZ") => {
                        Ok(Operand::Not(self.dotted_name()?))
                    }
                    _ => self.constant_after_not(position).map(Operand::Immediate),
                }
            }
            Token::Word(_)
            | Token::Integer { .. }
            | Token::Single(_)
            | Token::Double(_)
            | Token::Mark("(" | "+" | "-" | "~") => self.constant().map(Operand::Immediate),
            _ => self.unexpected(expected),
        }
    }

    /// A name and its component, as in `%tid.x`.
    fn dotted_name(&mut self) -> Parsed<String> {
        let (mut name, _) = self.name("a name")?;
        if let Some(component) = self.directive() {
            name.push('.');
            name.push_str(component);
            self.advance()?;
        }
        Ok(name)
    }

    /// `[base]`, `[base+4]`, `[base-4]` or `[1024]`.
    fn address(&mut self) -> Parsed<Operand> {
        self.advance()?;
        let operand = match self.current.token {
            Token::Word(word) if !matches!(word, "_" | "WARP_SZ") => {
                let base = Some(self.dotted_name()?);
                let offset = match self.is_at("+") || self.is_at("-") {
                    true => self.offset()?,
                    false => 0,
                };
                Operand::Address { base, offset }
            }
            _ => Operand::Address {
                base: None,
                offset: self.integer_constant()? as i64,
            },
        };
        if self.is_at(",") {
            return self.fail("addresses with coordinates are not supported");
        }
        self.expect("]", "`+`, `-` or `]`")?;
        Ok(operand)
    }
}
