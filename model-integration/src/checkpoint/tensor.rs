//! A tensor's bytes where they lie in the mapped file.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::weight_file::WeightFile;
use super::{CheckpointError, FloatType};

/// Bytes that one task of the finiteness check looks at.
const CHECK_BYTES: usize = 1 << 20;

/// A cheap, clonable handle to a tensor in a mapped file, or to one that is made when it is first
/// read and kept as long as the handle and its clones. Weights are never copied: what
/// needs them as f32 reads the part it needs with [`TensorView::read_f32`].
#[derive(Clone)]
pub struct TensorView {
    file: Arc<WeightFile>,
    /// Place in [`WeightFile::tensors`].
    tensor: usize,
    dtype: FloatType,
    /// The elements, once they were read, of a tensor that is made.
    made: Arc<OnceLock<Vec<u8>>>,
}

impl TensorView {
    /// A view of tensor number `tensor` of `file`.
    ///
    /// # Errors
    /// `Dtype` unless it is F32, BF16 or F16.
    pub(super) fn new(file: Arc<WeightFile>, tensor: usize) -> Result<Self, CheckpointError> {
        let (name, info, _) = &file.tensors()[tensor];
        let dtype = match info.dtype {
            Dtype::F32 => FloatType::F32,
            Dtype::BF16 => FloatType::Bf16,
            Dtype::F16 => FloatType::F16,
            other => {
                return Err(CheckpointError::Dtype {
                    file: file.path().to_owned(),
                    tensor: name.clone(),
                    dtype: other.to_string(),
                });
            }
        };
        Ok(Self {
            file,
            tensor,
            dtype,
            made: Arc::default(),
        })
    }

    /// The tensor's name in the checkpoint.
    pub fn name(&self) -> &str {
        &self.file.tensors()[self.tensor].0
    }

    /// Sizes, slowest axis first; row-major.
    pub fn shape(&self) -> &[usize] {
        &self.file.tensors()[self.tensor].1.shape
    }

    /// Type of the stored elements.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    /// The stored elements, little-endian, row-major. Not necessarily aligned to the
    /// element size: a header may have any length.
    pub fn bytes(&self) -> &[u8] {
        let (name, info, range) = &self.file.tensors()[self.tensor];
        match self.file.maker() {
            None => &self.file.bytes()[range.clone()],
            Some(maker) => self
                .made
                .get_or_init(|| maker.make(self.tensor, name, &info.shape)),
        }
    }

    /// Bytes that the elements take.
    pub fn byte_len(&self) -> usize {
        self.file.tensors()[self.tensor].2.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.byte_len() / self.dtype.bytes()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.byte_len() == 0
    }

    /// Widens `elements`, counted row-major, into `out`. Exact for every dtype.
    ///
    /// # Panics
    /// If `elements` does not lie within `0..self.len()` or `out` has another length.
    pub fn read_f32(&self, elements: Range<usize>, out: &mut [f32]) {
        let size = self.dtype.bytes();
        let bytes = &self.bytes()[elements.start * size..elements.end * size];
        assert_eq!(
            bytes.len(),
            out.len() * size,
            "out must have the length of the range"
        );
        match self.dtype {
            FloatType::F32 => widen(bytes, out, f32::from_le_bytes),
            FloatType::Bf16 => widen(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            FloatType::F16 => widen(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        }
    }

    /// Streams over the tensor looking for NaN and infinities; no copy is made.
    ///
    /// # Errors
    /// `NonFinite` with the first such element.
    pub(super) fn check_finite(&self) -> Result<(), CheckpointError> {
        let bytes = self.bytes();
        let in_order = bytes.par_chunks(CHECK_BYTES).enumerate();
        let first = match self.dtype {
            FloatType::F32 => in_order.find_map_first(|(chunk, bytes)| {
                first_non_finite(bytes, 0x7f80_0000, u32::from_le_bytes).map(|at| (chunk, at))
            }),
            FloatType::Bf16 => in_order.find_map_first(|(chunk, bytes)| {
                first_non_finite(bytes, 0x7f80, u16::from_le_bytes).map(|at| (chunk, at))
            }),
            FloatType::F16 => in_order.find_map_first(|(chunk, bytes)| {
                first_non_finite(bytes, 0x7c00, u16::from_le_bytes).map(|at| (chunk, at))
            }),
        };
        let Some((chunk, at)) = first else {
            return Ok(());
        };
        let index = chunk * (CHECK_BYTES / self.dtype.bytes()) + at;
        let mut value = [0.0];
        self.read_f32(index..index + 1, &mut value);
        Err(CheckpointError::NonFinite {
            file: self.file.path().to_owned(),
            tensor: self.name().to_owned(),
            index,
            value: value[0],
        })
    }
}

impl fmt::Debug for TensorView {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} {} {:?}",
            self.name(),
            self.dtype.name(),
            self.shape()
        )
    }
}

fn widen<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (out, element) in out.iter_mut().zip(elements) {
        *out = decode(*element);
    }
}

/// Index of the first element whose exponent is all ones: NaN or infinity.
fn first_non_finite<const N: usize, B>(
    bytes: &[u8],
    exponent: B,
    decode: impl Fn([u8; N]) -> B,
) -> Option<usize>
where
    B: Copy + PartialEq + std::ops::BitAnd<Output = B>,
{
    let (elements, _) = bytes.as_chunks::<N>();
    let is_bad = |element: &[u8; N]| decode(*element) & exponent == exponent;
    // Without an early exit the scan vectorises; only a bad chunk is searched.
    let any = elements
        .iter()
        .fold(false, |any, element| any | is_bad(element));
    any.then(|| elements.iter().position(is_bad)).flatten()
}
