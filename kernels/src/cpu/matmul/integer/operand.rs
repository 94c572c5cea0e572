//! How integers lie in the words that are multiplied.

/// How integers lie in a word of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) enum Operand {
    /// Four bytes. Those of W are raised until none is negative.
    Bytes,
    /// Two i16.
    Words,
}

impl Operand {
    /// Columns of a word.
    pub const fn columns(self) -> usize {
        match self {
            Self::Bytes => 4,
            Self::Words => 2,
        }
    }
}
