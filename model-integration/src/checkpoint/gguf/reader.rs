//! Reads the primitives of a GGUF file from untrusted bytes, and skips what is not needed.

use serde_json::Value;

/// Deepest nesting of arrays in metadata.
const MAX_DEPTH: usize = 4;
/// The type of strings in metadata.
pub(super) const STRING: u32 = 8;
/// The type of arrays in metadata.
pub(super) const ARRAY: u32 = 9;

/// A position in a file. Errors say what ends early or has no meaning.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The elements of an array in metadata, unread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Array {
    /// The type of an element.
    pub kind: u32,
    /// Number of elements.
    pub count: u64,
    /// Position of the first.
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some((taken, _)) = rest.split_at_checked(count) else {
            return Err(format!("the file ends within {what}; truncated?"));
        };
        self.at += count;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array_of(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array_of(what).map(u64::from_le_bytes)
    }

    fn raw_text(&mut self, what: &str) -> Result<&'a [u8], String> {
        let length = self.u64(what)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    pub(super) fn text(&mut self, what: &str) -> Result<&'a str, String> {
        let bytes = self.raw_text(what)?;
        std::str::from_utf8(bytes).map_err(|error| format!("{what}: {error}"))
    }

    /// A value that is not an array.
    pub(super) fn scalar(&mut self, kind: u32, key: &str) -> Result<Value, String> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array_of(key)?).into(),
            1 => i8::from_le_bytes(self.array_of(key)?).into(),
            2 => u16::from_le_bytes(self.array_of(key)?).into(),
            3 => i16::from_le_bytes(self.array_of(key)?).into(),
            4 => u32::from_le_bytes(self.array_of(key)?).into(),
            5 => i32::from_le_bytes(self.array_of(key)?).into(),
            // Through the shortest decimal text, as in a config.json.
            6 => match f32::from_le_bytes(self.array_of(key)?)
                .to_string()
                .parse::<f64>()
            {
                Ok(value) => value.into(),
                Err(error) => return Err(format!("`{key}`: {error}")),
            },
            7 => (self.array_of::<1>(key)? != [0]).into(),
            STRING => self.text(key)?.into(),
            10 => u64::from_le_bytes(self.array_of(key)?).into(),
            11 => i64::from_le_bytes(self.array_of(key)?).into(),
            12 => f64::from_le_bytes(self.array_of(key)?).into(),
            other => return Err(unknown_type(key, other)),
        })
    }

    /// The place of an array, whose elements are skipped.
    pub(super) fn array(&mut self, key: &str) -> Result<Array, String> {
        self.array_at(key, 0)
    }

    fn array_at(&mut self, key: &str, depth: usize) -> Result<Array, String> {
        let (kind, count) = (self.u32(key)?, self.u64(key)?);
        let array = Array {
            kind,
            count,
            at: self.at,
        };
        match (width(kind), kind) {
            (Some(width), _) => {
                let bytes = usize::try_from(count).ok();
                let bytes = bytes.and_then(|count| count.checked_mul(width));
                self.take(bytes.unwrap_or(usize::MAX), key)?;
            }
            (None, STRING) => {
                for _ in 0..count {
                    self.raw_text(key)?;
                }
            }
            (None, ARRAY) if depth < MAX_DEPTH => {
                for _ in 0..count {
                    self.array_at(key, depth + 1)?;
                }
            }
            (None, other) => return Err(unknown_type(key, other)),
        }
        Ok(array)
    }
}

fn unknown_type(key: &str, kind: u32) -> String {
    format!("metadata `{key}` has the unknown type {kind}")
}

/// Bytes of a value of fixed size.
const fn width(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
