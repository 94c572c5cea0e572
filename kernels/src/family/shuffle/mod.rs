//! The kernels that put packed weights into the order of [`crate::fragment`].

mod context;
mod fault;
mod load;
mod problems;
mod stack;

pub use fault::ShuffleFault;
pub use load::{PackedOperand, Shuffle, ShuffleError};
pub use stack::{Stack, Tiles};

use self::context::{CodesContext, limit};
use self::fault::{PLACE_BITS, ROW_BITS};
use super::Family;
use super::matmul::MatmulVariant;
use crate::family::macros::render_kernel;
use crate::format::{ElementFormat, ScaleFormat};
use crate::fragment::bits::StoredBits;
use crate::fragment::{CHUNK, FragmentFormat, OperandType, TILE, WeightFormat};
use crate::kernel::{ElementType, Extent, Kernel, KernelId, Signature, rows, size};
use crate::registry::Shape;
use mxlab_harness::assemble::Target;
use std::collections::{BTreeMap, HashSet};

/// Threads of a thread block.
const THREADS: usize = 256;

pub(super) const FAMILY: Family = Family {
    name: "shuffle",
    members: &["shuffle"],
    templates: &[
        ("shuffle/codes.ptx.j2", include_str!("codes.ptx.j2")),
        ("shuffle/scales.ptx.j2", include_str!("scales.ptx.j2")),
        ("shuffle/scan.ptx.j2", include_str!("scan.ptx.j2")),
    ],
    kernels: || Box::new(ShuffleVariant::all().map(|variant| Box::new(variant) as _)),
};

/// One kernel: the part of weights that it handles.
///
/// Codes and scales are read as in [`crate::format::PackedTensor`] and written in the order of
/// [`crate::fragment`]: 16 rows of a *tile*, then `skip` tiles of another matrix. `fault` becomes
/// the least of itself and each [`ShuffleFault`] that is found, `largest` the greatest of itself
/// and each scale code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShuffleVariant {
    /// Codes of an element for an operand type, or bf16, in runs of that many columns.
    Codes(Option<(ElementFormat, OperandType)>, usize),
    /// Finds the largest scale, and NaN among scales, of that many bytes.
    Scan(usize),
    /// Places scales of that many bytes.
    Scales(usize),
}

impl ShuffleVariant {
    /// The kernel for codes of a format.
    pub fn codes(format: &WeightFormat) -> Self {
        let element = match format {
            WeightFormat::Dense => None,
            WeightFormat::Packed(format) => Some((format.element(), format.operand())),
        };
        Self::Codes(element, format.run())
    }

    /// The kernel that scans scales of a format.
    pub const fn scan(format: &FragmentFormat) -> Self {
        Self::Scan(format.scale_bytes())
    }

    /// The kernel for scales of a format.
    pub const fn scales(format: &FragmentFormat) -> Self {
        Self::Scales(format.scale_bytes())
    }

    /// Whether a code may lack a finite value; `fault` is a parameter then.
    pub fn has_fault(&self) -> bool {
        match self {
            Self::Codes(codes, _) => codes.is_some_and(|(element, operand)| {
                StoredBits::of_operand(element, operand)
                    .is_some_and(|stored| limit(element, &stored).is_some())
            }),
            Self::Scan(_) => true,
            Self::Scales(_) => false,
        }
    }

    /// Every kernel that weights of [`MatmulVariant::all`] take.
    pub fn all() -> impl Iterator<Item = Self> {
        let parts = |variant: MatmulVariant| {
            let codes = Self::codes(variant.weights());
            let scales = match variant.weights() {
                WeightFormat::Dense => None,
                WeightFormat::Packed(format) => Some([Self::scan(format), Self::scales(format)]),
            };
            std::iter::once(codes).chain(scales.into_iter().flatten())
        };
        let mut known = HashSet::new();
        MatmulVariant::all()
            .flat_map(parts)
            .filter(move |&variant| known.insert(variant))
    }
}

impl Kernel for ShuffleVariant {
    fn id(&self) -> KernelId {
        let words = match self {
            Self::Codes(None, _) => "codes_bf16".to_owned(),
            Self::Codes(Some((element, OperandType::Bf16)), run) => {
                format!("codes_{element}_run{run}")
            }
            Self::Codes(Some((element, operand)), run) => {
                format!("codes_{element}_{operand}_run{run}")
            }
            Self::Scan(bytes) => format!("scan_u{}", 8 * bytes),
            Self::Scales(bytes) => format!("scales_u{}", 8 * bytes),
        };
        KernelId::new(["shuffle", &words], Target::new(80))
    }

