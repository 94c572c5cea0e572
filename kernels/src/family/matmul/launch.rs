//! Launcher of the matmul kernels.

use super::{MatmulOutput, MatmulVariant};
use crate::fragment::{CHUNK, FragmentTensor, OperandType, TILE, WeightFormat};
use crate::launch::{Dense, LaunchError, Loaded, Slice};
use mxlab_harness::device::{Argument, Buffer, Device, DeviceError, Geometry, Stream};

/// A weight matrix in fragment order, on a device.
#[derive(Debug)]
pub struct Weights {
    format: WeightFormat,
    rows: usize,
    cols: usize,
    codes: Buffer,
    scales: Option<Buffer>,
    alphas: Buffer,
}

impl Weights {
    /// Copies weights to a device; `name` is what reports call them.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn upload(
        device: &Device,
        name: &str,
        tensor: &FragmentTensor,
    ) -> Result<Self, DeviceError> {
        let scales = (!tensor.scales.is_empty())
            .then(|| device.upload(&format!("{name} (scales)"), &tensor.scales));
        Ok(Self {
            format: tensor.format,
            rows: tensor.rows,
            cols: tensor.cols,
            codes: device.upload(name, &tensor.codes)?,
            scales: scales.transpose()?,
            alphas: device.upload(&format!("{name} (alphas)"), &tensor.alphas)?,
        })
    }

    /// Weights that lie in these buffers.
    pub(in crate::family) const fn of_parts(
        format: WeightFormat,
        [rows, cols]: [usize; 2],
        codes: Buffer,
        scales: Option<Buffer>,
        alphas: Buffer,
    ) -> Self {
        Self {
            format,
            rows,
            cols,
            codes,
            scales,
            alphas,
        }
    }

    /// How they lie.
    pub const fn format(&self) -> &WeightFormat {
        &self.format
    }

    /// Rows: features of y.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Columns: features of x.
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// Codes, as of [`FragmentTensor::codes`].
    pub const fn codes(&self) -> &Buffer {
        &self.codes
    }

    /// Scales, as of [`FragmentTensor::scales`]; weights in bf16 have none.
    pub const fn scales(&self) -> Option<&Buffer> {
        self.scales.as_ref()
    }

    /// What results are multiplied by: an f32 for each tile.
    pub const fn alphas(&self) -> &Buffer {
        &self.alphas
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        let scales = self.scales.as_ref().map_or(0, Buffer::bytes);
        self.codes.bytes() + scales + self.alphas.bytes()
    }
}

/// What thread blocks need that share the chunks of a product.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// Thread blocks that share them.
    pub parts: usize,
    /// [`MatmulVariant::sums_bytes`] for each thread block.
    pub workspace: &'a Buffer,
    /// Zeros, which they are again afterwards: four bytes for each thread block of one part.
    pub arrivals: &'a Buffer,
}

/// Scales of x that is packed, as the row kernels leave them.
#[derive(Clone, Copy, Debug)]
pub struct SourceScales<'a> {
    /// f32 [block of k, token], finite for those of whole chunks of columns; `stride` apart are blocks. Readable up to whole
    /// groups of tokens of the regime.
    pub scales: Dense<'a>,
    /// What x is to be multiplied by: see [`OperandType::activation_exponent`].
    pub factor: f32,
}

/// What a matmul works on: y [tokens, rows] = x [tokens, cols] W^T, or y [tokens, rows / 2] of SwiGLU.
#[derive(Clone, Copy, Debug)]
pub struct MatmulOperands<'a> {
    /// W.
    pub weights: &'a Weights,
    /// Tokens.
    pub tokens: usize,
    /// x, of the operands that the weights become: its rows must be readable, and finite, up to a whole chunk of columns; and where the regime
    /// has stages, there must be rows, of whatever, up to whole groups of tokens.
    pub src: Dense<'a>,
    /// For operands of 8 bits: the scales of x, in blocks of the weights' k.
    pub src_scales: Option<SourceScales<'a>>,
    /// y.
    pub dst: Dense<'a>,
    /// bf16 \[rows\], added; as rows of W are.
    pub bias: Option<Slice<'a>>,
    /// bf16, laid out as y, added to the rounded result; may be y. Where [`MatmulOutput::takes_residual`].
    pub residual: Option<Slice<'a>>,
    /// For regimes that can: over how many thread blocks chunks are split, if over more than one.
    pub split: Option<Split<'a>>,
}

/// One kernel, loaded.
#[derive(Clone, Debug)]
pub struct MatmulKernel {
    variant: MatmulVariant,
    loaded: Loaded,
}

impl MatmulKernel {
    /// Renders a kernel and loads it.
    ///
    /// # Errors
    /// If the device does not take it.
    pub fn load(device: &Device, variant: MatmulVariant) -> Result<Self, LaunchError> {
        Self::of_text(device, variant, &variant.render())
    }

    /// Loads a kernel from a text that stands for [`MatmulVariant::render`]'s.
    ///
    /// # Errors
    /// If the device does not take it, or the text has no entry of that name.
    pub fn of_text(
        device: &Device,
        variant: MatmulVariant,
        ptx: &str,
    ) -> Result<Self, LaunchError> {
        let loaded = Loaded::of_text(device, variant.id(), ptx)?;
        Ok(Self { variant, loaded })
    }

