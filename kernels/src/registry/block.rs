//! The block families as entries: tensor_scale, scale, round, quantize, dequantize, fake_quantize.
//!
//! Sizes of a problem: rows, cols, src_stride and dst_stride in elements, src_offset and dst_offset
//! in elements and codes_offset in bytes from the start of the buffer, first_row, seed, and
//! in_place = 1 where dst is src. Tensors: src or codes, scales where they are read, tensor_scale.

use super::values::{dense_bits, scale_code};
use super::{
    ElementType, Entry, EntryError, Outputs, Problem, ProblemError, Runner, Tensor, UNTOUCHED,
};
use crate::format::{BlockFormat, FormatError, PackedTensor, Rounding};
use crate::launch::{BlockKernel, BlockOperands, Dense, LaunchError, Slice};
use crate::ptx::{Access, Family, Variant, render};
use crate::reference::{Part, dequantize, quantize_part, round_part, tensor_scale};
use mxlab_harness::device::{Buffer, Device, Stream};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What the workspace of a tensor scale holds before and after.
const WORKSPACE: [u8; 8] = [0; 8];

/// Elements of a buffer, at most: sizes in a file must not ask for any amount of memory.
const MAX_EXTENT: usize = 1 << 26;

/// The sizes of a problem, read once.
struct Sizes {
    rows: usize,
    cols: usize,
    src: View,
    dst: View,
    codes_offset: usize,
    first_row: usize,
    seed: u32,
    is_in_place: bool,
}

/// Where a dense tensor lies in its buffer, in elements.
#[derive(Clone, Copy)]
struct View {
    offset: usize,
    stride: usize,
}

impl Sizes {
    fn of(problem: &Problem) -> Result<Self, ProblemError> {
        let size = |name| problem.size(name);
        let view = |offset, stride| {
            Ok::<_, ProblemError>(View {
                offset: size(offset)?,
                stride: size(stride)?.max(size("cols")?),
            })
        };
        let sizes = Self {
            rows: size("rows")?,
            cols: size("cols")?,
            src: view("src_offset", "src_stride")?,
            dst: view("dst_offset", "dst_stride")?,
            codes_offset: size("codes_offset")?,
            first_row: size("first_row")?,
            seed: size("seed")? as u32,
            is_in_place: size("in_place")? == 1,
        };
        let extents = [
            ("rows", sizes.rows),
            ("src_stride", sizes.len(sizes.src)),
            ("dst_stride", sizes.len(sizes.dst)),
            ("codes_offset", sizes.codes_offset),
        ];
        match extents.into_iter().find(|(_, size)| *size > MAX_EXTENT) {
            None => Ok(sizes),
            Some((name, size)) => Err(ProblemError::Unfit {
                name: name.to_owned(),
                reason: format!("a buffer of {size} elements, at most {MAX_EXTENT} are possible"),
            }),
        }
    }

    /// Elements of a buffer up to the end of the last row.
    fn len(&self, view: View) -> usize {
        match self.rows {
            0 => view.offset,
            rows => view.offset + (rows - 1) * view.stride + self.cols,
        }
    }

    /// Positions of the elements in a buffer, row-major.
    fn positions(&self, view: View) -> impl Iterator<Item = usize> {
        let (rows, cols) = (self.rows, self.cols);
        (0..rows).flat_map(move |row| {
            let first = view.offset + row * view.stride;
            first..first + cols
        })
    }
}

impl Variant {
    /// The format under the problem's seed.
    fn seeded_format(&self, seed: u32) -> Result<BlockFormat, FormatError> {
        match self.format().rounding() {
            Rounding::Stochastic { .. } => {
                let rounding = Rounding::Stochastic { seed };
                self.format().to_builder().rounding(rounding).build()
            }
            _ => Ok(*self.format()),
        }
    }

    fn reads_dense(&self) -> bool {
        self.family() != Family::Dequantize
    }

    fn writes_dense(&self) -> bool {
        matches!(self.family(), Family::Dequantize | Family::FakeQuantize)
    }

    fn writes_codes(&self) -> bool {
        matches!(self.family(), Family::Round | Family::Quantize)
    }