    fn family(&self) -> &'static str {
        "shuffle"
    }

    fn signature(&self) -> Signature {
        let tiles = size("rows").div_ceil(TILE);
        // Tiles and those of others after each.
        let tiled = |tile: Extent| rows(tiles.clone(), (size("skip") + 1) * tile.clone(), tile);
        match *self {
            Self::Codes(codes, _) => {
                let bits = codes.map_or(16, |(element, _)| element.bits() as usize);
                let chunks = size("cols").div_ceil(CHUNK);
                let threads = tiles.clone() * chunks.clone() * 32;
                let signature = self.with_threads(threads);
                let tile = chunks * (TILE * CHUNK * bits / 8);
                let signature = signature.output("dst", ElementType::U8, tiled(tile));
                let signature = with_fault(signature.aligned(16), self.has_fault());
                let row_bytes = (size("cols") * bits).div_ceil(8);
                let src = rows(size("rows"), size("src_stride"), row_bytes.clone());
                let alignment = if codes.is_none() { 2 } else { 1 };
                signature
                    .input("src", ElementType::U8, src)
                    .aligned(alignment)
                    .size("rows")
                    .size("cols")
                    .stride("src_stride", row_bytes, alignment)
                    .size("skip")
                    .bounded("cols", 0.into(), Some(1 << PLACE_BITS), 1)
            }
            Self::Scan(width) => {
                let scales = size("rows") * size("blocks");
                with_fault(self.with_threads(scales.clone()), true)
                    .in_out("largest", ElementType::U32, 1.into())
                    .input("src", element(width), scales)
                    .size("rows")
                    .size("blocks")
                    .size("mask")
                    .size("above")
                    .bounded("blocks", 0.into(), Some(1 << PLACE_BITS), 1)
            }
            Self::Scales(width) => {
                let tile = size("slots") * size("lanes") * size("runs") * TILE;
                let signature = self
                    .with_threads(tiles.clone() * tile.clone())
                    .output("dst", element(width), tiled(tile))
                    .input("src", element(width), size("rows") * size("blocks"));
                let signature = match self.is_relative() {
                    true => signature.input("largest", ElementType::U32, 1.into()),
                    false => signature,
                };
                let sizes = [
                    "rows",
                    "blocks",
                    "slots",
                    "slot_cols",
                    "k",
                    "lanes",
                    "runs",
                    "run_cols",
                    "skip",
                ];
                let bias = self.is_relative().then_some("bias");
                let sizes = sizes.into_iter().chain(bias);
                sizes.fold(signature, Signature::size)
            }
        }
    }

    fn ptx(&self) -> String {
        let signature = self.signature();
        let of_scales = |template, width| {
            render_kernel(template, &signature, &BTreeMap::from([("bytes", width)]))
        };
        match *self {
            Self::Codes(codes, run) => {
                let context = CodesContext::new(codes, run);
                render_kernel("shuffle/codes.ptx.j2", &signature, &context)
            }
            Self::Scan(width) => of_scales("shuffle/scan.ptx.j2", width),
            Self::Scales(width) => of_scales("shuffle/scales.ptx.j2", width),
        }
    }

    fn elements_per_thread(&self) -> u32 {
        match self {
            Self::Codes(..) => 32,
            _ => 1,
        }
    }

    fn bytes(&self, shape: Shape) -> u64 {
        let formats = self.formats();
        let (codes, scales) = formats[0].bytes(shape.rows, shape.cols);
        match self {
            Self::Codes(..) => 2 * codes as u64,
            Self::Scan(_) => scales as u64,
            Self::Scales(_) => 2 * scales as u64,
        }
    }
}

impl ShuffleVariant {
    /// Whether scales can be powers of two, which are stored relative to the largest.
    const fn is_relative(&self) -> bool {
        matches!(self, Self::Scales(1))
    }

    /// A kernel of `threads` threads, without operands. It indexes threads and rows with 32 bits.
    fn with_threads(&self, threads: Extent) -> Signature {
        let blocks = threads.clone().div_ceil(THREADS);
        Signature::new(self.id(), THREADS as u32, [blocks, 1.into(), 1.into()])
            .numbers(threads.next_multiple_of(THREADS))
            .bounded("rows", 0.into(), Some(1 << ROW_BITS), 1)
    }
}

/// With the least fault, if there can be one: two words of a u64.
fn with_fault(signature: Signature, has_fault: bool) -> Signature {
    match has_fault {
        true => signature
            .in_out("fault", ElementType::U32, 2.into())
            .aligned(8),
        false => signature,
    }
}

/// The type of a scale's code of `width` bytes.
const fn element(width: usize) -> ElementType {
    match width {
        1 => ElementType::U8,
        2 => ElementType::U16,
        _ => ElementType::U32,
    }
}

/// Sizes of the kernels of scales, for weights with `cols` columns.
fn sizes_of_scales(format: &FragmentFormat, cols: usize) -> [(&'static str, usize); 10] {
    // A scale code is NaN if it, masked by the first, is above the second.
    let scale = format.scale();
    let [mask, above] = match scale {
        ScaleFormat::E8M0 { .. } | ScaleFormat::Unsigned { .. } => {
            [scale.nan_code(), scale.nan_code() - 1]
        }
        ScaleFormat::Fp16 => [0x7FFF, 0x7C00],
        ScaleFormat::Bf16 => [0x7FFF, 0x7F80],
        ScaleFormat::Fp32 => [0x7FFF_FFFF, 0x7F80_0000],
    };
    // What the code of a power of two is stored more than, less the largest; 0 for other scales,
    // which are stored as they are.
    let bias = match scale {
        ScaleFormat::E8M0 { .. } => (127 + format.stored().exponent()).cast_unsigned(),
        _ => 0,
    };
    [
        ("blocks", cols.div_ceil(format.block_size())),
        ("mask", mask as usize),
        ("above", above as usize),
        ("slots", cols.div_ceil(format.slot())),
        ("slot_cols", format.slot()),
        ("k", format.block_size()),
        ("lanes", format.scale_lanes()),
        ("runs", format.scale_runs()),
        ("run_cols", format.run()),
        ("bias", bias as usize),
    ]
}
