//! Kernels that compute rows of activations and quantise them before they store them: norms, gates,
//! multiples, copies; and the norm of each head.

mod draw;
mod head_norm;
mod operation;
mod packed;
mod part;
mod problems;
mod rotated;

pub use head_norm::HeadNorm;
pub use operation::RowOperation;

use super::Family;
use crate::family::block::{Addressing, BlockOperation, BlockVariant, Context, formats, is_usual};
use crate::family::macros::render_kernel;
use crate::family::macros::rotated::{RotatedBlocks, RotationContext};
use crate::format::{BlockFormat, Dialect, FloatType, Grid, Rounding, ScaleFormat, ScaleRule};
use crate::fragment::bits::StoredBits;
use crate::fragment::{CHUNK, OperandType};
use crate::kernel::{ElementType, Kernel, KernelId, Signature, VariantError, rows, size};
use crate::reference::GELU;
use crate::reference::exponential::COEFFICIENTS;
use crate::registry::Shape;
use crate::support::{Taker, support};
use mxlab_harness::assemble::Target;
use serde::Serialize;
use std::f64::consts::LOG2_E;
use std::fmt;

pub(super) const FAMILY: Family = Family {
    name: "rows",
    members: &[
        "norm",
        "norm_once",
        "layer_norm",
        "norm_add",
        "swiglu",
        "geglu",
        "gelu",
        "multiply",
        "multiply_add",
        "soft_cap",
        "copy",
        "head_norm",
    ],
    templates: &[
        ("rows/norm.ptx.j2", include_str!("norm.ptx.j2")),
        ("rows/map.ptx.j2", include_str!("map.ptx.j2")),
        ("rows/head_norm.ptx.j2", include_str!("head_norm.ptx.j2")),
        ("rows/swiglu.ptx.j2", include_str!("swiglu.ptx.j2")),
        ("rows/copy.ptx.j2", include_str!("copy.ptx.j2")),
    ],
    kernels: || {
        let rows = RowVariant::all().map(|variant| Box::new(variant) as _);
        Box::new(rows.chain(HeadNorm::ALL.map(|variant| Box::new(variant) as _)))
    },
};

/// One kernel: an operation, and the format that its rows are quantised to. A thread block of 256
/// threads makes one row.
///
/// Rows, gains and biases are bf16, padded with zeros to a multiple of 8 columns. `positions` has
/// the position of each row's token, which with the seed chooses the random numbers of stochastic
/// rounding. The tensor scale is one for each row. Packed rows are 8-bit operands, padded with
/// zeros to a multiple of 64 columns, with f32 scales [block of k, row].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowVariant {
    operation: RowOperation,
    /// The fake-quantising kernel whose steps apply to the rows.
    quantizer: Option<BlockVariant>,
    /// The operand type of the rows; 8-bit operands have separate scales.
    operand: OperandType,
    /// Blocks that are rotated before they are quantised.
    rotation: Option<RotatedBlocks>,
}

/// `v` in templates: the quantising part, and the operation.
#[derive(Serialize)]
struct RowContext {
    #[serde(flatten)]
    quantizer: Option<Context>,
    description: String,
    operation: &'static str,
    /// What an element is.
    formula: &'static str,
    /// The other matrix, and its stride.
    second: Option<[&'static str; 2]>,
    numbers: Vec<&'static str>,
    is_quantized: bool,
    rotation: Option<RotationContext>,
    /// Rows become 8-bit operands with separate scales.
    is_packed: bool,
    /// Operands are integers: values over the smallest.
    is_integer: bool,
    mantissa_bits: u32,
    /// Bits of a code that becomes the operand by moving bits.
    bits: u32,
    is_int: bool,
    stored_shift: u32,
    /// Rows have a tensor scale each.
    scales_rows: bool,
    /// Elements are rounded stochastically.
    draws: bool,
    log2_e: u64,
    /// Coefficients, the highest power first.
    exp_coefficients: Vec<u64>,
    gelu: [u32; 2],
}

impl RowVariant {
    /// The kernel whose rows are in `format`; `None` for bf16.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(operation: RowOperation, format: Option<BlockFormat>) -> Result<Self, VariantError> {
        let quantizer = format.map(|format| {
            BlockVariant::new(
                BlockOperation::FakeQuantize,
                format,
                FloatType::Bf16,
                Addressing::Aligned,
            )
        });
        Ok(Self {
            operation,
            quantizer: quantizer.transpose()?,
            operand: OperandType::Bf16,
            rotation: None,
        })
    }

