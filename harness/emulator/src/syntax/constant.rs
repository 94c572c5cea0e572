//! Constant expressions. PTX ISA, sections 4.5.4 to 4.5.6.
//!
//! Integers are 64 bits, signed unless a literal or operator makes them unsigned. Where the
//! document leaves room, the result is that of ptxas: shifts count modulo 64, `&`, `|` and `^`
//! take the usual conversions, and a division by zero is an error even in a branch that is not
//! taken.

use super::{
    ast::{Immediate, Position},
    lexer::Token,
    parser::{Parsed, Parser, fail_at},
};

/// Lanes of a warp: the constant `WARP_SZ`.
const WARP_SIZE: i64 = 32;
/// Precedence of `+` and `-`.
const ADDITIVE: u8 = 9;

/// A value with its type.
#[derive(Clone, Copy, Debug)]
enum Value {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

use Value::{Float, Signed, Unsigned};

/// Precedence of a binary operator, from 1 (loosest), as in C.
fn precedence(operator: &str) -> Option<u8> {
    Some(match operator {
        "||" => 1,
        "&&" => 2,
        "|" => 3,
        "^" => 4,
        "&" => 5,
        "==" | "!=" => 6,
        "<" | "<=" | ">" | ">=" => 7,
        "<<" | ">>" => 8,
        "+" | "-" => ADDITIVE,
        "*" | "/" | "%" => 10,
        _ => return None,
    })
}

impl Parser<'_> {
    /// A constant operand or initialiser.
    pub(super) fn constant(&mut self) -> Parsed<Immediate> {
        // The machine representation stands alone: it takes no sign and no operator.
        if let Token::Single(bits) = self.current.token {
            self.advance()?;
            return Ok(Immediate::Single(bits));
        }
        self.expression().map(Value::immediate)
    }

    /// The rest of a constant whose leading `!` has been passed at `position`.
    pub(super) fn constant_after_not(&mut self, position: Position) -> Parsed<Immediate> {
        let operand = self.nested(Self::unary)?.logical_not(position)?;
        let value = self.binary_after(operand, 1)?;
        self.conditional_after(value).map(Value::immediate)
    }

    /// A constant that is an integer, as 64 bits of two's complement.
    pub(super) fn integer_constant(&mut self) -> Parsed<u64> {
        let position = self.current.position;
        self.expression()?.integer(position)
    }

    /// `+4`, `-4`, `+4*2-1`: what is added to the base of an address.
    pub(super) fn offset(&mut self) -> Parsed<i64> {
        let position = self.current.position;
        let sum = self.binary_after(Signed(0), ADDITIVE)?;
        Ok(sum.integer(position)? as i64)
    }

    fn expression(&mut self) -> Parsed<Value> {
        let value = self.binary(1)?;
        self.conditional_after(value)
    }

    fn conditional_after(&mut self, condition: Value) -> Parsed<Value> {
        let position = self.current.position;
        if !self.accept("?")? {
            return Ok(condition);
        }
        let condition = condition.integer(position)?;
        let yes = self.nested(Self::expression)?;
        self.expect(":", "`:` of `? :`")?;
        let no = self.nested(Self::expression)?;
        // Both branches take their common type, whichever is chosen.
        match (yes, no) {
            (Signed(_), Signed(_)) | (Float(_), Float(_)) => {
                Ok(if condition != 0 { yes } else { no })
            }
            _ => {
                let (yes, no) = (yes.integer(position)?, no.integer(position)?);
                Ok(Unsigned(if condition != 0 { yes } else { no }))
            }
        }
    }

    /// An expression of operators that bind at least as tightly as `minimum`.
    fn binary(&mut self, minimum: u8) -> Parsed<Value> {
        let left = self.unary()?;
        self.binary_after(left, minimum)
    }

