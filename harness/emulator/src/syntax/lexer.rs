//! Text to tokens. PTX ISA, sections 4.1 to 4.5.

use super::{ParseError, ast::Position, number};

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// An identifier or opcode; `%` and `$` are part of it. Also `_` and `WARP_SZ`.
    Word(&'a str),
    /// What follows a dot: a directive, type or modifier, with every `::` part.
    Directive(&'a str),
    /// An integer; unsigned when it has the suffix `U` or needs 64 bits.
    Integer { value: u64, is_unsigned: bool },
    /// The bits of an `f32`.
    Single(u32),
    /// A value in double precision.
    Double(f64),
    /// A string without its quotes.
    Text(&'a str),
    /// An operator or delimiter.
    Mark(&'static str),
    /// The end of the source.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexeme<'a> {
    pub(super) token: Token<'a>,
    pub(super) position: Position,
    /// As written.
    pub(super) text: &'a str,
}

/// Longer marks first, so that the first match is the longest.
const MARKS: [&str; 33] = [
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "(", ")", "[", "]", "{", "}", ",", ";", ":",
    "@", "!", "~", "+", "-", "*", "/", "%", "<", ">", "=", "&", "|", "^", "?", "#",
];

pub(super) const fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$')
}

/// The tokens of a source, one at a time.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    position: Position,
    /// Whether the last token was a word or directive: `.1` then starts a modifier (`.1d`), and
    /// elsewhere a number.
    follows_name: bool,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(source: &'a str) -> Self {
        Self {
            rest: source,
            position: Position { line: 1, column: 1 },
            follows_name: false,
        }
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError {
            position: self.position,
            message: message.into(),
        })
    }

    /// Takes `length` bytes, which end at a character boundary.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        for c in taken.chars() {
            if c == '\n' {
                self.position.line = self.position.line.saturating_add(1);
                self.position.column = 1;
            } else {
                self.position.column = self.position.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }

    /// Passes white space and comments.
    fn skip(&mut self) -> Result<(), ParseError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_ascii_start().len();
            self.take(blank);
            if self.rest.starts_with("//") {
                let length = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(length);
            } else if self.rest.starts_with("/*") {
                match self.rest[2..].find("*/") {
                    Some(inner) => self.take(inner + 4),
                    None => return self.error("this comment is not closed"),
                };
            } else {
                return Ok(());
            }
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Lexeme<'a>, ParseError> {
        self.skip()?;
        let position = self.position;
        let (token, length) = self.scan()?;
        self.follows_name = matches!(token, Token::Word(_) | Token::Directive(_));
        Ok(Lexeme {
            token,
            position,
            text: self.take(length),
        })
    }

    /// The token that `rest` starts with and its length in bytes.
    fn scan(&self) -> Result<(Token<'a>, usize), ParseError> {
        let rest = self.rest;
        let mut characters = rest.chars();
        let Some(first) = characters.next() else {
            return Ok((Token::End, 0));
        };
        let second = characters.next().unwrap_or('\0');
        let starts_number = first.is_ascii_digit()
            || (first == '.' && second.is_ascii_digit() && !self.follows_name);
        if starts_number {
            let text = &rest[..number::length(rest)];
            return match number::value(text) {
                Ok(token) => Ok((token, text.len())),
                Err(message) => self.error(message),
            };
        }
        match first {
            '%' if !is_name_character(second) => Ok((Token::Mark("%"), 1)),
            '%' | '_' | '$' | 'a'..='z' | 'A'..='Z' => {
                let length = 1 + name_length(&rest[1..]);
                Ok((Token::Word(&rest[..length]), length))
            }
            '.' => {
                let length = directive_length(rest);
                if length == 1 {
                    return self.error("expected a name after `.`");
                }
                Ok((Token::Directive(&rest[1..length]), length))
            }
            '"' => match rest[1..].find(['"', '\n']) {
                Some(end) if rest.as_bytes()[1 + end] == b'"' => {
                    Ok((Token::Text(&rest[1..=end]), end + 2))
                }
                _ => self.error("this string is not closed on its line"),
            },
            _ => match MARKS.iter().find(|mark| rest.starts_with(**mark)) {
                Some(mark) => Ok((Token::Mark(mark), mark.len())),
                None => self.error(format!("no token starts with `{}`", first.escape_debug())),
            },
        }
    }
}

fn name_length(text: &str) -> usize {
    text.find(|c| !is_name_character(c)).unwrap_or(text.len())
}

/// Length of `.name::name...` at the start of `text`, 1 when no name follows the dot.
fn directive_length(text: &str) -> usize {
    let mut length = 1 + name_length(&text[1..]);
    while let Some(part) = text[length..].strip_prefix("::") {
        match name_length(part) {
            0 => break,
            more => length += 2 + more,
        }
    }
    length
}