    /// The kernel whose rows are 8-bit operands with scales that stand for `format`.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn packed(
        operation: RowOperation,
        format: BlockFormat,
        operand: OperandType,
    ) -> Result<Self, VariantError> {
        support(&format).check(Taker::Activations(operand))?;
        let bf16 = Self::new(operation, Some(format))?;
        Ok(Self { operand, ..bf16 })
    }

    /// How it computes its rows.
    pub const fn operation(&self) -> RowOperation {
        self.operation
    }

    /// The format of its rows; `None` for bf16.
    pub fn format(&self) -> Option<&BlockFormat> {
        self.quantizer.as_ref().map(BlockVariant::format)
    }

    /// The operand type of the rows: bf16, or 8 bits with separate scales.
    pub const fn operand(&self) -> OperandType {
        self.operand
    }

    /// Whether rows are 8-bit operands.
    pub(crate) fn is_packed(&self) -> bool {
        self.operand != OperandType::Bf16
    }

    /// Whether `positions` and `seed` are parameters.
    pub fn is_random(&self) -> bool {
        self.quantizer.is_some_and(|variant| variant.is_random())
    }

    /// Every kernel of the registry: bf16, and the formats of [`BlockVariant::all`] with the rule
    /// `floor`, `even` or that of fractions, rounded half to even or stochastically; packed, of
    /// those with E8M0, UE5M3, FP16 and FP32 scales, `floor` and half to even, every element that
    /// there are operands for. Operations that no projection takes its input from come in bf16
    /// only, those of few architectures in the formats of [`is_headline`](crate::family::block).
    /// In these formats all that a projection takes its input from also come rotated in blocks of
    /// 32, `copy` in blocks of every size.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = RowOperation::ALL.into_iter().flat_map(move |operation| {
            let listed = operation.parts().formats;
            let quantized = formats(BlockOperation::FakeQuantize)
                .filter(move |format| is_usual(format) && listed.has(format))
                .map(Some);
            let formats = std::iter::once(None).chain(quantized);
            let dense = formats.filter_map(move |format| Self::new(operation, format).ok());
            let packed = [OperandType::E4m3, OperandType::S8].into_iter();
            let packed = packed.flat_map(move |operand| {
                let formats = formats_of_packed().filter(move |format| listed.has(format));
                formats.filter_map(move |format| Self::packed(operation, format, operand).ok())
            });
            dense.chain(packed)
        });
        plain.chain(Self::all_rotated())
    }
}

impl Kernel for RowVariant {
    fn id(&self) -> KernelId {
        let name = self.operation.name();
        let rotation = self.rotation.map_or_else(String::new, RotatedBlocks::word);
        match &self.quantizer {
            None => KernelId::new([name, &rotation, "bf16"], Target::new(80)),
            Some(quantizer) => {
                let operand = match self.operand {
                    OperandType::Bf16 => String::new(),
                    operand @ (OperandType::E4m3 | OperandType::S8) => operand.to_string(),
                };
                let words = [name, &rotation, &quantizer.words(), &operand];
                KernelId::new(words, quantizer.target())
            }
        }
    }