    fn binary_after(&mut self, mut left: Value, minimum: u8) -> Parsed<Value> {
        while let Token::Mark(operator) = self.current.token
            && let Some(level) = precedence(operator)
            && level >= minimum
        {
            let position = self.advance()?.position;
            let right = self.binary(level + 1)?;
            left = apply(operator, left, right, position)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Value> {
        let position = self.current.position;
        let value = match self.current.token {
            Token::Integer {
                value,
                is_unsigned: true,
            } => Unsigned(value),
            Token::Integer { value, .. } => Signed(value as i64),
            Token::Double(value) => Float(value),
            Token::Word("WARP_SZ") => Signed(WARP_SIZE),
            Token::Single(_) => {
                return self.fail("a `0f` constant takes no sign and no operator");
            }
            Token::Mark("(") => {
                self.advance()?;
                return self.parenthesised();
            }
            Token::Mark(sign @ ("+" | "-" | "~" | "!")) => {
                self.advance()?;
                let operand = self.nested(Self::unary)?;
                return match (sign, operand) {
                    ("-", Signed(value)) => Ok(Signed(value.wrapping_neg())),
                    ("-", Unsigned(value)) => Ok(Unsigned(value.wrapping_neg())),
                    ("-", Float(value)) => Ok(Float(-value)),
                    ("~", value) => Ok(Unsigned(!value.integer(position)?)),
                    ("!", value) => value.logical_not(position),
                    (_, value) => Ok(value),
                };
            }
            _ => return self.unexpected("a constant"),
        };
        self.advance()?;
        Ok(value)
    }

    /// What follows `(`: a cast, or an expression and its `)`.
    fn parenthesised(&mut self) -> Parsed<Value> {
        let position = self.current.position;
        let Some(cast) = self.directive() else {
            let value = self.nested(Self::expression)?;
            self.expect(")", "an operator or `)`")?;
            return Ok(value);
        };
        if !matches!(cast, "s64" | "u64") {
            return self.unexpected("the cast `(.s64)` or `(.u64)`");
        }
        self.advance()?;
        self.expect(")", "`)` after the type of a cast")?;
        let bits = self.nested(Self::unary)?.integer(position)?;
        Ok(match cast {
            "s64" => Signed(bits as i64),
            _ => Unsigned(bits),
        })
    }
}

impl Value {
    /// The bits of an integer; an error at `position` for a floating-point value.
    fn integer(self, position: Position) -> Parsed<u64> {
        match self {
            Signed(value) => Ok(value as u64),
            Unsigned(value) => Ok(value),
            Float(_) => fail_at(
                position,
                "expected an integer, found a floating-point value",
            ),
        }
    }

    fn logical_not(self, position: Position) -> Parsed<Self> {
        Ok(Signed(i64::from(self.integer(position)? == 0)))
    }

    const fn immediate(self) -> Immediate {
        match self {
            Signed(value) => Immediate::Integer(value as u64),
            Unsigned(value) => Immediate::Integer(value),
            Float(value) => Immediate::Double(value.to_bits()),
        }
    }
}

/// One binary operation; errors are at `position`, the operator.
fn apply(operator: &str, left: Value, right: Value, position: Position) -> Parsed<Value> {
    match (left, right) {
        (Float(a), Float(b)) => apply_float(operator, a, b, position),
        (Signed(a), _) if matches!(operator, "<<" | ">>") => {
            let count = right.integer(position)? as u32;
            Ok(Signed(match operator {
                "<<" => a.wrapping_shl(count),
                _ => a.wrapping_shr(count),
            }))
        }
        (Signed(a), Signed(b)) if !matches!(operator, "%" | "&&" | "||") => {
            apply_signed(operator, a, b, position)
        }
        _ => apply_unsigned(
            operator,
            left.integer(position)?,
            right.integer(position)?,
            position,
        ),
    }
}

/// What a comparison says of two values; `None` for another operator.
fn compare<T: PartialOrd>(operator: &str, a: T, b: T) -> Option<Value> {
    let holds = match operator {
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        "==" => a == b,
        "!=" => a != b,
        _ => return None,
    };
    Some(Signed(i64::from(holds)))
}

fn apply_float(operator: &str, a: f64, b: f64, position: Position) -> Parsed<Value> {
    let value = match operator {
        "+" => Some(Float(a + b)),
        "-" => Some(Float(a - b)),
        "*" => Some(Float(a * b)),
        "/" if b == 0.0 => return fail_at(position, "division by zero"),
        "/" => Some(Float(a / b)),
        _ => compare(operator, a, b),
    };
    value.map_or_else(
        || {
            fail_at(
                position,
                format!("`{operator}` does not take floating-point values"),
            )
        },
        Ok,
    )
}

fn apply_signed(operator: &str, a: i64, b: i64, position: Position) -> Parsed<Value> {
    if let Some(truth) = compare(operator, a, b) {
        return Ok(truth);
    }
    Ok(Signed(match operator {
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" if b == 0 => return fail_at(position, "division by zero"),
        "/" => a.wrapping_div(b),
        "&" => a & b,
        "|" => a | b,
        _ => a ^ b,
    }))
}

fn apply_unsigned(operator: &str, a: u64, b: u64, position: Position) -> Parsed<Value> {
    if let Some(truth) = compare(operator, a, b) {
        return Ok(truth);
    }
    Ok(Unsigned(match operator {
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" | "%" if b == 0 => return fail_at(position, "division by zero"),
        "/" => a / b,
        "%" => return Ok(Signed((a % b) as i64)),
        "<<" => a.wrapping_shl(b as u32),
        ">>" => a.wrapping_shr(b as u32),
        "&" => a & b,
        "|" => a | b,
        "&&" => return Ok(Signed(i64::from(a != 0 && b != 0))),
        "||" => return Ok(Signed(i64::from(a != 0 || b != 0))),
        _ => a ^ b,
    }))
}
