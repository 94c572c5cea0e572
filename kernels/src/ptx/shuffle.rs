//! The kernels that put packed weights into the order of [`crate::fragment`].

use super::MatmulVariant;
use super::render::render_template;
use crate::format::{ElementFormat, Grid, Rounding};
use crate::fragment::bits::StoredBits;
use crate::fragment::{FragmentFormat, WeightFormat};
use serde::Serialize;
use std::collections::HashSet;

/// One kernel: what of weights it is for.
///
/// # Launch
/// Blocks of 256 threads. Parameters, pointers u64, all others u32:
///
/// | kernel | threads | parameters |
/// |---|---|---|
/// | codes | 32 a tile and chunk | dst, \[fault\], src, rows, cols, src_stride (bytes) |
/// | scan | one a scale | fault, largest, src, rows, blocks, mask, above |
/// | scales | one a stored scale | dst, src, \[largest\], rows, blocks, slots, slot_cols, k, lanes, runs, run_cols, \[bias\] |
///
/// `fault`, a u64, becomes the least [`ShuffleFault`](crate::launch::ShuffleFault); `largest`, a u32, the largest
/// scale code. Those in brackets are of elements that have codes without a finite value, and of scales of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShuffleVariant {
    /// Codes of an element, or bf16, in runs of so many columns.
    Codes(Option<ElementFormat>, usize),
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
    chunk_bytes: usize,
    vectors: Vec<Vector>,
    is_dense: bool,
    is_nibbles: bool,
    is_int: bool,
    zero_code: u8,
    stored_shift: u32,
    /// There are codes whose halves are above `limit`, which are no finite value.
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

/// Where bits of a pair go.
#[derive(Serialize)]
struct Term {
    pair: usize,
    word: usize,
    mask: u32,
    rotate: u32,
}

impl ShuffleVariant {
    /// The kernel for codes of a format.
    pub fn codes(format: &WeightFormat) -> Self {
        let element = match format {
            WeightFormat::Dense => None,
            WeightFormat::Packed(format) => Some(format.element()),
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
            Self::Codes(element, _) => element.is_some_and(|element| limit(element).is_some()),
            Self::Scan(_) => true,
            Self::Scales(_) => false,
        }
    }

    /// The name of the entry.
    pub fn id(&self) -> String {
        match self {
            Self::Codes(None, _) => "shuffle_codes_bf16__sm80".to_owned(),
            Self::Codes(Some(element), run) => format!("shuffle_codes_{element}_run{run}__sm80"),
            Self::Scan(bytes) => format!("shuffle_scan_u{}__sm80", 8 * bytes),
            Self::Scales(bytes) => format!("shuffle_scales_u{}__sm80", 8 * bytes),
        }
    }

    /// Its PTX: one module with one entry, named as [`ShuffleVariant::id`] says.
    pub fn render(&self) -> String {
        let kernel = self.id();
        match *self {
            Self::Codes(element, run) => {
                let context = CodesContext::new(kernel, element, run);
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

/// The largest half of a finite value, sign apart; `None` if all codes have one.
fn limit(element: ElementFormat) -> Option<u16> {
    let half = |code: u8| StoredBits::half(element, code).map(|half| half & 0x7FFF);
    let is_known = |&code: &u8| half(code).is_some() && element.decode(code).is_finite();
    let is_table = matches!(element.grid(), Grid::Table(_));
    let largest = element.codes().filter(is_known).filter_map(half).max();
    largest.filter(|_| !is_table && !element.codes().all(|code| is_known(&code)))
}

impl CodesContext {
    fn new(kernel: String, element: Option<ElementFormat>, run: usize) -> Self {
        let bits = element.map_or(16, |element| element.bits());
        let row_words = bits as usize / 2;
        let (mut terms, mut stored_shift) = (Vec::new(), 0);
        let stored = element.map(StoredBits::of);
        if let Some(StoredBits::Pairs { group, shift, .. }) = stored {
            stored_shift = shift;
            for pair in 0..8 {
                let (index, place) = (pair / group.pairs.len(), pair % group.pairs.len());
                terms.extend(group.pairs[place].iter().map(|term| Term {
                    pair,
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
        let limit = element.and_then(limit);
        Self {
            kernel,
            bits,
            run,
            columns: (0..16).map(|i| 4 * run * (i / run) + i % run).collect(),
            row_words,
            chunk_bytes: 2 * row_words * 32 * 4,
            vectors: (0..2 * row_words).step_by(4).map(vector).collect(),
            is_dense: element.is_none(),
            is_nibbles: matches!(stored, Some(StoredBits::Nibbles(_))),
            is_int: element.is_some_and(|element| matches!(element.grid(), Grid::Int(_))),
            zero_code: element.map_or(0, |element| element.encode(0.0, Rounding::Even, 0)),
            stored_shift,
            has_limit: limit.is_some(),
            limit: limit.unwrap_or(0),
            terms,
        }
    }
}
