//! Problems of the shuffle kernels, and their expected outputs.
//!
//! Sizes of a problem: `rows`, `cols`, `src_stride` of codes in bytes; `skip`, the tiles of other
//! matrices after each; `format`, the index of one of the kernel's formats. Tensor: `src`, codes or
//! scales. Outputs do not matter where there is a fault.

use super::{ShuffleFault, ShuffleVariant, sizes_of_scales};
use crate::family::matmul::MatmulVariant;
use crate::format::{BlockFormat, CodeLayout, ElementFormat, FloatType, PackedTensor, ScaleFormat};
use crate::fragment::bits::StoredBits;
use crate::fragment::{FragmentError, FragmentFormat, FragmentTensor, TILE, WeightFormat};
use crate::registry::{
    ElementType, Entry, EntryError, Expectation, Expected, Problem, ProblemError, Shape, Tensor,
    Typical, UNTOUCHED,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

impl ShuffleVariant {
    /// The formats that the kernel is for, once each.
    pub(super) fn formats(&self) -> Vec<WeightFormat> {
        let is_its = |format: &WeightFormat| match (self, format) {
            (Self::Codes(..), format) => *self == Self::codes(format),
            (_, WeightFormat::Dense) => false,
            (Self::Scan(_), WeightFormat::Packed(format)) => *self == Self::scan(format),
            (Self::Scales(_), WeightFormat::Packed(format)) => *self == Self::scales(format),
        };
        let all = MatmulVariant::all().map(|variant| *variant.weights());
        let mut formats: Vec<WeightFormat> = all.filter(is_its).collect();
        formats.dedup();
        formats
    }

    /// The problem's format.
    fn format(&self, problem: &Problem) -> Result<WeightFormat, ProblemError> {
        let formats = self.formats();
        let index = problem.size("format")?;
        formats
            .get(index)
            .copied()
            .ok_or_else(|| ProblemError::Unfit {
                name: "format".to_owned(),
                reason: format!("there are {}", formats.len()),
            })
    }

    /// Bytes of the tiles that it writes, or would if it wrote any, and of one of them.
    fn dst_bytes(&self, problem: &Problem) -> Result<[usize; 2], ProblemError> {
        let (format, rows) = (self.format(problem)?, problem.size("rows")?);
        let (codes, scales) = format.bytes(rows, problem.size("cols")?);
        let bytes = if self.is_codes() { codes } else { scales };
        let tiles = rows.div_ceil(TILE);
        let tile = bytes / tiles;
        Ok([bytes + (tiles - 1) * problem.size("skip")? * tile, tile])
    }

    /// What is written.
    fn dst_element(&self, problem: &Problem) -> Result<ElementType, ProblemError> {
        Ok(match self.format(problem)? {
            WeightFormat::Packed(format) if !self.is_codes() => format.scale().into(),
            _ => ElementType::U8,
        })
    }

    const fn is_codes(&self) -> bool {
        matches!(self, Self::Codes(..))
    }
}

/// A block format of the fragment format.
fn block_format(format: &FragmentFormat) -> Result<BlockFormat, EntryError> {
    let builder = BlockFormat::new(format.element()).scale(format.scale());
    let builder = builder.block_size(format.block_size());
    Ok(builder.tensor_scale(format.has_tensor_scale()).build()?)
}

/// The fragment tensor of a problem, whose other part is of zeros.
fn fragments(
    variant: &ShuffleVariant,
    problem: &Problem,
) -> Result<Result<FragmentTensor, FragmentError>, EntryError> {
    let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
    let src = problem.tensor("src")?;
    let stride = problem.size("src_stride")?;
    let bytes = src.to_bytes();
    let tight = |row_bytes: usize| -> Vec<u8> {
        let rows = (0..rows).flat_map(|row| &bytes[row * stride..][..row_bytes]);
        rows.copied().collect()
    };
    let WeightFormat::Packed(format) = variant.format(problem)? else {
        let values = Tensor::from_bytes(ElementType::Bf16, &tight(2 * cols))?;
        let bits: Vec<u16> = values.bits.iter().map(|&bits| bits as u16).collect();
        return Ok(Ok(FragmentTensor::dense(&bits, rows, cols)));
    };
    let block = block_format(&format)?;
    let zero = PackedTensor::zeroed(block, rows, cols)?;
    let (codes, scales) = match variant.is_codes() {
        true => {
            let row_bytes = format.element().layout().bytes(cols);
            (tight(row_bytes), zero.scales().to_vec())
        }
        false => (zero.codes().to_vec(), bytes),
    };
    let packed = PackedTensor::new(block, rows, cols, codes, scales, 1.0)?;
    Ok(FragmentTensor::of_operand(&packed, format.operand()))
}

/// The code of a scale: few from a middle, or any; seldom NaN.
fn scale_code(rng: &mut ChaCha8Rng, scale: ScaleFormat, middle: u32, nan_in: u32) -> u32 {
    let any = |rng: &mut ChaCha8Rng| rng.random_range(0..=scale.max_code());
    match rng.random_range(0..nan_in.max(8)) {
        0 if nan_in > 0 => scale.nan_code() | rng.random_range(0..2),
        1 => any(rng),
        _ => middle
            .saturating_add(rng.random_range(0..9))
            .min(scale.max_code()),
    }
}

impl Entry for ShuffleVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let formats = self.formats();
        let index = rng.random_range(0..formats.len());
        let cols = match rng.random_range(0..4) {
            0 => 64 * rng.random_range(1..=3),
            1 => rng.random_range(1..=400),
            _ => rng.random_range(1..=130),
        };
        let rows = rng.random_range(1..=(6 * elements.max(1) / cols).clamp(1, 50));
        let mut stride = 0;
        let src = match (&formats[index], self) {
            (WeightFormat::Dense, _) => {
                stride = 2 * (cols + rng.random_range(0..3));
                let value = |_| FloatType::Bf16.to_bits(rng.random_range(-2.0..2.0));
                let bits = (0..rows * stride / 2).map(value).collect();
                let element = ElementType::Bf16;
                Tensor { element, bits }
            }
            (WeightFormat::Packed(format), Self::Codes(..)) => {
                let row_bytes = format.element().layout().bytes(cols);
                stride = row_bytes + rng.random_range(0..3);
                let len = rows * stride;
                Tensor::of_bytes(&codes(rng, format.element(), len))
            }
            (WeightFormat::Packed(format), _) => {
                let (scale, blocks) = (format.scale(), cols.div_ceil(format.block_size()));
                let middle = rng.random_range(0..=scale.max_code());
                let count = (rows * blocks) as u32;
                let nan_in = [0, 2 * count, count / 2][rng.random_range(0..3)];
                let nan_in = if matches!(self, Self::Scan(_)) {
                    nan_in
                } else {
                    0
                };
                let code = |_| scale_code(rng, scale, middle, nan_in);
                let bits = (0..count).map(code).collect();
                let element = scale.into();
                Tensor { element, bits }
            }
        };
        Problem::new(
            [
                ("rows", rows),
                ("cols", cols),
                ("src_stride", stride),
                ("skip", [0, 0, 1, 2][rng.random_range(0..4)]),
                ("format", index),
            ],
            [("src", src)],
        )
    }

    /// In the first of its formats.
    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        let typical = Typical::draw(rng, rows, cols);
        let (src, src_stride) = match &self.formats()[0] {
            WeightFormat::Dense => (typical.dense(FloatType::Bf16, cols), 2 * cols),
            WeightFormat::Packed(format) => {
                let packed = typical.packed(&block_format(format)?, FloatType::Bf16)?;
                let row_bytes = format.element().layout().bytes(cols);
                match self {
                    Self::Codes(..) => (packed.packed_codes(), row_bytes),
                    Self::Scan(_) | Self::Scales(_) => (packed.scales()?, row_bytes),
                }
            }
        };
        Ok(Problem::new(
            [
                ("rows", rows),
                ("cols", cols),
                ("src_stride", src_stride),
                ("skip", 0),
                ("format", 0),
            ],
            [("src", src)],
        ))
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let fragments = fragments(self, problem)?;
        let fault = fragments.as_ref().err().and_then(ShuffleFault::of);
        let [bytes, tile] = self.dst_bytes(problem)?;
        let element = self.dst_element(problem)?;
        let dst = match fragments {
            Ok(tensor) => {
                let mut dst = vec![UNTOUCHED; bytes];
                let written = if self.is_codes() {
                    tensor.codes
                } else {
                    tensor.scales
                };
                let places = dst.chunks_mut(tile).step_by(problem.size("skip")? + 1);
                for (place, written) in places.zip(written.chunks(tile)) {
                    place.copy_from_slice(written);
                }
                Expectation::Exactly(Tensor::from_bytes(element, &dst)?)
            }
            Err(_) => Expectation::Unspecified {
                element,
                len: bytes / element.bytes(),
            },
        };
        let mut expected = Expected::new();
        if !matches!(self, Self::Scan(_)) {
            expected.insert("dst", dst);
        }
        if self.has_fault() {
            let fault = words(fault.unwrap_or(ShuffleFault::NONE).words());
            expected.insert("fault", Expectation::Exactly(fault));
        }
        if matches!(self, Self::Scan(_)) {
            let largest = words([largest(problem)?]);
            expected.insert("largest", Expectation::Exactly(largest));
        }
        Ok(expected)
    }

    fn lower(&self, problem: &Problem) -> Result<Problem, EntryError> {
        operands(self, problem)
    }
}