    /// The elements that are read.
    fn source(&self, sizes: &Sizes, problem: &Problem) -> Result<Vec<f32>, ProblemError> {
        let buffer = problem.tensor("src")?.values();
        let at = |i| buffer.get(i).copied();
        let x: Option<Vec<f32>> = sizes.positions(sizes.src).map(at).collect();
        x.ok_or_else(|| ProblemError::Unfit {
            name: "src".to_owned(),
            reason: format!("{} elements are too few", buffer.len()),
        })
    }

    /// The problem's packed tensor, or what the reference makes of its dense one.
    fn packed(&self, sizes: &Sizes, problem: &Problem) -> Result<PackedTensor, EntryError> {
        let format = self.seeded_format(sizes.seed)?;
        let tensor_scale = match problem.tensor("tensor_scale") {
            Ok(tensor) => tensor.values().first().copied().unwrap_or(1.0),
            Err(_) => 1.0,
        };
        let (rows, cols) = (sizes.rows, sizes.cols);
        if self.family() == Family::Dequantize {
            let codes = problem.tensor("codes")?.to_bytes();
            let scales = problem.tensor("scales")?.to_bytes();
            return Ok(PackedTensor::new(
                format,
                rows,
                cols,
                codes,
                scales,
                tensor_scale,
            )?);
        }
        let x = self.source(sizes, problem)?;
        let part = Part {
            rows,
            cols,
            first_row: sizes.first_row,
            tensor_scale,
            source: self.dense(),
        };
        if self.family() == Family::Round {
            let scales = problem.tensor("scales")?.to_bytes();
            let codes = round_part(&x, &scales, part, &format)?;
            return Ok(PackedTensor::new(
                format,
                rows,
                cols,
                codes,
                scales,
                tensor_scale,
            )?);
        }
        Ok(quantize_part(&x, part, &format)?)
    }
}

impl Entry for Variant {
    fn id(&self) -> String {
        Self::id(self)
    }

