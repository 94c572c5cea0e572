//! Problems of a shape, as models have them.

use super::problems::Side;
use super::{AttentionRegime, AttentionVariant, ScoreForm};
use crate::format::{BlockFormat, FloatType};
use crate::fragment::cache::{CacheFormat, RUN};
use crate::kernel::SplitLimits;
use crate::registry::Typical;
use crate::registry::{ElementType, EntryError, Problem, ProblemError, Shape, Tensor};
use rand_chacha::ChaCha8Rng;

/// Query heads that share a key head, as in Llama 3 8B.
const GROUP: usize = 4;

/// The last tokens of one sequence that fills the cache.
pub(super) struct Last {
    kv_heads: usize,
    tokens: usize,
    positions: usize,
}

impl Last {
    pub fn of(variant: &AttentionVariant, shape: Shape) -> Result<Self, ProblemError> {
        let Shape { rows, tokens, .. } = shape.check()?;
        let kv_heads = shape.heads();
        let positions = rows / kv_heads;
        let few = match variant.regime() {
            AttentionRegime::Decode => 1,
            AttentionRegime::Prefill => variant.block_rows() / GROUP,
        };
        let tokens = tokens.unwrap_or(few.min(positions));
        match tokens <= positions {
            true => Ok(Self {
                kv_heads,
                tokens,
                positions,
            }),
            false => Err(ProblemError::Unfit {
                name: "tokens".to_owned(),
                reason: format!("{tokens} are more than the cache's {positions} positions"),
            }),
        }
    }

    /// Pairs of a query and a key that it sees.
    pub const fn pairs(&self) -> u64 {
        let past = self.positions - self.tokens;
        let seen = self.tokens * past + self.tokens * (self.tokens + 1) / 2;
        (self.kv_heads * GROUP * seen) as u64
    }

    /// How often a key is read: by all thread blocks that have rows that see it, on average.
    pub fn times_read(&self, variant: &AttentionVariant) -> f64 {
        let blocks = variant.blocks(1, self.tokens, 1, GROUP);
        let rows = self.tokens * GROUP * self.kv_heads * self.positions;
        blocks as f64 * self.pairs() as f64 / rows as f64
    }
}

/// Split as for a device that `thread_blocks` fill.
pub(super) fn problem_of(
    variant: &AttentionVariant,
    rng: &mut ChaCha8Rng,
    shape: Shape,
    thread_blocks: usize,
) -> Result<Problem, EntryError> {
    let Last {
        kv_heads,
        tokens,
        positions,
    } = Last::of(variant, shape)?;
    let (head_dim, heads) = (shape.cols, kv_heads * GROUP);
    let blocks = variant.blocks(1, tokens, kv_heads, GROUP);
    let splits = variant.splits(&SplitLimits::new(thread_blocks), blocks, positions);
    let scale = (1.0 / (head_dim as f64).sqrt()) as f32;
    let sequence = [0, tokens, 0, positions - tokens];
    let sequences = Tensor {
        element: ElementType::U32,
        bits: sequence.map(|n| n as u32).to_vec(),
    };
    let src = Typical::draw(rng, tokens * heads, head_dim);
    let src = src.dense(FloatType::Bf16, head_dim.next_multiple_of(RUN));
    let mut problem = Problem::new(
        [
            ("tokens", tokens),
            ("kv_heads", kv_heads),
            ("group", GROUP),
            ("head_dim", head_dim),
            ("slots", 1),
            ("capacity", positions),
            ("splits", splits),
            ("dst_stride", heads * head_dim),
            ("scale_bits", scale.to_bits() as usize),
        ],
        [("sequences", sequences), ("src", src)],
    );
    // Every query sees all keys: the cost is that of the causal kernel.
    let mut insert = |name: &str, size| problem.sizes.insert(name.to_owned(), size);
    if variant.form().has_window() {
        insert("window", ScoreForm::NO_WINDOW as u64);
    }
    if variant.form().has_cap() {
        insert("cap_bits", u64::from(50f32.to_bits()));
    }
    if variant.keeps_first() {
        insert("exact", 1);
    }
    for side in variant.sides() {
        side.fill(rng, shape, &mut problem)?;
        if let Some(exact) = side.exact {
            let rows = Typical::draw(rng, kv_heads, head_dim);
            let rows = rows.dense(FloatType::Bf16, head_dim);
            problem.tensors.insert(exact.to_owned(), rows);
        }
    }
    Ok(problem)
}

impl Side {
    /// Rows of the cache.
    fn fill(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        problem: &mut Problem,
    ) -> Result<(), EntryError> {
        let rows = Typical::draw(rng, shape.rows, shape.cols);
        let mut insert = |name: &str, tensor| problem.tensors.insert(name.to_owned(), tensor);
        let CacheFormat::Packed {
            element,
            scale,
            block_size,
        } = self.format
        else {
            insert(self.codes, rows.dense(FloatType::Bf16, shape.cols));
            return Ok(());
        };
        let format = BlockFormat::new(element).scale(scale);
        let format = format.block_size(block_size).build()?;
        let packed = rows.packed(&format, FloatType::Bf16)?;
        insert(self.codes, packed.codes());
        insert(self.scales, packed.scales()?);
        Ok(())
    }
}