/// Bytes of codes, seldom with one that is no finite value.
fn codes(rng: &mut ChaCha8Rng, element: ElementFormat, len: usize) -> Vec<u8> {
    let faults = [0, 0, 0, 1, 1, 1, 3, len.div_ceil(8)][rng.random_range(0..8)];
    let is_known = |code: u8| {
        let place = StoredBits::of(element).place(element, code);
        place.is_some() && element.decode(code).is_finite()
    };
    let known: Vec<u8> = element.codes().filter(|&code| is_known(code)).collect();
    let unknown: Vec<u8> = element.codes().filter(|&code| !is_known(code)).collect();
    let mut bytes = vec![0; len];
    for byte in &mut bytes {
        let mut code = || known[rng.random_range(0..known.len())];
        *byte = match element.layout() {
            CodeLayout::Bits4 => code() | code() << 4,
            CodeLayout::Bits8 => code(),
            // All codes are finite.
            CodeLayout::Bits2
            | CodeLayout::Bits3
            | CodeLayout::Bits5
            | CodeLayout::Bits6
            | CodeLayout::Bits7 => rng.random(),
        };
    }
    if !unknown.is_empty() {
        for _ in 0..faults {
            bytes[rng.random_range(0..len)] = unknown[rng.random_range(0..unknown.len())];
        }
    }
    bytes
}