    fn family(&self) -> &'static str {
        Self::family(self).name()
    }

    fn min_sm(&self) -> u32 {
        Self::min_sm(self)
    }

    fn runs_on(&self, sm: u32) -> bool {
        self.target().runs_on(sm)
    }

    fn ptx(&self) -> String {
        render(self)
    }

    fn block_threads(&self) -> u32 {
        Self::block_threads(self)
    }

    fn elements_per_thread(&self) -> u32 {
        self.format().block_size() as u32 / self.lanes_per_block()
    }

    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let k = self.format().block_size();
        let is_ragged = self.access() == Access::Ragged;
        let cols = match is_ragged {
            true => rng.random_range(1..=elements.clamp(1, 5 * k)),
            false => k * rng.random_range(1..=(elements / k).clamp(1, 8)),
        };
        let rows = rng.random_range(1..=2 * (elements / cols).max(1));
        let is_in_place = self.family() == Family::FakeQuantize && rng.random_ratio(1, 3);
        let mut up_to = |most: usize| {
            if is_ragged {
                rng.random_range(0..=most)
            } else {
                0
            }
        };
        let (src_stride, src_offset) = (cols + up_to(5), up_to(3));
        let (dst_stride, dst_offset) = match is_in_place {
            true => (src_stride, src_offset),
            false => (cols + up_to(5), up_to(3)),
        };
        let codes_offset = up_to(5);
        let seed = rng.random::<u32>();
        let sizes = [
            ("rows", rows),
            ("cols", cols),
            ("src_stride", src_stride),
            ("src_offset", src_offset),
            ("dst_stride", dst_stride),
            ("dst_offset", dst_offset),
            ("codes_offset", codes_offset),
            // Products with cols on both sides of 2^32.
            (
                "first_row",
                rng.random::<u32>() as usize >> rng.random_range(4..32),
            ),
            ("seed", seed as usize),
            ("in_place", usize::from(is_in_place)),
        ];
        let mut problem = Problem::new(sizes, []);
        let view = View {
            offset: src_offset,
            stride: src_stride,
        };
        self.fill(rng, &mut problem, rows, cols, view);
        problem
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Outputs, EntryError> {
        let sizes = Sizes::of(problem)?;
        let mut outputs = Outputs::new();
        if Self::family(self) == Family::TensorScale {
            let scale = tensor_scale(&self.source(&sizes, problem)?, self.format());
            let f32s = |bytes: &[u8]| Tensor::from_bytes(ElementType::F32, bytes);
            outputs.insert("tensor_scale", f32s(&scale.to_le_bytes()));
            outputs.insert("workspace", f32s(&WORKSPACE));
            return Ok(outputs);
        }
        let packed = self.packed(&sizes, problem)?;
        if self.writes_codes() {
            let mut bytes = vec![UNTOUCHED; sizes.codes_offset];
            bytes.extend_from_slice(packed.codes());
            outputs.insert("codes", Tensor::of_bytes(&bytes));
        }
        if self.family().stores_scales() {
            let element = self.scale_element();
            outputs.insert("scales", Tensor::from_bytes(element, packed.scales()));
        }
        if self.writes_dense() {
            let element = ElementType::from(self.dense());
            let mut dst = match sizes.is_in_place {
                true => problem.tensor("src")?.clone(),
                false => {
                    let bytes = vec![UNTOUCHED; sizes.len(sizes.dst) * element.bytes()];
                    Tensor::from_bytes(element, &bytes)
                }
            };
            for (position, value) in sizes.positions(sizes.dst).zip(dequantize(&packed)) {
                let bits = dst.bits.get_mut(position);
                *bits.ok_or_else(|| ProblemError::Unfit {
                    name: "in_place".to_owned(),
                    reason: "src is too short for the rows of dst".to_owned(),
                })? = self.dense().to_bits(value);
            }
            outputs.insert("dst", dst);
        }
        Ok(outputs)
    }

    fn load(&self, device: &Device, ptx: &str) -> Result<Box<dyn Runner>, LaunchError> {
        let kernel = BlockKernel::of_text(device, *self, ptx)?;
        Ok(Box::new(BlockRunner {
            variant: *self,
            device: device.clone(),
            kernel,
        }))
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        let Ok(sizes) = Sizes::of(problem) else {
            return Vec::new();
        };
        let k = self.format().block_size();
        let mut problems = Vec::new();
        let mut shapes = Vec::new();
        for part in [2, 4] {
            shapes.push((0, sizes.rows / part, 0, sizes.cols));
            shapes.push((
                sizes.rows - sizes.rows / part,
                sizes.rows / part,
                0,
                sizes.cols,
            ));
        }
        shapes.extend((0..sizes.rows.min(8)).map(|row| (row, 1, 0, sizes.cols)));
        let blocks = sizes.cols.div_ceil(k);
        shapes
            .extend((0..blocks.min(8)).map(|b| (0, sizes.rows, b * k, k.min(sizes.cols - b * k))));
        if self.access() == Access::Ragged && sizes.cols <= k {
            shapes.extend((1..sizes.cols).map(|cols| (0, sizes.rows, 0, cols)));
        }
        for (row, rows, col, cols) in shapes {
            let is_smaller = rows * cols < sizes.rows * sizes.cols;
            if is_smaller && rows * cols > 0 {
                problems.extend(self.cut(problem, &sizes, row..row + rows, col..col + cols));
            }
        }
        for name in [
            "src_offset",
            "dst_offset",
            "codes_offset",
            "first_row",
            "seed",
        ] {
            let is_offset = name == "src_offset" || name == "dst_offset";
            if problem.sizes.get(name).is_some_and(|&size| size != 0) && !is_offset {
                let mut smaller = problem.clone();
                smaller.sizes.insert(name.to_owned(), 0);
                problems.push(smaller);
            }
        }
        problems.sort_by_key(|problem| self.elements(problem));
        problems
    }

    fn bytes(&self, rows: usize, cols: usize) -> u64 {
        let (format, dense) = (self.format(), (rows * cols * self.dense().bytes()) as u64);
        let (codes, scales) = format.packed_bytes(rows, cols);
        let (codes, scales) = (codes as u64, scales as u64);
        match Self::family(self) {
            Family::TensorScale => dense + 4,
            Family::Scale => dense + scales,
            Family::Round | Family::Quantize | Family::Dequantize => dense + codes + scales,
            Family::FakeQuantize => 2 * dense,
        }
    }
}

