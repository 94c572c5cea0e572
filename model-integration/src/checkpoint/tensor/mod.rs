//! A tensor in its mapped file: floats, or codes and scales.

mod finite;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use mxlab_kernels::format::{BlockFormat, FloatType, GgmlFormat, PackedTensor};
use safetensors::Dtype;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::computed::ComputedRows;
use crate::checkpoint::decoded::DecodedRows;
use crate::checkpoint::packed::Packed;
use crate::checkpoint::transposed::Transposed;
use crate::checkpoint::weight_file::WeightFile;

/// A cheap, clonable handle to a tensor in a mapped file, or to some of its rows, or to a generated
/// tensor, which exists from its first read until its last handle is dropped. Weights are never
/// copied; [`TensorView::read_f32`] reads the part that is needed.
#[derive(Clone)]
pub struct TensorView {
    name: String,
    shape: Vec<usize>,
    rows: Rows,
    /// Added to stored elements.
    offset: f32,
    content: Content,
}

/// The rows of the stored tensor; elements of a tensor with one axis count as rows.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    /// Distance to the next row.
    step: usize,
    /// Width of a head, if its two halves are stored interleaved.
    interleaved: Option<usize>,
}

impl Rows {
    /// The stored index of row `row`.
    const fn stored(self, row: usize) -> usize {
        let row = self.first + row * self.step;
        match self.interleaved {
            None => row,
            Some(head_dim) => {
                let (head, feature) = (row / head_dim, row % head_dim);
                let (half, pair) = (feature / (head_dim / 2), feature % (head_dim / 2));
                head * head_dim + 2 * pair + half
            }
        }
    }
}

#[derive(Clone)]
enum Content {
    Dense {
        file: Arc<WeightFile>,
        /// Index in [`WeightFile::tensors`].
        tensor: usize,
        dtype: FloatType,
        /// The elements of a generated tensor, once they have been read.
        made: Arc<OnceLock<Vec<u8>>>,
    },
    Packed(Arc<Packed>),
    Decoded(Arc<dyn DecodedRows>),
    Transposed(Arc<Transposed>),
    Computed(Arc<dyn ComputedRows>),
    /// All elements are zero, and no file has them.
    Zero,
}

