//! One launch of one kernel on the emulator, and what the reference makes of the same tensors.

use crate::inputs::{Draws, elements};
use half::{bf16, f16};
use mxlab_kernels::format::{FloatType, PackedTensor, Rounding};
use mxlab_kernels::ptx::{Access, Family, Variant, render};
use mxlab_kernels::reference::{self, Part};
use ptx_emulator::launch::{DEFAULT_BUDGET, Geometry, Kernels};
use ptx_emulator::memory::global::GlobalMemory;

/// The shape of a launch, whose rows are those from `first_row` on of a tensor.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub rows: usize,
    pub cols: usize,
    pub first_row: usize,
    /// Elements between the end of a row and the start of the next.
    pub gap: usize,
    /// Elements before the first, which decide what it is aligned to.
    pub offset: usize,
}

/// What no kernel may write over.
const PATTERN: u8 = 0xA5;

/// Runs `variant` once. `Err` says in one line what is not as the reference has it.
pub fn check(variant: &Variant, shape: Shape, seed: u32) -> Result<(), String> {
    let mut draws = Draws::new(seed);
    let len = shape.rows * shape.cols;
    let x = elements(&mut draws, len, variant.format(), variant.dense());
    check_elements(variant, shape, x, seed)
}

/// [`check`] on elements that are given.
pub fn check_elements(
    variant: &Variant,
    shape: Shape,
    x: Vec<f32>,
    seed: u32,
) -> Result<(), String> {
    let text = render(variant);
    let kernels = Kernels::load(&text).map_err(|error| format!("{variant}: {error}"))?;
    Case::new(variant, shape, x, seed)
        .check(&kernels)
        .map_err(|what| format!("{variant} {shape:?} seed {seed}: {what}"))
}

struct Case {
    variant: Variant,
    shape: Shape,
    x: Vec<f32>,
    packed: PackedTensor,
    seed: u32,
}

impl Case {
    fn new(variant: &Variant, shape: Shape, x: Vec<f32>, seed: u32) -> Self {
        let mut draws = Draws::new(!seed);
        let (dense, mut format) = (variant.dense(), *variant.format());
        if matches!(format.rounding(), Rounding::Stochastic { .. }) {
            let rounding = Rounding::Stochastic { seed };
            format = format.to_builder().rounding(rounding).build().unwrap();
        }
        let (rows, cols) = (shape.rows, shape.cols);
        let part = Part {
            rows,
            cols,
            first_row: shape.first_row,
            tensor_scale: reference::tensor_scale(&x, &format),
            source: dense,
        };
        let quantized = reference::quantize_part(&x, part, &format).unwrap();
        let packed = |codes, scales| {
            PackedTensor::new(format, rows, cols, codes, scales, part.tensor_scale).unwrap()
        };
        let packed = match variant.family() {
            Family::TensorScale | Family::Scale | Family::Quantize | Family::FakeQuantize => {
                quantized
            }
            // Scales that fit, and among them any.
            Family::Round => {
                let mut scales = quantized.scales().to_vec();
                let width = format.scale().storage_bytes();
                for scale in scales.chunks_mut(width) {
                    if draws.below(4) == 0 {
                        scale.copy_from_slice(&draws.bytes(width));
                    }
                }
                let codes = reference::round_part(&x, &scales, part, &format).unwrap();
                packed(codes, scales)
            }
            Family::Dequantize => {
                let codes = draws.bytes(quantized.codes().len());
                packed(codes, draws.bytes(quantized.scales().len()))
            }
        };
        let variant = *variant;
        Self {
            variant,
            shape,
            x,
            packed,
            seed,
        }
    }