/// A problem as the operands of a kernel.
fn operands(variant: &ShuffleVariant, problem: &Problem) -> Result<Problem, EntryError> {
    let mut operands = problem.clone();
    if let WeightFormat::Packed(format) = variant.format(problem)? {
        let sizes = sizes_of_scales(&format, problem.size("cols")?).into_iter();
        let sizes = sizes.map(|(name, size)| (name.to_owned(), size as u64));
        operands.sizes.extend(sizes);
    }
    let largest = match variant {
        ShuffleVariant::Scales(_) => largest(problem)?,
        // A scan finds it.
        ShuffleVariant::Codes(..) | ShuffleVariant::Scan(_) => 0,
    };
    let fault = ("fault", words(ShuffleFault::NONE.words()));
    for (name, tensor) in [fault, ("largest", words([largest]))] {
        operands.tensors.insert(name.to_owned(), tensor);
    }
    Ok(operands)
}

/// The largest code of a scale.
fn largest(problem: &Problem) -> Result<u32, ProblemError> {
    let scales = problem.tensor("src")?.bits.iter().copied();
    Ok(scales.max().unwrap_or(0))
}

fn words<const N: usize>(bits: [u32; N]) -> Tensor {
    Tensor {
        element: ElementType::U32,
        bits: bits.to_vec(),
    }
}
