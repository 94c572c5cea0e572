//! Notations of numbers. PTX ISA, sections 4.5.1 and 4.5.2.

use super::lexer::{Token, is_name_character};

/// Length in bytes of the number that `text` starts with, with whatever is glued to it.
pub(super) fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let tail = &bytes[from.min(bytes.len())..];
        tail.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut end = digits(0);
    let has_prefix = &bytes[..end] == b"0"
        && matches!(
            bytes.get(1),
            Some(b'x' | b'X' | b'b' | b'B' | b'f' | b'F' | b'd' | b'D')
        );
    if !has_prefix {
        if bytes.get(end) == Some(&b'.') {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > 0 {
                end += 1 + sign + exponent;
            }
        }
    }
    let tail = text[end..].find(|c| !is_name_character(c));
    tail.map_or(text.len(), |tail| end + tail)
}

/// The token that a number stands for, or what is wrong with it.
pub(super) fn value(text: &str) -> Result<Token<'static>, String> {
    let malformed = || Err(format!("`{}` is not a number", shorten(text)));
    // All bytes are ASCII: `length` takes nothing else.
    let (prefix, tail) = text.split_at(text.len().min(2));
    match prefix {
        "0f" | "0F" => match exact_bits(tail, 8) {
            Some(bits) => Ok(Token::Single(bits as u32)),
            None => Err("`0f` takes 8 hexadecimal digits".to_owned()),
        },
        "0d" | "0D" => match exact_bits(tail, 16) {
            Some(bits) => Ok(Token::Double(f64::from_bits(bits))),
            None => Err("`0d` takes 16 hexadecimal digits".to_owned()),
        },
        "0x" | "0X" => integer(text, tail, 16),
        "0b" | "0B" => integer(text, tail, 2),
        _ if text.contains(['.', 'e', 'E']) => match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Token::Double(value)),
            Ok(_) => Err(format!("`{}` is beyond double precision", shorten(text))),
            Err(_) => malformed(),
        },
        _ if text.starts_with('0') && !matches!(text, "0" | "0U") => integer(text, &text[1..], 8),
        _ => integer(text, text, 10),
    }
}

/// `digits` in a base, with an optional suffix `U`.
fn integer(text: &str, digits: &str, base: u32) -> Result<Token<'static>, String> {
    let plain = digits.strip_suffix('U').unwrap_or(digits);
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(base)) {
        return Err(format!("`{}` is not a number", shorten(text)));
    }
    match u64::from_str_radix(plain, base) {
        Ok(value) => Ok(Token::Integer {
            value,
            is_unsigned: plain.len() < digits.len() || i64::try_from(value).is_err(),
        }),
        Err(_) => Err(format!("`{}` does not fit 64 bits", shorten(text))),
    }
}

fn exact_bits(digits: &str, count: usize) -> Option<u64> {
    let is_exact = digits.len() == count && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_exact.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// At most 40 characters of `text`, fit for a message of one line.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}
