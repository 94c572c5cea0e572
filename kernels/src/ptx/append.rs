//! The kernels that put keys and values into the cache: rotated, quantised, packed.

use super::context::Context;
use super::formats::formats;
use super::render::render_template;
use super::{Access, Family, Variant, VariantError};
use crate::format::{BlockFormat, FloatType, Grid, Rounding, ScaleRule};
use crate::fragment::bits::StoredBits;
use serde::Serialize;
use std::fmt;

/// One kernel: whether heads are rotated, and the format of the cache.
///
/// # Launch
/// Blocks of 256 threads, 8 features a thread, whole blocks of k a head. Parameters, those in brackets where the
/// format has or the kernel needs them: dst, \[dst_scales\], src, \[cos, sin\], positions, slots (u64); tokens, heads,
/// head_dim, src_stride, capacity, \[seed\] (u32). `cos` and `sin` are f32 [positions, head_dim / 2]; `positions` and `slots`
/// say where each token goes, u32 each.
///
/// The cache has rows [slot, head, position]. A row of codes is runs of 16, stored as [`crate::fragment::bits`]
/// has it, [`AppendVariant::row_bytes`] in all; of scales, one for each block of k, as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendVariant {
    rotates: bool,
    /// Of the quantising kernel whose steps the rows go through.
    quantizer: Option<Variant>,
}

/// What the template knows as `v`: of the quantising part, and of this.
#[derive(Serialize)]
struct AppendContext {
    #[serde(flatten)]
    quantizer: Option<Context>,
    kernel: String,
    description: String,
    is_quantized: bool,
    rotates: bool,
    /// Elements are rounded stochastically.
    draws: bool,
    /// Bits of a stored feature.
    bits: u32,
    /// Features that a head is padded to a multiple of.
    head_step: usize,
    is_nibbles: bool,
    is_int: bool,
    /// Words that a lane makes of its 8 codes.
    lane_words: usize,
    /// Two lanes share the words of a run.
    is_shared: bool,
    stored_shift: u32,
    stored_terms: Vec<StoredTerm>,
    zero_code: u8,
}

/// Where bits of one of a lane's four pairs go.
#[derive(Serialize)]
struct StoredTerm {
    pair: usize,
    word: usize,
    mask: u32,
    rotate: u32,
    /// Of words that two lanes share: whether it is the even lane's.
    is_even: bool,
}

impl AppendVariant {
    /// The kernel for a cache in `format`, or in bf16.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(rotates: bool, format: Option<BlockFormat>) -> Result<Self, VariantError> {
        let quantizer = format.map(|format| {
            if format.has_tensor_scale() {
                return Err(VariantError::RowScale { format });
            }
            let (family, access) = (Family::Quantize, Access::Aligned);
            Variant::new(family, format, FloatType::Bf16, access)
        });
        Ok(Self {
            rotates,
            quantizer: quantizer.transpose()?,
        })
    }

    /// Whether heads are rotated: keys are, values are not.
    pub const fn rotates(&self) -> bool {
        self.rotates
    }

    /// The format of the cache; `None` for bf16.
    pub fn format(&self) -> Option<&BlockFormat> {
        self.quantizer.as_ref().map(Variant::format)
    }

    /// Whether `seed` is a parameter.
    pub fn is_random(&self) -> bool {
        self.quantizer.is_some_and(|variant| variant.is_random())
    }

    /// Bits of a stored feature.
    pub fn bits(&self) -> u32 {
        self.format().map_or(16, |format| format.element().bits())
    }

    /// Bytes of codes of a row of the cache.
    pub fn row_bytes(&self, head_dim: usize) -> usize {
        head_dim.div_ceil(16) * 2 * self.bits() as usize
    }

    /// Bytes of scales of a row of the cache.
    pub fn row_scale_bytes(&self, head_dim: usize) -> usize {
        self.format().map_or(0, |format| {
            format.blocks_per_row(head_dim) * format.scale().storage_bytes()
        })
    }

    /// Threads that a head takes.
    pub fn head_threads(&self, head_dim: usize) -> usize {
        head_dim.next_multiple_of(self.head_step()) / 8
    }

    fn head_step(&self) -> usize {
        self.format().map_or(16, |format| format.block_size())
    }

    /// The name of the entry.
    pub fn id(&self) -> String {
        let kind = if self.rotates {
            "append_rotated"
        } else {
            "append"
        };
        match &self.quantizer {
            None => format!("{kind}_bf16__sm80"),
            Some(variant) => {
                let id = variant.id();
                let id = id.strip_prefix("quantize").unwrap_or(&id);
                format!("{kind}{}", id.replace("_aligned", ""))
            }
        }
    }

    /// Its PTX: one module with one entry, named as [`AppendVariant::id`] says.
    pub fn render(&self) -> String {
        let format = self.format();
        let element = format.map(|format| format.element());
        let stored = element.map(StoredBits::of);
        let (mut terms, mut shift) = (Vec::new(), 0);
        if let Some(StoredBits::Pairs {
            group, shift: at, ..
        }) = stored
        {
            shift = at;
            let pairs = group.pairs.len();
            for index in 0..pairs.max(4) {
                for term in group.pairs[index % pairs] {
                    terms.push(StoredTerm {
                        pair: index % 4,
                        word: index / pairs * group.words + term.word,
                        mask: term.mask,
                        rotate: term.rotate,
                        is_even: index < 4,
                    });
                }
            }
        }
        let context = AppendContext {
            quantizer: self.quantizer.as_ref().map(Context::new),
            kernel: self.id(),
            description: match format {
                None => "cache in bf16".to_owned(),
                Some(format) => format!("cache in {format}"),
            },
            is_quantized: format.is_some(),
            rotates: self.rotates,
            draws: self.is_random(),
            bits: self.bits(),
            head_step: self.head_step(),
            is_nibbles: matches!(stored, Some(StoredBits::Nibbles(_))),
            is_int: element.is_some_and(|element| matches!(element.grid(), Grid::Int(_))),
            lane_words: if self.bits() == 6 {
                3
            } else {
                self.bits() as usize / 4
            },
            is_shared: self.bits() == 6,
            stored_shift: shift,
            stored_terms: terms,
            zero_code: element.map_or(0, |element| element.encode(0.0, Rounding::Even, 0)),
        };
        render_template("append/append.ptx.j2", &context)
    }

    /// Every kernel that a registry walks: bf16, and the formats of [`Variant::all`] without a tensor scale, with
    /// the rule `floor`, `even` or that of fractions, rounded half to even or stochastically.
    pub fn all() -> impl Iterator<Item = Self> {
        let is_chosen = |format: &BlockFormat| {
            let rule = matches!(
                format.rule(),
                ScaleRule::Floor | ScaleRule::Even | ScaleRule::Nearest
            );
            let rounding = matches!(
                format.rounding(),
                Rounding::Even | Rounding::Stochastic { .. }
            );
            rule && rounding
        };
        [true, false].into_iter().flat_map(move |rotates| {
            let quantized = formats(Family::Quantize).filter(is_chosen).map(Some);
            let formats = std::iter::once(None).chain(quantized);
            formats.filter_map(move |format| Self::new(rotates, format).ok())
        })
    }
}

impl fmt::Display for AppendVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
