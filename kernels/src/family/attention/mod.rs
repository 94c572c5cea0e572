//! The attention kernels: queries against a cache of keys and values, packed or bf16.

mod context;
mod draw;
mod draw_cache;
mod expected;
mod form;
mod operands;
mod problems;
mod shaped;
mod signature;
mod split;

pub use form::ScoreForm;

use super::Family;
use crate::family::block::BLOCK_SIZES;
use crate::format::{BlockFormat, ElementFormat, ScaleFormat};
use crate::fragment::cache::{CacheFormat, RUN};
use crate::kernel::{Kernel, VariantError};
use crate::support::{Taker, support};
use std::fmt;

/// Features that a warp takes at a time: a run in each of four lanes.
const CHUNK: usize = 4 * RUN;
/// Tiles of 16 queries of a warp in prefill: each tile of keys or values that it reads serves that
/// many products.
const ROW_TILES: usize = 2;
/// Tiles of keys and values in shared memory: one is read, the other filled.
const STAGES: usize = 2;

pub(super) const FAMILY: Family = Family {
    name: "attention",
    members: &["attention"],
    templates: &[
        ("attention/decode.ptx.j2", include_str!("decode.ptx.j2")),
        ("attention/prefill.ptx.j2", include_str!("prefill.ptx.j2")),
    ],
    kernels: || Box::new(AttentionVariant::all().map(|variant| Box::new(variant) as _)),
};

/// The sequence lengths that a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionRegime {
    /// Few queries: the warps of a thread block share the keys of 8 queries, and so may several
    /// thread blocks.
    Decode,
    /// Many queries: each warp has its own, and a thread block shares the keys.
    Prefill,
}

impl AttentionRegime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Decode, Self::Prefill];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }
}

/// One kernel: the formats of keys and values, the most features of a head, and the number of
/// queries.
///
/// A *row* is a query: one head of one token. The rows [tokens, group] of a sequence share a key
/// head; `group` is the number of query heads for each key head.
///
/// Queries are bf16 [token, head, head_dim padded to runs of 16 with zeros], contexts bf16 [token,
/// head * head_dim]. [`crate::fragment::cache`] describes keys and values. `sequences` has four u32
/// for each of `sequence_count`: its first token's row in src and dst, its tokens, at most
/// `longest`, its slot in the cache, and the position of its first token. The keys and values of
/// its tokens are in the cache already. [`ScoreForm`] says which of them a query sees. In
/// [`AttentionRegime::Decode`], `splits` thread blocks
/// share the keys of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionVariant {
    keys: CacheFormat,
    values: CacheFormat,
    regime: AttentionRegime,
    form: ScoreForm,
    /// First positions are rows of bf16 beside a packed cache.
    keeps_first: bool,
    /// Chunks of a head: 1 or 2.
    chunks: usize,
}

impl AttentionVariant {
    /// The most features of a head that any kernel takes.
    pub const MAX_HEAD_DIM: usize = 2 * CHUNK;

    /// The kernel for keys and values in these formats (`None`: bf16) and heads of so many
    /// features.
    ///
    /// # Errors
    /// [`VariantError`] if there is none.
    pub fn new(
        [keys, values]: [Option<&BlockFormat>; 2],
        head_dim: usize,
        regime: AttentionRegime,
    ) -> Result<Self, VariantError> {
        let cache = |format: Option<&BlockFormat>| {
            if let Some(format) = format {
                support(format).check(Taker::CacheRead)?;
            }
            Ok::<_, VariantError>(CacheFormat::new(format))
        };
        if head_dim > Self::MAX_HEAD_DIM {
            return Err(VariantError::HeadDim { head_dim });
        }
        Ok(Self {
            keys: cache(keys)?,
            values: cache(values)?,
            regime,
            form: ScoreForm::Causal,
            keeps_first: false,
            chunks: head_dim.div_ceil(CHUNK).max(1),
        })
    }

    /// The same for scores of another form.
    #[must_use]
    pub const fn with_form(self, form: ScoreForm) -> Self {
        Self { form, ..self }
    }

    /// The same for a cache that keeps keys and values of the positions before the size `exact` as
    /// they are, in the rows `exact_keys` and `exact_values` of bf16, [slots, kv_heads, exact] of
    /// whole runs; `self` for a bf16 cache. What the cache has at these positions is not seen.
    #[must_use]
    pub const fn keeping_first(self) -> Self {
        let is_packed = matches!(self.keys, CacheFormat::Packed { .. })
            || matches!(self.values, CacheFormat::Packed { .. });
        Self {
            keeps_first: is_packed,
            ..self
        }
    }

    /// Whether `exact` is a parameter.
    pub const fn keeps_first(&self) -> bool {
        self.keeps_first
    }

    /// Which keys a query sees, and what its scores become.
    pub const fn form(&self) -> ScoreForm {
        self.form
    }

    /// How keys are stored.
    pub const fn keys(&self) -> &CacheFormat {
        &self.keys
    }

    /// How values are stored.
    pub const fn values(&self) -> &CacheFormat {
        &self.values
    }

    /// The sequence lengths that it is for.
    pub const fn regime(&self) -> AttentionRegime {
        self.regime
    }

    /// The most features of a head.
    pub const fn max_head_dim(&self) -> usize {
        self.chunks * CHUNK
    }

    /// Warps of a thread block.
    const fn warps(&self) -> usize {
        match (self.regime, self.chunks) {
            (AttentionRegime::Decode, _) => 4,
            // A thread has one run of a step of 32 keys.
            (AttentionRegime::Prefill, chunks) => 4 * chunks,
        }
    }