impl TensorView {
    /// A view of tensor number `tensor` of `file`.
    ///
    /// # Errors
    /// `Dtype` unless it is F32, BF16 or F16.
    pub(in crate::checkpoint) fn new(
        file: Arc<WeightFile>,
        tensor: usize,
    ) -> Result<Self, CheckpointError> {
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
            name: name.clone(),
            shape: info.shape.clone(),
            rows: Rows {
                first: 0,
                step: 1,
                interleaved: None,
            },
            offset: 0.0,
            content: Content::Dense {
                file,
                tensor,
                dtype,
                made: Arc::default(),
            },
        })
    }

    /// A view of a matrix that is stored as codes and scales.
    pub(in crate::checkpoint) fn of_packed(name: &str, shape: [usize; 2], packed: Packed) -> Self {
        Self::of_rows(name, &shape, Content::Packed(Arc::new(packed)))
    }

    /// A view of a matrix whose values are computed when they are read.
    pub fn of_decoded(name: &str, shape: [usize; 2], rows: Arc<dyn DecodedRows>) -> Self {
        Self::of_rows(name, &shape, Content::Decoded(rows))
    }

    /// A view of floats that are computed when they are read.
    pub fn of_computed(name: &str, shape: &[usize], rows: Arc<dyn ComputedRows>) -> Self {
        Self::of_rows(name, shape, Content::Computed(rows))
    }

    /// A view of floats that are stored column by column.
    pub(in crate::checkpoint) fn of_transposed(
        name: &str,
        shape: [usize; 2],
        rows: Transposed,
    ) -> Self {
        Self::of_rows(name, &shape, Content::Transposed(Arc::new(rows)))
    }

    /// A tensor of zeros.
    pub(in crate::checkpoint) fn zero(name: &str, shape: &[usize]) -> Self {
        Self::of_rows(name, shape, Content::Zero)
    }

    fn of_rows(name: &str, shape: &[usize], content: Content) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
            rows: Rows {
                first: 0,
                step: 1,
                interleaved: None,
            },
            offset: 0.0,
            content,
        }
    }

    /// Some of its rows, as a tensor `name`.
    ///
    /// # Panics
    /// If a row does not exist.
    pub(in crate::checkpoint) fn part(mut self, name: &str, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.shape[0]);
        self.rows.first += rows.start * self.rows.step;
        self.shape[0] = rows.len();
        name.clone_into(&mut self.name);
        self
    }

    /// `count` rows from `first` on, `step` apart, as a tensor `name`; this one is whole.
    ///
    /// # Panics
    /// If a row does not exist.
    pub(in crate::checkpoint) fn spread(
        mut self,
        name: &str,
        first: usize,
        step: usize,
        count: usize,
    ) -> Self {
        assert!(count == 0 || first + (count - 1) * step < self.shape[0]);
        (self.rows.first, self.rows.step) = (first, step);
        self.shape[0] = count;
        name.clone_into(&mut self.name);
        self
    }

    /// All its elements as a vector.
    pub(in crate::checkpoint) fn flattened(mut self) -> Self {
        self.shape = vec![self.shape.iter().product()];
        self
    }

    /// The tensor `name` with the two halves of each head in order; this one stores them
    /// interleaved.
    pub(in crate::checkpoint) fn deinterleaved(mut self, name: &str, head_dim: usize) -> Self {
        self.rows.interleaved = Some(head_dim);
        name.clone_into(&mut self.name);
        self
    }

    /// The tensor with `offset` added to every element.
    pub(in crate::checkpoint) fn shifted(mut self, offset: f32) -> Self {
        self.offset = offset;
        self
    }

    /// The tensor's canonical name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sizes, slowest axis first; row-major.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Type of the stored elements; `None` if they are codes.
    pub fn dtype(&self) -> Option<FloatType> {
        match &self.content {
            Content::Dense { dtype, .. } => Some(*dtype),
            Content::Transposed(rows) => Some(rows.dtype()),
            Content::Computed(rows) => Some(rows.dtype()),
            Content::Zero => Some(FloatType::F32),
            Content::Packed(_) | Content::Decoded(_) => None,
        }
    }

    /// The layout of a matrix that is stored in codes without a format of ours.
    pub fn layout(&self) -> Option<&str> {
        match &self.content {
            Content::Decoded(rows) => Some(rows.layout()),
            _ => None,
        }
    }

    /// The format of ggml that a matrix is stored in, if it is one.
    pub fn ggml(&self) -> Option<GgmlFormat> {
        match &self.content {
            Content::Decoded(rows) => rows.ggml(0).map(|(format, _)| format),
            _ => None,
        }
    }

    /// The blocks of such a matrix, row by row; empty for others.
    pub fn ggml_blocks(&self) -> Vec<u8> {
        let Content::Decoded(decoded) = &self.content else {
            return Vec::new();
        };
        let rows = (0..self.shape[0]).filter_map(|row| decoded.ggml(self.rows.stored(row)));
        rows.flat_map(|(_, blocks)| blocks).copied().collect()
    }

    /// The format of a matrix that is stored as codes and scales.
    pub fn format(&self) -> Option<BlockFormat> {
        match &self.content {
            Content::Packed(packed) => Some(packed.format()),
            _ => None,
        }
    }

    /// The stored codes and scales, if they are of this format.
    pub fn packed(&self, format: &BlockFormat) -> Option<PackedTensor> {
        match &self.content {
            Content::Packed(packed) if packed.format() == *format => {
                Some(packed.rows((0..self.shape[0]).map(|row| self.rows.stored(row))))
            }
            _ => None,
        }
    }

    /// The stored divisor of all scales, where the file has one in place of the tensor scale. The
    /// tensor scale is its reciprocal, from which it does not always follow.
    pub fn divisor(&self) -> Option<f32> {
        match &self.content {
            Content::Packed(packed) => packed.divisor(),
            _ => None,
        }
    }

    /// Whether [`TensorView::read_f32`] rounds the values of codes to bf16, as the package does
    /// that writes them.
    pub fn is_rounded(&self) -> bool {
        matches!(&self.content, Content::Packed(packed) if packed.is_rounded())
    }

    /// The stored elements, little-endian, row-major; `None` if they are stored otherwise. They may
    /// be unaligned, because a header may have any length.
    pub fn bytes(&self) -> Option<&[u8]> {
        let is_in_order = self.rows.interleaved.is_none() && self.rows.step == 1;
        match &self.content {
            Content::Dense { .. } if is_in_order && self.offset == 0.0 => Some(self.dense()),
            _ => None,
        }
    }

    /// Stored bytes from the first row on, as many as the view has with those between its rows; for
    /// interleaved rows, all bytes.
    ///
    /// # Panics
    /// If the tensor holds codes.
    fn dense(&self) -> &[u8] {
        let Content::Dense {
            file,
            tensor,
            dtype,
            made,
        } = &self.content
        else {
            panic!("`{}` is packed", self.name);
        };
        let whole = match file.maker() {
            None => &file.bytes()[file.tensors()[*tensor].2.clone()],
            Some(maker) => made.get_or_init(|| maker.make(*tensor)),
        };
        let row_bytes = self.cols() * dtype.bytes();
        let start = self.rows.first * row_bytes;
        // A scalar is one row.
        let rows = self.shape.first().map_or(1, |&rows| rows);
        let between = rows.saturating_sub(1) * (self.rows.step - 1) * row_bytes;
        &whole[start..start + self.byte_len() + between]
    }

    /// Bytes of the elements.
    pub fn byte_len(&self) -> usize {
        match &self.content {
            Content::Dense { dtype, .. } => self.len() * dtype.bytes(),
            Content::Transposed(rows) => self.len() * rows.dtype().bytes(),
            Content::Computed(rows) => self.len() * rows.dtype().bytes(),
            Content::Packed(packed) => packed.bytes(self.shape[0]),
            Content::Decoded(rows) => self.shape[0] * rows.row_bytes(),
            Content::Zero => 0,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements per row; 1 for a scalar.
    fn cols(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Widens `elements`, counted row-major, into `out`. Exact for every dtype; codes and scales
    /// give their values.
    ///
    /// # Panics
    /// If `elements` does not lie within `0..self.len()` or `out` has another length.
    pub fn read_f32(&self, elements: Range<usize>, out: &mut [f32]) {
        assert_eq!(
            elements.len(),
            out.len(),
            "out must have the length of the range"
        );
        let cols = self.cols();
        match &self.content {
            Content::Dense { dtype, .. }
                if self.rows.interleaved.is_none() && self.rows.step == 1 =>
            {
                let size = dtype.bytes();
                widen(
                    *dtype,
                    &self.dense()[elements.start * size..elements.end * size],
                    out,
                );
            }
            Content::Dense { dtype, .. } => {
                let row_bytes = cols * dtype.bytes();
                let first = self.rows.first;
                self.by_rows(elements, cols, out, |row, out| {
                    widen(
                        *dtype,
                        &self.dense()[(row - first) * row_bytes..][..row_bytes],
                        out,
                    );
                });
            }
            Content::Packed(packed) => {
                self.by_rows(elements, cols, out, |row, out| packed.read(row, out));
            }
            Content::Decoded(rows) => {
                self.by_rows(elements, cols, out, |row, out| rows.read(row, out));
            }
            Content::Transposed(rows) => {
                self.by_rows(elements, cols, out, |row, out| rows.read(row, out));
            }
            Content::Computed(rows) => {
                self.by_rows(elements, cols, out, |row, out| rows.read(row, out));
            }
            Content::Zero => out.fill(0.0),
        }
        if self.offset != 0.0 {
            out.iter_mut().for_each(|x| *x += self.offset);
        }
    }

    /// Reads `elements` by whole stored rows.
    fn by_rows(
        &self,
        elements: Range<usize>,
        cols: usize,
        out: &mut [f32],
        read: impl Fn(usize, &mut [f32]),
    ) {
        let mut scratch = Vec::new();
        let (mut at, mut rest) = (elements.start, out);
        while !rest.is_empty() {
            let (row, col) = (at / cols, at % cols);
            let (part, others) = rest.split_at_mut(rest.len().min(cols - col));
            if part.len() == cols {
                read(self.rows.stored(row), part);
            } else {
                scratch.resize(cols, 0.0);
                read(self.rows.stored(row), &mut scratch);
                part.copy_from_slice(&scratch[col..col + part.len()]);
            }
            (at, rest) = (at + part.len(), others);
        }
    }
}

impl fmt::Debug for TensorView {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} {} {:?}",
            self.name(),
            self.dtype().map_or("packed", FloatType::name),
            self.shape()
        )
    }
}

fn widen(dtype: FloatType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        FloatType::F32 => decode(bytes, out, f32::from_le_bytes),
        FloatType::Bf16 => decode(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        FloatType::F16 => decode(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
    }
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (out, element) in out.iter_mut().zip(elements) {
        *out = value(*element);
    }
}
