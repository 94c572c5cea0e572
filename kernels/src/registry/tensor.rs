//! Tensors as bits: the parts of problems, and the form in which results are compared.

use crate::format::{FloatType, ScaleFormat};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// What the bits of an element mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// Codes or bytes.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// IEEE binary32.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl ElementType {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::Bf16 | Self::F16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }

    /// The name in PTX and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The number that a float type's bits stand for; `None` for integers.
    pub const fn float_type(self) -> Option<FloatType> {
        match self {
            Self::F32 => Some(FloatType::F32),
            Self::Bf16 => Some(FloatType::Bf16),
            Self::F16 => Some(FloatType::F16),
            Self::U8 | Self::U16 | Self::U32 => None,
        }
    }
}

impl From<FloatType> for ElementType {
    fn from(float: FloatType) -> Self {
        match float {
            FloatType::F32 => Self::F32,
            FloatType::Bf16 => Self::Bf16,
            FloatType::F16 => Self::F16,
        }
    }
}

/// The type of a scale's code.
impl From<ScaleFormat> for ElementType {
    fn from(scale: ScaleFormat) -> Self {
        match scale.storage_bytes() {
            1 => Self::U8,
            2 => Self::U16,
            _ => Self::U32,
        }
    }
}

/// Bytes that are not a whole number of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes are no whole number of {element:?} elements; expected a multiple of {}",
    element.bytes()
)]
pub struct PartialElement {
    /// The number of bytes.
    pub bytes: usize,
    /// The type of the elements.
    pub element: ElementType,
}

/// A tensor, each element in the low end of a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tensor {
    /// What the bits mean.
    pub element: ElementType,
    /// The elements.
    pub bits: Vec<u32>,
}

impl Tensor {
    /// A tensor of bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            element: ElementType::U8,
            bits: bytes.iter().copied().map(u32::from).collect(),
        }
    }

    /// A tensor of numbers, rounded to `float`.
    pub fn of_values(values: &[f32], float: FloatType) -> Self {
        Self {
            element: float.into(),
            bits: values.iter().map(|&x| float.to_bits(x)).collect(),
        }
    }

    /// Its bytes in memory, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bits = self.bits.iter();
        match self.element.bytes() {
            1 => bits.map(|&bits| bits as u8).collect(),
            2 => bits.flat_map(|&bits| (bits as u16).to_le_bytes()).collect(),
            _ => bits.flat_map(|bits| bits.to_le_bytes()).collect(),
        }
    }

    /// From bytes in memory, little-endian.
    ///
    /// # Errors
    /// [`PartialElement`] if the last element is cut short.
    pub fn from_bytes(element: ElementType, bytes: &[u8]) -> Result<Self, PartialElement> {
        if !bytes.len().is_multiple_of(element.bytes()) {
            let bytes = bytes.len();
            return Err(PartialElement { bytes, element });
        }
        let word = |bytes: &[u8]| {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            u32::from_le_bytes(word)
        };
        let bits = bytes.chunks(element.bytes()).map(word).collect();
        Ok(Self { element, bits })
    }

    /// The values of floats; integers as they are.
    pub fn values(&self) -> Vec<f32> {
        let value = |&bits: &u32| match self.element.float_type() {
            Some(float) => float.from_bits(bits),
            None => bits as f32,
        };
        self.bits.iter().map(value).collect()
    }

    /// A range of elements; `None` if the tensor is shorter.
    pub(super) fn part(&self, range: Range<usize>) -> Option<Self> {
        Some(Self {
            element: self.element,
            bits: self.bits.get(range)?.to_vec(),
        })
    }

    /// Whether two elements are the same: equal bits, or both NaN.
    pub fn is_same(&self, expected: u32, got: u32) -> bool {
        let is_nan = |bits| {
            let float = self.element.float_type();
            float.is_some_and(|float| float.from_bits(bits).is_nan())
        };
        expected == got || (is_nan(expected) && is_nan(got))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_element_that_is_cut_short_is_an_error() {
        for (element, bytes) in [
            (ElementType::Bf16, 3),
            (ElementType::F32, 6),
            (ElementType::U16, 1),
        ] {
            let error = Tensor::from_bytes(element, &vec![1; bytes]).unwrap_err();
            assert_eq!(error, PartialElement { bytes, element });
            assert!(error.to_string().contains(&format!("{bytes} bytes")));
        }
        let whole = Tensor::from_bytes(ElementType::U16, &[1, 2, 3, 4]).unwrap();
        assert_eq!(whole.bits, [0x0201, 0x0403]);
    }
}