    /// Threads of a thread block.
    pub const fn block_threads(&self) -> u32 {
        32 * self.warps() as u32
    }

    /// Tiles of 16 keys of a step.
    const fn key_tiles(&self) -> usize {
        match self.regime {
            AttentionRegime::Decode => 2 / self.chunks,
            AttentionRegime::Prefill => 4 / self.chunks,
        }
    }

    /// Rows of a thread block.
    pub const fn block_rows(&self) -> usize {
        match self.regime {
            AttentionRegime::Decode => 8,
            AttentionRegime::Prefill => self.warps() * 16 * ROW_TILES,
        }
    }

    /// Thread blocks of one part, for sequences of at most `longest` tokens.
    pub const fn blocks(
        &self,
        sequences: usize,
        longest: usize,
        kv_heads: usize,
        group: usize,
    ) -> usize {
        (longest * group).div_ceil(self.block_rows()) * kv_heads * sequences
    }

    /// Keys that a warp, or in prefill the thread block, takes at a step. A split has whole steps.
    pub const fn step_keys(&self) -> usize {
        16 * self.key_tiles()
    }

    /// Bytes of a row in shared memory, of queries, keys and values as operands.
    const fn row_bytes(&self) -> usize {
        2 * self.max_head_dim()
    }

    /// Bytes of dynamic shared memory: tiles of keys, values and queries.
    pub const fn shared_bytes(&self) -> u32 {
        match self.regime {
            AttentionRegime::Decode => 0,
            AttentionRegime::Prefill => {
                let rows = STAGES * 2 * self.step_keys() + self.block_rows();
                (rows * self.row_bytes()) as u32
            }
        }
    }

    /// Bytes of the workspace for a thread block and split.
    pub const fn partial_bytes(&self) -> usize {
        // Sums of 8 queries, and the maximum and the weight of each.
        4 * 8 * (self.max_head_dim() + 2)
    }

    /// Every kernel of the registry: bf16, and every element of four bits and more with E8M0,
    /// UE5M3, UE4M3 and BF16 scales, for keys and values alike; bf16 and FP8 keys with FP4, FP6 and
    /// bf16 values, and FP4 keys with FP8 values. Windows and caps come with bf16, FP4 and FP8 in
    /// blocks of 32 under powers of two, and FP4 in blocks of 16 under UE5M3. Exact first positions
    /// come with these packed ones, INT4 in blocks of 16 under UE5M3, and FP4 of one side alone.
    pub fn all() -> impl Iterator<Item = Self> {
        let format = |element: ElementFormat, scale: ScaleFormat, k: usize| {
            let format = BlockFormat::new(element).scale(scale).block_size(k);
            format.build().ok()
        };
        let scales = [
            ScaleFormat::E8M0,
            ScaleFormat::UE5M3,
            ScaleFormat::UE4M3,
            ScaleFormat::Bf16,
        ];
        let alike = ElementFormat::ALL.iter().flat_map(move |&element| {
            scales.into_iter().flat_map(move |scale| {
                let ks = BLOCK_SIZES.into_iter();
                ks.filter_map(move |k| format(element, scale, k))
                    .map(|format| [Some(format), Some(format)])
            })
        });
        let mx = move |element| format(element, ScaleFormat::E8M0, 32);
        let (fp4, fp6, fp8) = (
            mx(ElementFormat::FP4_E2M1),
            mx(ElementFormat::FP6_E2M3),
            mx(ElementFormat::FP8_E4M3),
        );
        let mixed = [
            [None, None],
            [None, fp4],
            [fp8, fp4],
            [fp8, fp6],
            [fp8, None],
            [fp4, fp8],
        ];
        let causal = mixed.into_iter().chain(alike).flat_map(Self::of_caches);
        let fine = format(ElementFormat::FP4_E2M1, ScaleFormat::UE5M3, 16);
        let int4 = format(ElementFormat::INT4, ScaleFormat::UE5M3, 16);
        let one_side = [[None, fp4], [fp4, None]].into_iter();
        let both = [fp4, fp8, fine, int4].map(|format| [format, format]);
        let first = one_side.chain(both).flat_map(Self::of_caches);
        let forms = [ScoreForm::Window, ScoreForm::Capped].into_iter();
        let formed = forms.flat_map(move |form| {
            let caches = [None, fp4, fp8, fine].into_iter();
            let variants = caches.flat_map(|format| Self::of_caches([format, format]));
            variants.map(move |variant| variant.with_form(form))
        });
        let formed = formed.flat_map(|variant| {
            let packed = variant.keys != CacheFormat::Dense;
            std::iter::once(variant).chain(packed.then(|| variant.keeping_first()))
        });
        let first = first.map(Self::keeping_first);
        causal.chain(first).chain(formed)
    }

    /// The kernels for keys and values in these formats.
    fn of_caches([keys, values]: [Option<BlockFormat>; 2]) -> impl Iterator<Item = Self> {
        [CHUNK, 2 * CHUNK].into_iter().flat_map(move |head_dim| {
            let regimes = AttentionRegime::ALL.into_iter();
            regimes.filter_map(move |regime| {
                Self::new([keys.as_ref(), values.as_ref()], head_dim, regime).ok()
            })
        })
    }
}

/// A cache's format in names.
fn name(cache: &CacheFormat) -> String {
    match cache {
        CacheFormat::Dense => "bf16".to_owned(),
        CacheFormat::Packed {
            element,
            scale,
            block_size,
        } => format!("{element}_{scale}_k{block_size}"),
    }
}

impl fmt::Display for AttentionVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.id())
    }
}
