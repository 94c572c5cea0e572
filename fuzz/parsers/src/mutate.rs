//! Mutations of bytes, for the tests; libFuzzer brings its own.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// What parsers have gone wrong on: edges of numbers, nesting, words of the formats.
#[rustfmt::skip] // A table.
const TOKENS: [&str; 40] = [
    "0", "-1", "1", "255", "65536", "2147483648", "4294967295", "9223372036854775808",
    "18446744073709551615", "99999999999999999999", "1e999", "-0.0", "5e-324", "NaN", "null",
    "true", "\"\"", "[]", "{}", "[", "{", "(", "}", "]", ")", "\"", ",", ":", "=", "\n", "\r", "\0",
    "\\u0000", "\\ud800", "\u{feff}", "\u{1f600}", ".v4", "<65536>", "%", "F8_E4M3",
];

/// A mutation of one of `seeds`: one or two edits, none of which makes it more than a little
/// longer, but for a token that is repeated a thousand times.
pub fn mutate(seeds: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seeds.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(1..=2) {
        edit(&mut bytes, seeds, rng);
    }
    bytes
}

fn edit(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..=bytes.len());
    let end = (at + rng.random_range(0..40)).min(bytes.len());
    let token = TOKENS.choose(rng).unwrap_or(&"").as_bytes();
    match rng.random_range(0..10) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes.extend_from_within(at..end),
        3 => {
            let piece = bytes[at..end].to_vec();
            let to = rng.random_range(0..=bytes.len());
            drop(bytes.splice(to..to, piece));
        }
        4 => drop(bytes.splice(at..at, token.iter().copied())),
        5 => drop(bytes.splice(at..at, token.repeat(1000))),
        6 => {
            let other = seeds.choose(rng).map_or(&[][..], Vec::as_slice);
            let from = rng.random_range(0..=other.len());
            let to = (from + rng.random_range(0..60)).min(other.len());
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        7 => replace_number(bytes, at, token),
        _ if at < bytes.len() => match rng.random_range(0..3) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            _ => bytes[at] = *[0, 0x7f, 0x80, 0xff, b'0', b'"'].choose(rng).unwrap_or(&0),
        },
        _ => bytes.push(rng.random()),
    }
}

/// Replaces the digits at or behind a place.
fn replace_number(bytes: &mut Vec<u8>, at: usize, token: &[u8]) {
    let Some(skip) = bytes[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + skip;
    let digits = bytes[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let end = start + digits.count();
    drop(bytes.splice(start..end, token.iter().copied()));
}
