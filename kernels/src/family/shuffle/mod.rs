//! The kernels that put packed weights into the order of [`crate::fragment`].

mod fault;
mod kernel;
mod load;
mod problems;
mod runner;
mod stack;

pub use fault::ShuffleFault;
pub use kernel::{ShuffleKernel, ShuffleOperands};
pub use load::{PackedOperand, Shuffle, ShuffleError};
pub use stack::{Stack, Tiles};

use super::Family;
use super::matmul::MatmulVariant;
use crate::format::{ElementFormat, Grid, Rounding};
use crate::fragment::bits::StoredBits;
use crate::fragment::{FragmentFormat, OperandType, WeightFormat};
use crate::ptx::render_template;
use serde::Serialize;
use std::collections::HashSet;

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

/// One kernel: what of weights it is for.
///
/// # Launch
/// Blocks of 256 threads. Parameters, pointers u64, all others u32:
///
/// | kernel | threads | parameters |
/// |---|---|---|
/// | codes | 32 a tile and chunk | dst, \[fault\], src, rows, cols, src_stride (bytes), skip (tiles) |
/// | scan | one a scale | fault, largest, src, rows, blocks, mask, above |
/// | scales | one a stored scale | dst, src, \[largest\], rows, blocks, slots, slot_cols, k, lanes, runs, run_cols, skip, \[bias\] |
///
/// `fault`, a u64, becomes the least [`ShuffleFault`](ShuffleFault); `largest`, a u32, the largest
/// scale code. Those in brackets are of elements that have codes without a finite value, and of scales of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShuffleVariant {
    /// Codes of an element for such operands, or bf16, in runs of so many columns.
    Codes(Option<(ElementFormat, OperandType)>, usize),
    /// Is there NaN among scales of so many bytes, and which is the largest?
    Scan(usize),
    /// Scales of so many bytes.
    Scales(usize),
}

/// What the templates know as `v`.
#[derive(Serialize)]
struct Context {
    kernel: String,
    /// Of a scale.
    bytes: usize,
}

/// What the template of codes knows as `v`.
#[derive(Serialize)]
struct CodesContext {
    kernel: String,
    bits: u32,
    run: usize,
    /// Column of each of a lane's 16, from its first.
    columns: Vec<usize>,
    row_words: usize,
    /// From word to word of a row, and from row to row.
    word_step: usize,
    row_step: usize,
    chunk_bytes: usize,
    vectors: Vec<Vector>,
    is_dense: bool,
    is_nibbles: bool,
    is_int: bool,
    zero_code: u8,
    stored_shift: u32,
    operand_bits: u32,
    /// Operands are in two's complement.
    is_twos: bool,
    /// There are codes whose operands are above `limit`, or the lowest of a two's complement, which are no finite value.
    has_limit: bool,
    limit: u16,
    terms: Vec<Term>,
}

/// Words of a lane that lie together.
#[derive(Serialize)]
struct Vector {
    first: usize,
    words: usize,
    /// Bytes from the chunk to the vector of lane 0.
    offset: usize,
}

/// Where bits of a register of operands go.
#[derive(Serialize)]
struct Term {
    register: usize,
    word: usize,
    mask: u32,
    rotate: u32,
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

    /// The kernel that looks through scales of a format.
    pub const fn scan(format: &FragmentFormat) -> Self {
        Self::Scan(format.scale_bytes())
    }

    /// The kernel for scales of a format.
    pub const fn scales(format: &FragmentFormat) -> Self {
        Self::Scales(format.scale_bytes())
    }

    /// Whether codes can be no finite value: `fault` is a parameter.
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

    /// The name of the entry.
    pub fn id(&self) -> String {
        match self {
            Self::Codes(None, _) => "shuffle_codes_bf16__sm80".to_owned(),
            Self::Codes(Some((element, operand)), run) => {
                let operand = match operand {
                    OperandType::Bf16 => String::new(),
                    OperandType::E4m3 | OperandType::S8 => format!("_{operand}"),
                };
                format!("shuffle_codes_{element}{operand}_run{run}__sm80")
            }
            Self::Scan(bytes) => format!("shuffle_scan_u{}__sm80", 8 * bytes),
            Self::Scales(bytes) => format!("shuffle_scales_u{}__sm80", 8 * bytes),
        }
    }

    /// Its PTX: one module with one entry, named as [`ShuffleVariant::id`] says.
    pub fn render(&self) -> String {
        let kernel = self.id();
        match *self {
            Self::Codes(codes, run) => {
                let context = CodesContext::new(kernel, codes, run);
                render_template("shuffle/codes.ptx.j2", &context)
            }
            Self::Scan(bytes) => render_template("shuffle/scan.ptx.j2", &Context { kernel, bytes }),
            Self::Scales(bytes) => {
                render_template("shuffle/scales.ptx.j2", &Context { kernel, bytes })
            }
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

/// The largest operand of a finite value, sign apart; `None` if all codes have one.
fn limit(element: ElementFormat, stored: &StoredBits) -> Option<u16> {
    let StoredBits::Fields { operand, .. } = stored else {
        return None;
    };
    let magnitude = (1 << (operand.bits() - 1)) - 1;
    let place = |code: u8| stored.place(element, code).map(|place| place & magnitude);
    let is_known = |&code: &u8| place(code).is_some() && element.decode(code).is_finite();
    let largest = element.codes().filter(is_known).filter_map(place).max();
    largest.filter(|_| !element.codes().all(|code| is_known(&code)))
}

impl CodesContext {
    fn new(kernel: String, codes: Option<(ElementFormat, OperandType)>, run: usize) -> Self {
        let element = codes.map(|(element, _)| element);
        let operand = codes.map_or(OperandType::Bf16, |(_, operand)| operand);
        let bits = element.map_or(16, |element| element.bits());
        let row_words = bits as usize / 2;
        let (mut terms, mut stored_shift) = (Vec::new(), 0);
        let stored = codes.and_then(|(element, operand)| StoredBits::of_operand(element, operand));
        if let Some(StoredBits::Fields { group, shift, .. }) = stored {
            stored_shift = shift;
            let count = group.registers.len();
            for register in 0..16 / operand.per_register() {
                let (index, place) = (register / count, register % count);
                terms.extend(group.registers[place].iter().map(|term| Term {
                    register,
                    word: index * group.words + term.word,
                    mask: term.mask,
                    rotate: term.rotate,
                }));
            }
        }
        let vector = |first: usize| Vector {
            first,
            words: 4.min(2 * row_words - first),
            offset: 4 * 32 * first,
        };
        let limit = element
            .zip(stored)
            .and_then(|(element, stored)| limit(element, &stored));
        Self {
            kernel,
            bits,
            run,
            columns: (0..16).map(|i| 4 * run * (i / run) + i % run).collect(),
            row_words,
            word_step: if operand == OperandType::Bf16 { 1 } else { 2 },
            row_step: if operand == OperandType::Bf16 {
                row_words
            } else {
                1
            },
            chunk_bytes: 2 * row_words * 32 * 4,
            vectors: (0..2 * row_words).step_by(4).map(vector).collect(),
            is_dense: element.is_none(),
            is_nibbles: matches!(stored, Some(StoredBits::Nibbles(_))),
            is_int: element.is_some_and(|element| matches!(element.grid(), Grid::Int(_))),
            zero_code: element.map_or(0, |element| element.encode(0.0, Rounding::Even, 0)),
            stored_shift,
            operand_bits: operand.bits(),
            is_twos: operand == OperandType::S8,
            has_limit: limit.is_some(),
            limit: limit.unwrap_or(0),
            terms,
        }
    }
}