impl Variant {
    fn scale_element(&self) -> ElementType {
        match self.format().scale().storage_bytes() {
            1 => ElementType::U8,
            2 => ElementType::U16,
            _ => ElementType::U32,
        }
    }

    /// Draws the tensors.
    fn fill(
        &self,
        rng: &mut ChaCha8Rng,
        problem: &mut Problem,
        rows: usize,
        cols: usize,
        src: View,
    ) {
        let format = self.format();
        let (code_bytes, _) = format.packed_bytes(rows, cols);
        let blocks = rows * format.blocks_per_row(cols);
        let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
        let mut values = Vec::new();
        if self.reads_dense() {
            // What lies between rows would be seen in the results of a kernel that reads it.
            let poison = self.dense().to_bits(f32::NAN);
            let mut bits = vec![poison; src.offset];
            for row in 0..rows {
                let gap = if row == 0 { 0 } else { src.stride - cols };
                bits.extend(std::iter::repeat_n(poison, gap));
                bits.extend(dense_bits(rng, cols, format, self.dense()));
            }
            let src = Tensor {
                element: self.dense().into(),
                bits,
            };
            values = src.values();
            insert("src", src);
        } else {
            let bytes: Vec<u8> = (0..code_bytes).map(|_| rng.random()).collect();
            insert("codes", Tensor::of_bytes(&bytes));
        }
        if self.family().reads_scales() {
            let scales = Tensor {
                element: self.scale_element(),
                bits: (0..blocks)
                    .map(|_| scale_code(rng, format.scale()))
                    .collect(),
            };
            insert("scales", scales);
        }
        if self.reads_tensor_scale() {
            let own = tensor_scale(&values, format);
            let scale = match rng.random_range(0..4) {
                0 => 1.0,
                1 => f32::from_bits(rng.random_range(0x0080_0000..0x7F80_0000)),
                _ => own,
            };
            let scale = Tensor {
                element: ElementType::F32,
                bits: vec![scale.to_bits()],
            };
            insert("tensor_scale", scale);
        }
    }

    /// The part of a problem in these rows and columns, of which the first begins a block.
    fn cut(
        &self,
        problem: &Problem,
        sizes: &Sizes,
        rows: std::ops::Range<usize>,
        cols: std::ops::Range<usize>,
    ) -> Option<Problem> {
        let format = self.format();
        let mut part = problem.clone();
        let mut set = |name: &str, size: usize| part.sizes.insert(name.to_owned(), size as u64);
        set("rows", rows.len());
        set("cols", cols.len());
        set("src_stride", cols.len() + sizes.src.stride - sizes.cols);
        set("dst_stride", cols.len() + sizes.dst.stride - sizes.cols);
        if let Some(src) = part.tensors.get_mut("src") {
            let mut bits = src.bits[..sizes.src.offset].to_vec();
            for row in rows.clone() {
                let first = sizes.src.offset + row * sizes.src.stride;
                if row > rows.start {
                    let gap = src.bits[first + sizes.cols - sizes.src.stride..first].iter();
                    bits.extend(gap);
                }
                bits.extend(&src.bits[first + cols.start..first + cols.end]);
            }
            src.bits = bits;
        }
        if let Some(codes) = part.tensors.get_mut("codes") {
            let bits = format.element().bits() as usize;
            let (row_bytes, first) = ((sizes.cols * bits).div_ceil(8), cols.start * bits / 8);
            let count = (cols.len() * bits).div_ceil(8);
            let row = |row| &codes.bits[row * row_bytes + first..][..count];
            codes.bits = rows.clone().flat_map(row).copied().collect();
        }
        if let Some(scales) = part.tensors.get_mut("scales") {
            let blocks = format.blocks_per_row(sizes.cols);
            let (first, count) = (
                cols.start / format.block_size(),
                format.blocks_per_row(cols.len()),
            );
            let row = |row| &scales.bits[row * blocks + first..][..count];
            scales.bits = rows.clone().flat_map(row).copied().collect();
        }
        Some(part)
    }
}

/// A kernel of a block family on a device.
struct BlockRunner {
    variant: Variant,
    device: Device,
    kernel: BlockKernel,
}

