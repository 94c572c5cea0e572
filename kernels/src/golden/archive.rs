//! Reading a safetensors file of golden vectors.

use super::GoldenError;
use crate::format::FloatType;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// The tensors of one file, by name.
pub(super) struct Archive {
    pub file: String,
    pub tensors: BTreeMap<String, Tensor>,
}

pub(super) struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

/// Elements, widened.
pub(super) enum Data {
    Float(Vec<f32>),
    Code(Vec<u32>),
    /// A type that no golden vector has.
    Other(String),
}

impl Archive {
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, GoldenError> {
        let parsed =
            SafeTensors::deserialize(bytes).map_err(|reason| GoldenError::Safetensors {
                file: file.to_owned(),
                reason,
            })?;
        let tensors = parsed.iter().map(|(name, view)| {
            let data = decode(view.dtype(), view.data());
            (
                name.to_owned(),
                Tensor {
                    shape: view.shape().to_vec(),
                    data,
                },
            )
        });
        Ok(Self {
            file: file.to_owned(),
            tensors: tensors.collect(),
        })
    }

    /// The float elements of `name`, if it holds such.
    pub fn floats(&self, name: &str, tensor: &Tensor) -> Result<Vec<f32>, GoldenError> {
        match &tensor.data {
            Data::Float(values) => Ok(values.clone()),
            _ => Err(self.dtype_error(name, "float", tensor)),
        }
    }

    /// The codes in `name`, if it holds such.
    pub fn codes(&self, name: &str, tensor: &Tensor) -> Result<Vec<u32>, GoldenError> {
        match &tensor.data {
            Data::Code(codes) => Ok(codes.clone()),
            _ => Err(self.dtype_error(name, "U8, U16, I32 or U32", tensor)),
        }
    }

    /// The tensor that `name` was computed from.
    pub fn input(&self, name: &str, input: &str) -> Result<&Tensor, GoldenError> {
        self.tensors
            .get(input)
            .ok_or_else(|| GoldenError::MissingInput {
                file: self.file.clone(),
                tensor: name.to_owned(),
                input: input.to_owned(),
            })
    }

    pub fn check_shape(
        &self,
        name: &str,
        found: &[usize],
        expected: &[usize],
    ) -> Result<(), GoldenError> {
        if found == expected {
            return Ok(());
        }
        Err(GoldenError::Shape {
            file: self.file.clone(),
            tensor: name.to_owned(),
            expected: expected.to_vec(),
            found: found.to_vec(),
        })
    }

    fn dtype_error(&self, name: &str, expected: &'static str, tensor: &Tensor) -> GoldenError {
        let found = match &tensor.data {
            Data::Float(_) => "float".to_owned(),
            Data::Code(_) => "integer".to_owned(),
            Data::Other(dtype) => dtype.clone(),
        };
        GoldenError::Dtype {
            file: self.file.clone(),
            tensor: name.to_owned(),
            expected,
            found,
        }
    }
}

fn decode(dtype: Dtype, bytes: &[u8]) -> Data {
    let pairs = || {
        bytes
            .as_chunks::<2>()
            .0
            .iter()
            .copied()
            .map(u16::from_le_bytes)
    };
    let quads = || {
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .copied()
            .map(u32::from_le_bytes)
    };
    match dtype {
        Dtype::F32 => Data::Float(quads().map(f32::from_bits).collect()),
        Dtype::BF16 => Data::Float(pairs().map(|x| half::bf16::from_bits(x).to_f32()).collect()),
        Dtype::F16 => Data::Float(pairs().map(|x| half::f16::from_bits(x).to_f32()).collect()),
        Dtype::U8 => Data::Code(bytes.iter().map(|&x| u32::from(x)).collect()),
        Dtype::U16 => Data::Code(pairs().map(u32::from).collect()),
        Dtype::I32 | Dtype::U32 => Data::Code(quads().collect()),
        other => Data::Other(format!("{other:?}")),
    }
}

/// The type that a tensor's name ends in, as in `in.normal.bf16`.
pub(super) fn float_type(name: &str) -> Option<FloatType> {
    match name {
        "f32" => Some(FloatType::F32),
        "bf16" => Some(FloatType::Bf16),
        "f16" => Some(FloatType::F16),
        _ => None,
    }
}
