//! The state of parsing: the current token, and the limits that keep hostile text harmless.

use super::{
    ParseError,
    ast::Position,
    lexer::{Lexeme, Lexer, Token},
    number::shorten,
};

/// Levels of blocks, parentheses and braces.
const MAXIMUM_DEPTH: u32 = 64;
/// Members of one parameterised name.
const MAXIMUM_MEMBERS: u64 = 65_536;
/// Members of all parameterised names of a module.
const MAXIMUM_MODULE_MEMBERS: u64 = 1 << 20;

pub(super) type Parsed<T> = Result<T, ParseError>;

/// A recursive-descent parser with one token of lookahead. Its other methods are in the modules
/// that this one's documentation lists.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    pub(super) current: Lexeme<'a>,
    depth: u32,
    /// Members of parameterised names so far.
    members: u64,
    /// Bytes of initialised variables so far.
    pub(super) initial_bytes: u64,
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a str) -> Parsed<Self> {
        let mut lexer = Lexer::new(source);
        let current = lexer.next()?;
        Ok(Self {
            lexer,
            current,
            depth: 0,
            members: 0,
            initial_bytes: 0,
        })
    }

    /// Moves on and returns the token that was current.
    pub(super) fn advance(&mut self) -> Parsed<Lexeme<'a>> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.current, next))
    }

    /// The error that something else than the current token should stand here.
    pub(super) fn unexpected<T>(&self, expected: &str) -> Parsed<T> {
        let found = match self.current.token {
            Token::End => "the end of the source".to_owned(),
            _ => format!("`{}`", shorten(self.current.text)),
        };
        self.fail(format!("expected {expected}, found {found}"))
    }

    /// An error at the current token.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        fail_at(self.current.position, message)
    }

    pub(super) fn is_at(&self, mark: &str) -> bool {
        matches!(self.current.token, Token::Mark(found) if found == mark)
    }

    /// Passes `mark` if it is current.
    pub(super) fn accept(&mut self, mark: &str) -> Parsed<bool> {
        let is_there = self.is_at(mark);
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    /// Passes `mark`; `expected` says what may stand here.
    pub(super) fn expect(&mut self, mark: &str, expected: &str) -> Parsed<()> {
        if self.accept(mark)? {
            Ok(())
        } else {
            self.unexpected(expected)
        }
    }

    /// The name after the dot, if a directive is current.
    pub(super) fn directive(&self) -> Option<&'a str> {
        match self.current.token {
            Token::Directive(name) => Some(name),
            _ => None,
        }
    }

    /// Passes `.name` if it is current.
    pub(super) fn accept_directive(&mut self, name: &str) -> Parsed<bool> {
        let is_there = self.directive() == Some(name);
        if is_there {
            self.advance()?;
        }
        Ok(is_there)
    }

    /// Passes a word; `expected` says what it should name.
    pub(super) fn word(&mut self, expected: &str) -> Parsed<&'a str> {
        let Token::Word(word) = self.current.token else {
            return self.unexpected(expected);
        };
        self.advance()?;
        Ok(word)
    }

    /// Passes an identifier that a declaration may bind.
    pub(super) fn name(&mut self, expected: &str) -> Parsed<(String, Position)> {
        let position = self.current.position;
        if matches!(self.current.token, Token::Word("_" | "WARP_SZ")) {
            return self.unexpected(expected);
        }
        Ok((self.word(expected)?.to_owned(), position))
    }

    /// Passes an integer literal.
    pub(super) fn integer(&mut self, expected: &str) -> Parsed<u64> {
        let Token::Integer { value, .. } = self.current.token else {
            return self.unexpected(expected);
        };
        self.advance()?;
        Ok(value)
    }

    /// Passes a positive integer literal of 32 bits.
    pub(super) fn positive(&mut self, expected: &str) -> Parsed<u32> {
        let position = self.current.position;
        match self.integer(expected)?.try_into() {
            Ok(0) | Err(_) => fail_at(position, format!("{expected} must be from 1 to 4294967295")),
            Ok(value) => Ok(value),
        }
    }

    /// Passes `name` or `name<N>` and returns the names it declares. PTX ISA 5.4.6.
    pub(super) fn declared_names(&mut self, expected: &str) -> Parsed<Vec<(String, Position)>> {
        let (name, position) = self.name(expected)?;
        if !self.accept("<")? {
            return Ok(vec![(name, position)]);
        }
        let count_position = self.current.position;
        let count = self.integer("a number of names")?;
        if count > MAXIMUM_MEMBERS {
            return fail_at(
                count_position,
                format!("{count} names in one declaration; the limit is {MAXIMUM_MEMBERS}"),
            );
        }
        self.members += count;
        if self.members > MAXIMUM_MODULE_MEMBERS {
            return fail_at(
                count_position,
                format!("more than {MAXIMUM_MODULE_MEMBERS} parameterised names in the module"),
            );
        }
        self.expect(">", "`>`")?;
        Ok((0..count)
            .map(|i| (format!("{name}{i}"), position))
            .collect())
    }

    /// Runs `inner` one level deeper.
    pub(super) fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAXIMUM_DEPTH {
            return self.fail(format!("nested deeper than {MAXIMUM_DEPTH} levels"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }
}

/// An error at `position`.
pub(super) fn fail_at<T>(position: Position, message: impl Into<String>) -> Parsed<T> {
    Err(ParseError {
        position,
        message: message.into(),
    })
}