    fn family(&self) -> &'static str {
        self.operation().name()
    }

    fn signature(&self) -> Signature {
        let padded = size("cols").next_multiple_of(8);
        let matrix = |stride| rows(size("rows"), size(stride), padded.clone());
        let grid = [size("rows"), 1.into(), 1.into()];
        let signature = Signature::new(self.id(), 256, grid).bounded(
            "cols",
            1.into(),
            None,
            self.rotation.map_or(1, RotatedBlocks::size),
        );
        let packed = self.format().filter(|_| self.is_packed());
        let whole = match packed {
            Some(_) => size("cols").next_multiple_of(CHUNK),
            None => padded.clone(),
        };
        let dst = rows(size("rows"), size("dst_stride"), whole.clone());
        let signature = match packed {
            None => signature.output("dst", ElementType::Bf16, dst).aligned(16),
            Some(format) => {
                let blocks = whole.clone().div_ceil(format.block_size());
                let scales = rows(blocks, size("dst_scales_stride"), size("rows"));
                signature
                    .output("dst", ElementType::U8, dst)
                    .aligned(8)
                    .output("dst_scales", ElementType::F32, scales)
            }
        };
        let signature = signature
            .input("src", ElementType::Bf16, matrix("src_stride"))
            .aligned(16);
        let parts = self.operation.parts();
        let signature = parts.vectors.iter().fold(signature, |signature, name| {
            let vector = signature.input(name, ElementType::Bf16, padded.clone());
            vector.aligned(16)
        });
        let signature = match parts.second {
            Some([name, stride]) => signature
                .input(name, ElementType::Bf16, matrix(stride))
                .aligned(16),
            None => signature,
        };
        let signature = match self.is_random() {
            true => signature
                .input("positions", ElementType::U32, size("rows"))
                .size("seed"),
            false => signature,
        };
        let signature = match self.has_signs() {
            true => signature.size("rotation_seed"),
            false => signature,
        };
        let signature = parts.numbers.iter().fold(signature, |signature, number| {
            signature.number(number.0, number.1.clone())
        });
        let signature = signature.size("cols").stride("dst_stride", whole, 8);
        let signature = match packed {
            Some(_) => signature.stride("dst_scales_stride", size("rows"), 1),
            None => signature,
        };
        let signature = signature.stride("src_stride", padded.clone(), 8);
        match parts.second {
            Some([_, stride]) => signature.stride(stride, padded, 8),
            None => signature,
        }
    }

    fn ptx(&self) -> String {
        let format = self.format();
        let parts = self.operation.parts();
        let name = parts.name;
        let element = format.map(|format| format.element());
        let stored = element.and_then(|element| StoredBits::of_operand(element, self.operand));
        let context = RowContext {
            quantizer: self.quantizer.as_ref().map(Context::new),
            description: match format {
                None => format!("{name} in bf16"),
                Some(format) if self.is_packed() => {
                    format!("{name}, rows in {format}, as {} operands", self.operand)
                }
                Some(format) => format!("{name}, rows in {format}"),
            },
            operation: name,
            formula: parts.formula,
            second: parts.second,
            numbers: parts.numbers.iter().map(|(name, _)| *name).collect(),
            rotation: self.rotation.map(RotatedBlocks::context),
            is_packed: self.is_packed(),
            is_integer: self.operand == OperandType::S8,
            mantissa_bits: element
                .and_then(|element| element.mantissa_bits())
                .unwrap_or(0),
            bits: element.map_or(0, |element| element.bits()),
            is_int: element.is_some_and(|element| matches!(element.grid(), Grid::Int(_))),
            stored_shift: match stored {
                Some(StoredBits::Fields { shift, .. }) => shift,
                _ => 0,
            },
            is_quantized: format.is_some(),
            scales_rows: format.is_some_and(BlockFormat::has_tensor_scale),
            draws: self.is_random(),
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
            gelu: GELU.map(f32::to_bits),
        };
        let template = format!("rows/{}.ptx.j2", parts.template);
        render_kernel(&template, &self.signature(), &context)
    }

    fn elements_per_thread(&self) -> u32 {
        8
    }

    /// As many tokens as fill a chip, of Llama 3 8B.
    fn shape(&self) -> Shape {
        let cols = match self.operation() {
            RowOperation::Swiglu | RowOperation::Geglu | RowOperation::Gelu => 14336,
            _ => 4096,
        };
        Shape {
            rows: 8192,
            cols,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["tokens", "features"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        let Shape { rows, cols, .. } = shape;
        let dst = self.dst(rows, cols, cols).1 + self.scale_bytes(rows, cols, rows);
        let sources = match self.operation().parts().second {
            None => 1,
            Some(_) => 2,
        };
        (2 * sources * rows * cols + dst) as u64
    }
}

/// The formats of packed rows that a registry walks.
fn formats_of_packed() -> impl Iterator<Item = BlockFormat> {
    formats(BlockOperation::FakeQuantize).filter(|format| {
        let scales = [
            ScaleFormat::E8M0,
            ScaleFormat::UE5M3,
            ScaleFormat::Fp16,
            ScaleFormat::Fp32,
        ];
        let scale = scales.contains(&format.scale());
        let rule = match format.rule() {
            ScaleRule::Floor | ScaleRule::Nearest => true,
            ScaleRule::Ceil
            | ScaleRule::Rceil
            | ScaleRule::Even
            | ScaleRule::Mse
            | ScaleRule::NearestFlush
            | ScaleRule::FourOverSix => false,
        };
        let rounding = (format.rounding(), format.dialect()) == (Rounding::Even, Dialect::Ocp);
        scale && rule && rounding
    })
}

impl fmt::Display for RowVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
