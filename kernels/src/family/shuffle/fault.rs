//! Invalid scales and codes of weights, as kernels report them.

use crate::fragment::{FragmentError, FragmentFormat};

/// Bits of a [`ShuffleFault`] for the row, for block or column, and for the code; one says which of
/// these.
pub(super) const ROW_BITS: u32 = 28;
pub(super) const PLACE_BITS: u32 = 27;
const CODE_BITS: u32 = 8;

/// The first scale that is NaN, or code without a finite value, as kernels report it: by row,
/// scales before codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShuffleFault(pub u64);

impl ShuffleFault {
    /// No fault.
    pub const NONE: Self = Self(u64::MAX);

    /// Its words as the buffer `fault` has them.
    pub(super) const fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }

    /// The fault of an error; `None` for an error that is not about a scale or a code.
    pub const fn of(error: &FragmentError) -> Option<Self> {
        let (row, is_code, place, code) = match *error {
            FragmentError::NanScale { row, block } => (row, 0, block, 0),
            FragmentError::Code { row, col, code, .. } => (row, 1, col, code),
            FragmentError::Unsupported(_) => return None,
        };
        let high = (row as u64) << 1 | is_code;
        Some(Self(
            (high << PLACE_BITS | place as u64) << CODE_BITS | code as u64,
        ))
    }

    /// The error of the fault, for weights of a format; `None` if there is no fault.
    pub const fn error(self, format: &FragmentFormat) -> Option<FragmentError> {
        if self.0 == Self::NONE.0 {
            return None;
        }
        let place = (self.0 >> CODE_BITS & ((1 << PLACE_BITS) - 1)) as usize;
        let high = self.0 >> (PLACE_BITS + CODE_BITS);
        let row = (high >> 1) as usize;
        Some(match high & 1 {
            0 => FragmentError::NanScale { row, block: place },
            _ => FragmentError::Code {
                element: format.element().name(),
                code: self.0 as u8,
                row,
                col: place,
            },
        })
    }
}