    /// Launches it; nothing happens without tokens or rows.
    ///
    /// # Errors
    /// [`LaunchError`] if an operand is too small or not laid out as the kernel needs.
    pub fn launch(&self, stream: &Stream, operands: &MatmulOperands) -> Result<(), LaunchError> {
        let weights = operands.weights;
        if operands.tokens == 0 || weights.rows == 0 {
            return Ok(());
        }
        if weights.format != *self.variant.weights() {
            return Err(self
                .loaded
                .layout("the weights are of another format".to_owned()));
        }
        let (src, dst) = (operands.src, operands.dst);
        let chunks = weights.cols.div_ceil(CHUNK);
        let operand = weights.format.operand();
        let (width, step) = (operand.bits() as usize / 8, 128 / operand.bits() as usize);
        if src.stride < chunks * CHUNK || !src.stride.is_multiple_of(step) {
            let stride = src.stride;
            return Err(self.loaded.layout(format!(
                "rows of x are {stride} elements apart, which are no multiple of {step} or less than {}",
                chunks * CHUNK
            )));
        }
        let output = self.variant.output();
        let features = weights.rows / output.rows_of_feature();
        if output == MatmulOutput::Swiglu && !weights.rows.is_multiple_of(2 * TILE) {
            return Err(self.loaded.layout(format!(
                "{} rows are not whole tiles of gate and up",
                weights.rows
            )));
        }
        if dst.stride < features {
            return Err(self.loaded.layout(format!(
                "rows of y are {} elements apart, less than {features}",
                dst.stride
            )));
        }
        let elements = |stride: usize, cols: usize| (operands.tokens - 1) * stride + cols;
        let width_of_y = output.float_type().bytes();
        let y = elements(dst.stride, features);
        let shape = self.variant.regime().shape();
        let blocks = weights.rows.div_ceil(self.variant.block_rows() as usize);
        let groups = operands.tokens.div_ceil(shape.tokens() as usize);
        // Tokens that do not exist are read too where they come through shared memory.
        let read_tokens = match shape.stages {
            0 => operands.tokens,
            _ => groups * shape.tokens() as usize,
        };
        let parts = operands.split.map_or(1, |split| split.parts.max(1));
        if parts > 1 && !self.variant.regime().splits() {
            return Err(self.loaded.layout("its chunks cannot be split".to_owned()));
        }
        if operands.residual.is_some() && !output.takes_residual() {
            let reason = format!("{} results take no residual", output.name());
            return Err(self.loaded.layout(reason));
        }
        let mut arguments = vec![
            self.loaded
                .pointer("dst", dst.first, y * width_of_y, width_of_y)?,
            Argument::Buffer(&weights.codes),
            weights
                .scales
                .as_ref()
                .map_or(Argument::U64(0), Argument::Buffer),
            self.loaded.pointer(
                "src",
                src.first,
                width * ((read_tokens - 1) * src.stride + chunks * CHUNK),
                16,
            )?,
        ];
        let x_scales = match operand {
            OperandType::Bf16 => None,
            OperandType::E4m3 | OperandType::S8 => {
                Some(self.loaded.required("src_scales", operands.src_scales)?)
            }
        };
        if let Some(SourceScales { scales, .. }) = x_scales {
            // Lanes have those of two tokens, there or not.
            let read_tokens = groups * shape.tokens() as usize;
            if scales.stride < read_tokens || !scales.stride.is_multiple_of(4) {
                return Err(self.loaded.layout(format!(
                    "scales of blocks of x are {} apart, which are no multiple of 4 or less than {read_tokens}",
                    scales.stride
                )));
            }
            let blocks = self.variant.source_blocks(chunks);
            let bytes = 4 * ((blocks - 1) * scales.stride + read_tokens);
            arguments.push(self.loaded.pointer("src_scales", scales.first, bytes, 16)?);
        }
        arguments.extend([
            Argument::Buffer(&weights.alphas),
            self.loaded
                .optional("bias", operands.bias, 2 * weights.rows, 2)?,
        ]);
        if output.takes_residual() {
            let residual = operands.residual;
            arguments.push(self.loaded.optional("residual", residual, 2 * y, 2)?);
        }
        if self.variant.regime().splits() {
            let split = operands.split.filter(|_| parts > 1);
            let whole = |buffer| Slice { buffer, offset: 0 };
            let (sums, arrivals) = (
                split.map(|split| whole(split.workspace)),
                split.map(|split| whole(split.arrivals)),
            );
            let sums_bytes = blocks * groups * parts * self.variant.sums_bytes();
            arguments.push(self.loaded.optional("workspace", sums, sums_bytes, 16)?);
            arguments.push(
                self.loaded
                    .optional("arrivals", arrivals, 4 * blocks * groups, 4)?,
            );
        }
        if let Some(SourceScales { factor, .. }) = x_scales {
            arguments.push(Argument::F32(factor));
        }
        arguments.extend([
            Argument::U32(self.loaded.number("rows", weights.rows)?),
            Argument::U32(self.loaded.number("chunks", chunks)?),
            Argument::U32(self.loaded.number("tokens", operands.tokens)?),
            Argument::U32(self.loaded.number("src_stride", src.stride)?),
        ]);
        if let Some(SourceScales { scales, .. }) = x_scales {
            let stride = self.loaded.number("src_scales_stride", scales.stride)?;
            arguments.push(Argument::U32(stride));
        }
        arguments.push(Argument::U32(self.loaded.number("dst_stride", dst.stride)?));
        if self.variant.regime().splits() {
            arguments.push(Argument::U32(
                self.loaded.number("split_chunks", chunks.div_ceil(parts))?,
            ));
        }
        let geometry = Geometry {
            grid: [
                self.loaded.number("rows", blocks)?,
                self.loaded.number("tokens", groups)?,
                self.loaded.number("parts", parts)?,
            ],
            block: [self.variant.block_threads(), 1, 1],
            dynamic_shared: self.variant.shared_bytes(),
        };
        Ok(stream.launch(&self.loaded.kernel, geometry, &arguments)?)
    }
}