    fn check(&self, kernels: &Kernels) -> Result<(), String> {
        let Shape { rows, cols, .. } = self.shape;
        let blocks = self.variant.grid(rows, cols).unwrap();
        if blocks == 0 {
            return Ok(());
        }
        let mut device = Device::new();
        let family = self.variant.family();
        let (codes, scales) = (self.packed.codes(), self.packed.scales());
        let dense = Dense::new(self.variant.dense(), self.shape);
        let source = dense.bytes(&self.x);
        let values = || dense.bytes(&reference::dequantize(&self.packed));
        // Codes may lie anywhere, scales and elements at their own alignment.
        let is_ragged = self.variant.access() == Access::Ragged;
        let code_offset = if is_ragged { self.shape.offset } else { 0 };
        let scale_offset = code_offset * self.packed.scale().storage_bytes();
        let tensor_scale = self.packed.tensor_scale().to_le_bytes();
        match family {
            Family::TensorScale => {
                device.output("dst_tensor_scale", &tensor_scale, 0);
                device.workspace(2);
                device.input("src", &source, dense.offset());
            }
            Family::Scale => {
                device.output("dst_scales", scales, scale_offset);
                device.input("src", &source, dense.offset());
            }
            Family::Round => {
                device.output("dst_codes", codes, code_offset);
                device.input("src", &source, dense.offset());
                device.input("src_scales", scales, scale_offset);
            }
            Family::Quantize => {
                device.output("dst_codes", codes, code_offset);
                device.output("dst_scales", scales, scale_offset);
                device.input("src", &source, dense.offset());
            }
            Family::Dequantize => {
                device.output("dst", &values(), dense.offset());
                device.input("src_codes", codes, code_offset);
                device.input("src_scales", scales, scale_offset);
            }
            Family::FakeQuantize => {
                device.output("dst", &values(), dense.offset());
                device.input("src", &source, dense.offset());
            }
        }
        if self.variant.reads_tensor_scale() {
            device.input("src_tensor_scale", &tensor_scale, 0);
        }
        let stride = (cols + self.shape.gap) as u32;
        device.numbers(&[rows as u32, cols as u32, stride]);
        if family == Family::FakeQuantize {
            device.numbers(&[stride]);
        }
        if self.variant.is_random() {
            device.numbers(&[self.shape.first_row as u32, self.seed]);
        }
        let geometry = Geometry {
            grid: [blocks, 1, 1],
            block: [self.variant.block_threads(), 1, 1],
            dynamic_shared: 0,
        };
        let (parameters, memory) = (&device.parameters, &mut device.memory);
        kernels
            .launch(
                &self.variant.id(),
                geometry,
                parameters,
                memory,
                DEFAULT_BUDGET,
            )
            .map_err(|error| error.to_string())?;
        for output in &device.outputs {
            let mut got = vec![0; output.expected.len()];
            let read = device.memory.read(output.address, &mut got);
            read.map_err(|error| error.to_string())?;
            self.compare(output, &got, dense)?;
        }
        Ok(())
    }

    fn compare(&self, output: &Output, got: &[u8], dense: Dense) -> Result<(), String> {
        let is_dense = output.name == "dst";
        let differs = |at: usize| {
            let range = if is_dense {
                dense.element(at, output.offset)
            } else {
                at..at + 1
            };
            let (got, expected) = (&got[range.clone()], &output.expected[range]);
            got != expected && !(is_dense && dense.is_nan(got) && dense.is_nan(expected))
        };
        let Some(at) = (0..got.len()).find(|&at| got[at] != output.expected[at] && differs(at))
        else {
            return Ok(());
        };
        let Some(byte) = at.checked_sub(output.offset) else {
            return Err(format!("{} is written before its start", output.name));
        };
        let Shape { cols, gap, .. } = self.shape;
        let k = self.packed.format().block_size();
        let (row, col) = match output.name {
            "dst_codes" => {
                let row_bytes = self.packed.row_code_bytes();
                (
                    byte / row_bytes,
                    byte % row_bytes * 8 / self.packed.element().bits() as usize,
                )
            }
            "dst_scales" => {
                let row_bytes = self.packed.row_scale_bytes();
                let width = self.packed.scale().storage_bytes();
                (byte / row_bytes, byte % row_bytes / width * k)
            }
            "dst_tensor_scale" | "workspace" => (0, 0),
            _ => {
                let element = byte / dense.float.bytes();
                (element / (cols + gap), element % (cols + gap))
            }
        };
        let index = row * cols + col;
        let block = row * cols + col / k * k;
        let end = (block + k).min((row + 1) * cols);
        let bits = |x: &[f32]| {
            x.iter()
                .map(|x| format!("{:08x}", x.to_bits()))
                .collect::<Vec<_>>()
        };
        let x = self.x.get(index).copied().unwrap_or_default();
        Err(format!(
            "{} row {row} column {col} byte {byte}: {x:e} ({:#010x}) gives {:#04x}, not {:#04x}; block {}; tensor scale {:e}",
            output.name,
            x.to_bits(),
            got[at],
            output.expected[at],
            bits(self.x.get(block..end).unwrap_or_default()).join(" "),
            self.packed.tensor_scale(),
        ))
    }
}

