//! Kernels that rotate, quantise and pack: keys and values into the cache, queries for attention.

mod expected;
mod kernel;
mod problems;

use super::Family;
use crate::family::block::{
    Addressing, BlockOperation, BlockVariant, Context, formats, is_headline, is_usual,
};
use crate::family::macros::rotated::{RotatedBlocks, RotationContext};
use crate::format::{BlockFormat, ElementFormat, FloatType, Hadamard, ScaleFormat};
use crate::fragment::cache::CacheFormat;
use crate::kernel::VariantError;
use crate::support::{Taker, support};
use serde::Serialize;

pub(super) const FAMILY: Family = Family {
    name: "append",
    members: &["append"],
    templates: &[("append/append.ptx.j2", include_str!("append.ptx.j2"))],
    kernels: || Box::new(AppendVariant::all().map(|variant| Box::new(variant) as _)),
};

/// What the heads are: keys, values or queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadKind {
    /// Rotated and appended.
    Keys,
    /// Appended.
    Values,
    /// Rotated; written as rows [token, head], not to a cache.
    Queries,
}

/// The most features that are mixed: those of the longest head that attention takes.
const LARGEST_MIXED: usize = 128;

/// One kernel: the kind of heads and the format of the cache. A thread takes 8 features; a head has
/// whole blocks of k.
///
/// `cos` and `sin` are f32 [positions, head_dim / 2], or of the size `rotary` instead, for all
/// positions that occur. A token goes to
/// position `positions[token]`, below `capacity`, of sequence `slot_of[token]`, below `slots`; no
/// two tokens go to one place. Queries go to rows [tokens, heads]. [`crate::fragment::cache`]
/// describes the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AppendVariant {
    kind: HeadKind,
    /// The quantising kernel whose steps apply to the rows.
    quantizer: Option<BlockVariant>,
    /// The cache holds the dequantised values, in bf16.
    is_fake: bool,
    /// Only the first features of a head are rotated.
    is_partial: bool,
    /// Blocks of a head that are mixed by a Hadamard matrix after that.
    mixed: Option<RotatedBlocks>,
    /// The first positions of a sequence stay as they are.
    keeps_first: bool,
}

/// `v` in the template: the quantising part, and what this family adds.
#[derive(Serialize)]
struct AppendContext {
    #[serde(flatten)]
    quantizer: Option<Context>,
    description: String,
    is_quantized: bool,
    is_fake: bool,
    is_partial: bool,
    rotates: bool,
    rotation: Option<RotationContext>,
    keeps_first: bool,
    /// There is a cache.
    appends: bool,
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

/// Where the bits of one of a lane's four pairs go.
#[derive(Serialize)]
struct StoredTerm {
    pair: usize,
    word: usize,
    mask: u32,
    rotate: u32,
    /// Whether the even one of two lanes that share words provides the bits.
    is_even: bool,
}

impl AppendVariant {
    /// The kernel for a cache in `format`; `None` for bf16, which queries always are.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(kind: HeadKind, format: Option<BlockFormat>) -> Result<Self, VariantError> {
        let format = format.filter(|_| kind != HeadKind::Queries);
        let quantizer = format.map(|format| {
            support(&format).check(Taker::CacheWrite)?;
            let (family, access) = (BlockOperation::Quantize, Addressing::Aligned);
            BlockVariant::new(family, format, FloatType::Bf16, access)
        });
        Ok(Self {
            kind,
            quantizer: quantizer.transpose()?,
            is_fake: false,
            is_partial: false,
            mixed: None,
            keeps_first: false,
        })
    }