impl BlockRunner {
    /// A buffer that holds nothing yet, of `bytes` bytes.
    fn untouched(&self, name: &'static str, bytes: usize) -> Result<Buffer, EntryError> {
        Ok(self.device.upload(name, &vec![UNTOUCHED; bytes])?)
    }

    fn input(&self, problem: &Problem, name: &'static str) -> Result<Buffer, EntryError> {
        let tensor = problem.tensor(name)?;
        Ok(self.device.upload(name, &tensor.to_bytes())?)
    }

    fn output(&self, buffer: &Buffer, element: ElementType) -> Result<Tensor, EntryError> {
        Ok(Tensor::from_bytes(element, &buffer.download::<u8>()?))
    }
}

impl Runner for BlockRunner {
    fn run(&self, stream: &Stream, problem: &Problem) -> Result<Outputs, EntryError> {
        let (variant, sizes) = (&self.variant, Sizes::of(problem)?);
        let format = variant.format();
        let dense = ElementType::from(variant.dense());
        let input = |is_read: bool, name| is_read.then(|| self.input(problem, name)).transpose();
        let src = input(variant.reads_dense(), "src")?;
        let (tensor_scale, workspace) = match variant.family() {
            Family::TensorScale => {
                let workspace = self.device.upload("workspace", &WORKSPACE)?;
                (Some(self.untouched("tensor_scale", 4)?), Some(workspace))
            }
            _ => (input(variant.reads_tensor_scale(), "tensor_scale")?, None),
        };
        let (code_bytes, _) = format.packed_bytes(sizes.rows, sizes.cols);
        let blocks = sizes.rows * format.blocks_per_row(sizes.cols);
        let scale_bytes = blocks * format.scale().storage_bytes();
        let codes = match variant.family() {
            Family::Dequantize => {
                let mut bytes = vec![UNTOUCHED; sizes.codes_offset];
                bytes.extend(problem.tensor("codes")?.to_bytes());
                Some(self.device.upload("codes", &bytes)?)
            }
            _ if variant.writes_codes() => {
                Some(self.untouched("codes", sizes.codes_offset + code_bytes)?)
            }
            _ => None,
        };
        let scales = match variant.family().reads_scales() {
            true => Some(self.input(problem, "scales")?),
            false if variant.family().stores_scales() => {
                Some(self.untouched("scales", scale_bytes)?)
            }
            false => None,
        };
        let dst = (variant.writes_dense() && !sizes.is_in_place)
            .then(|| self.untouched("dst", sizes.len(sizes.dst) * dense.bytes()))
            .transpose()?;
        let written = if sizes.is_in_place { &src } else { &dst };
        let view = |buffer, view: View| Dense {
            first: Slice {
                buffer,
                offset: view.offset * dense.bytes(),
            },
            stride: view.stride,
        };
        let slice = |buffer, offset| Slice { buffer, offset };
        let operands = BlockOperands {
            rows: sizes.rows,
            cols: sizes.cols,
            src: src.as_ref().map(|buffer| view(buffer, sizes.src)),
            dst: written.as_ref().map(|buffer| view(buffer, sizes.dst)),
            codes: codes
                .as_ref()
                .map(|buffer| slice(buffer, sizes.codes_offset)),
            scales: scales.as_ref().map(|buffer| slice(buffer, 0)),
            tensor_scale: tensor_scale.as_ref(),
            workspace: workspace.as_ref(),
            first_row: sizes.first_row,
            seed: sizes.seed,
        };
        self.kernel.launch(stream, &operands)?;
        stream.synchronize()?;
        let mut outputs = Outputs::new();
        if let (Some(workspace), Some(scale)) = (&workspace, &tensor_scale) {
            outputs.insert("tensor_scale", self.output(scale, ElementType::F32)?);
            outputs.insert("workspace", self.output(workspace, ElementType::F32)?);
        }
        if let (true, Some(codes)) = (variant.writes_codes(), &codes) {
            outputs.insert("codes", self.output(codes, ElementType::U8)?);
        }
        if let (true, Some(scales)) = (variant.family().stores_scales(), &scales) {
            outputs.insert("scales", self.output(scales, variant.scale_element())?);
        }
        if let (true, Some(dst)) = (variant.writes_dense(), written) {
            outputs.insert("dst", self.output(dst, dense)?);
        }
        Ok(outputs)
    }
}