/// How a dense tensor lies in memory.
#[derive(Clone, Copy)]
struct Dense {
    float: FloatType,
    shape: Shape,
}

impl Dense {
    fn new(float: FloatType, shape: Shape) -> Self {
        Self { float, shape }
    }

    fn offset(self) -> usize {
        self.shape.offset * self.float.bytes()
    }

    /// Rows of elements with [`PATTERN`] in the gaps.
    fn bytes(self, x: &[f32]) -> Vec<u8> {
        let Shape { cols, gap, .. } = self.shape;
        let mut bytes = Vec::new();
        for row in x.chunks(cols) {
            for &x in row {
                match self.float {
                    FloatType::F32 => bytes.extend(x.to_le_bytes()),
                    FloatType::Bf16 => bytes.extend(bf16::from_f32(x).to_le_bytes()),
                    FloatType::F16 => bytes.extend(f16::from_f32(x).to_le_bytes()),
                }
            }
            bytes.extend(std::iter::repeat_n(PATTERN, gap * self.float.bytes()));
        }
        bytes
    }

    /// The bytes of the element that byte `at` of a buffer belongs to.
    fn element(self, at: usize, offset: usize) -> std::ops::Range<usize> {
        let width = self.float.bytes();
        let start = at - at % width + offset % width;
        start..start + width
    }

    fn is_nan(self, bytes: &[u8]) -> bool {
        match (self.float, bytes) {
            (FloatType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).is_nan(),
            (FloatType::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).is_nan(),
            (FloatType::F16, &[a, b]) => f16::from_le_bytes([a, b]).is_nan(),
            _ => false,
        }
    }
}

struct Output {
    name: &'static str,
    address: u64,
    offset: usize,
    expected: Vec<u8>,
}

/// The emulator's memory with the buffers of a launch, and the launch's parameters.
struct Device {
    memory: GlobalMemory,
    parameters: Vec<u8>,
    outputs: Vec<Output>,
}

impl Device {
    fn new() -> Self {
        Self {
            memory: GlobalMemory::new(1 << 30),
            parameters: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn place(&mut self, name: &str, bytes: &[u8], offset: usize) -> u64 {
        let whole = [&vec![PATTERN; offset], bytes].concat();
        let address = self.memory.allocate(whole.len() as u64, name).unwrap();
        self.memory.write(address, &whole).unwrap();
        self.parameters
            .extend((address + offset as u64).to_le_bytes());
        address
    }

    fn input(&mut self, name: &str, bytes: &[u8], offset: usize) {
        self.place(name, bytes, offset);
    }

    /// A buffer that is to become `expected`: before, its bytes are all different, except for those
    /// that are not to be written, [`PATTERN`]. Elsewhere that byte is as good as any other.
    fn output(&mut self, name: &'static str, expected: &[u8], offset: usize) {
        let before = |&byte: &u8| if byte == PATTERN { byte } else { !byte };
        let address = self.place(
            name,
            &expected.iter().map(before).collect::<Vec<_>>(),
            offset,
        );
        let expected = [&vec![PATTERN; offset], expected].concat();
        self.outputs.push(Output {
            name,
            address,
            offset,
            expected,
        });
    }

    /// Zeros that are to be zeros again.
    fn workspace(&mut self, words: usize) {
        let expected = vec![0; 4 * words];
        let address = self.place("workspace", &expected, 0);
        self.outputs.push(Output {
            name: "workspace",
            address,
            offset: 0,
            expected,
        });
    }

    fn numbers(&mut self, numbers: &[u32]) {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.parameters.extend(bytes);
    }
}