    /// The kernel for a bf16 cache of keys or values that were quantised to `format` and
    /// dequantised.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn fake(kind: HeadKind, format: BlockFormat) -> Result<Self, VariantError> {
        let packed = Self::new(kind, Some(format))?;
        let (family, access) = (BlockOperation::FakeQuantize, Addressing::Aligned);
        let fake = |_| BlockVariant::new(family, format, FloatType::Bf16, access);
        Ok(Self {
            quantizer: packed.quantizer.map(fake).transpose()?,
            is_fake: packed.quantizer.is_some(),
            ..packed
        })
    }

    /// The kernel that rotates only the first features of a head, as many as the size `rotary`, and
    /// keeps the others; `self` if it rotates none.
    #[must_use]
    pub const fn partial(self) -> Self {
        Self {
            is_partial: self.rotates(),
            ..self
        }
    }

    /// The kernel that, after the rotation by angles, rotates each head by a Hadamard matrix and
    /// rounds it to bf16 again. The seed of signs is the size `rotation_seed`.
    ///
    /// # Errors
    /// [`VariantError::HeadRotation`] unless it has blocks of 8 to 128 features, a power of two.
    pub fn mixed(self, by: &Hadamard) -> Result<Self, VariantError> {
        let size = by.size();
        let blocks = RotatedBlocks::new(size, by.seed().is_some());
        let blocks = blocks.filter(|_| self.rotates() && size <= LARGEST_MIXED);
        Ok(Self {
            mixed: Some(blocks.ok_or(VariantError::HeadRotation { size })?),
            ..self
        })
    }

    /// The kernel that leaves the positions before the size `exact` as they are: in bf16 rows
    /// `dst_exact` [slots, heads, exact] of whole runs, beside their codes; among the others where
    /// the cache holds dequantised values. `self` where nothing is quantised.
    #[must_use]
    pub const fn keeping_first(self) -> Self {
        Self {
            keeps_first: self.quantizer.is_some(),
            ..self
        }
    }

    /// Whether `exact` is a parameter.
    pub const fn keeps_first(&self) -> bool {
        self.keeps_first
    }

    /// Whether `dst_exact` is a parameter.
    pub const fn has_exact_rows(&self) -> bool {
        self.keeps_first && !self.is_fake
    }

    /// Whether `rotation_seed` is a parameter.
    pub fn has_signs(&self) -> bool {
        self.mixed.is_some_and(RotatedBlocks::has_signs)
    }

    /// What the heads are: keys, values or queries.
    pub const fn kind(&self) -> HeadKind {
        self.kind
    }

    /// Whether heads are rotated.
    pub const fn rotates(&self) -> bool {
        !matches!(self.kind, HeadKind::Values)
    }

    /// Whether `rotary` is a parameter.
    pub const fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Whether quantised values are stored as bf16.
    pub const fn is_fake(&self) -> bool {
        self.is_fake
    }

    /// The format of keys or values; `None` for bf16.
    pub fn format(&self) -> Option<&BlockFormat> {
        self.quantizer.as_ref().map(BlockVariant::format)
    }

    /// Whether `seed` is a parameter.
    pub fn is_random(&self) -> bool {
        self.quantizer.is_some_and(|variant| variant.is_random())
    }

    /// The format of the cache's rows.
    pub fn cache(&self) -> CacheFormat {
        CacheFormat::new(self.format().filter(|_| !self.is_fake))
    }

    fn bits(&self) -> u32 {
        self.cache().bits()
    }

    fn head_step(&self) -> usize {
        self.format().map_or(16, |format| format.block_size())
    }

    /// Every kernel of the registry: the one for queries; for keys and values bf16, and the formats
    /// of [`BlockVariant::all`] without a tensor scale, with the rule `floor`, `even` or that of
    /// fractions, rounded half to even or stochastically. Formats with E8M0 and UE5M3 and k = 32
    /// also come dequantised to bf16. Queries, bf16 and the formats of
    /// [`is_headline`](crate::family::block) also come partly rotated. Queries, and keys in these
    /// formats and in INT4 with UE5M3, also come mixed in blocks of every size. Keys, mixed in
    /// blocks of 64 or not, and values, also come with exact first positions.
    pub fn all() -> impl Iterator<Item = Self> {
        let appends = [HeadKind::Keys, HeadKind::Values].into_iter();
        let appends = appends.flat_map(move |kind| {
            let quantized = formats(BlockOperation::Quantize).filter(is_usual).map(Some);
            let formats = std::iter::once(None).chain(quantized);
            formats.filter_map(move |format| Self::new(kind, format).ok())
        });
        let is_chosen_fake = |format: &BlockFormat| {
            format.block_size() == 32
                && matches!(
                    format.scale(),
                    ScaleFormat::E8M0 { bits: 8 } | ScaleFormat::UE5M3
                )
        };
        let kinds = [HeadKind::Keys, HeadKind::Values].into_iter();
        let fakes = kinds.flat_map(move |kind| {
            let formats = formats(BlockOperation::FakeQuantize).filter(is_usual);
            let formats = formats.filter(is_chosen_fake);
            formats.filter_map(move |format| Self::fake(kind, format).ok())
        });
        let whole = Self::new(HeadKind::Queries, None).into_iter();
        let whole = whole.chain(appends).chain(fakes);
        let all = whole.flat_map(|variant| {
            let has_partial = variant.rotates() && variant.format().is_none_or(is_headline);
            [Some(variant), has_partial.then(|| variant.partial())]
        });
        all.flatten().flat_map(|variant| {
            let is_chosen = variant.format().is_some_and(is_chosen);
            let has_mixed = match variant.kind {
                HeadKind::Queries => true,
                HeadKind::Keys => is_chosen,
                HeadKind::Values => false,
            };
            let sizes = RotatedBlocks::SIZES.into_iter();
            let sizes = sizes.filter(move |&size| has_mixed && size <= LARGEST_MIXED);
            let mixed = sizes.flat_map(RotatedBlocks::of_size).map(Some);
            std::iter::once(None).chain(mixed).flat_map(move |mixed| {
                let all_pack = Self { mixed, ..variant };
                let has_first = is_chosen
                    && mixed.is_none_or(|blocks| blocks.size() == 64 && !blocks.has_signs());
                let keeps = has_first.then(|| all_pack.keeping_first());
                std::iter::once(all_pack).chain(keeps)
            })
        })
    }
}

/// Whether keys in the format also come mixed, and keys and values with exact first positions.
fn is_chosen(format: &BlockFormat) -> bool {
    let int4 = BlockFormat::new(ElementFormat::INT4)
        .scale(ScaleFormat::UE5M3)
        .block_size(16)
        .build();
    is_headline(format) || int4.is_ok_and(|int4| int4 == *format)
}
