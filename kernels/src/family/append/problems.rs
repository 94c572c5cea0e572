//! Problems of the append kernels, and their expected outputs. The size `slots` counts the
//! sequences of the cache.

use super::{AppendVariant, HeadKind, expected};
use crate::family::macros::rotated::RotatedBlocks;
use crate::format::{BlockFormat, FloatType, FormatError, Hadamard, Rounding};
use crate::registry::{
    ElementType, Entry, EntryError, Expected, Grid, Place, Problem, ProblemError, Sampled, Shape,
    Tensor, Typical,
};
use rand::Rng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

impl AppendVariant {
    pub(super) fn seeded_format(&self, seed: u32) -> Option<BlockFormat> {
        let format = *self.format()?;
        let seeded = format.to_builder().rounding(Rounding::Stochastic { seed });
        match format.rounding() {
            Rounding::Stochastic { .. } => seeded.build().ok(),
            _ => Some(format),
        }
    }

    /// The Hadamard matrix and signs of heads of a problem; `None` if they are not mixed.
    pub(super) fn mixing(&self, problem: &Problem) -> Result<Option<Hadamard>, EntryError> {
        let Some(blocks) = self.mixed else {
            return Ok(None);
        };
        let seed = problem.sizes.get("rotation_seed").copied().unwrap_or(0);
        let head_dim = problem.size("head_dim")?;
        let mixing = blocks.of_rows(seed as u32, head_dim);
        Ok(Some(mixing.map_err(|error: FormatError| {
            unfit("head_dim", error.to_string())
        })?))
    }

    /// Rows that are written, of a problem.
    pub(super) fn rows(&self, problem: &Problem) -> Result<usize, EntryError> {
        let places = match self.kind() {
            HeadKind::Queries => problem.size("tokens")?,
            HeadKind::Keys | HeadKind::Values => {
                problem.size("slots")? * problem.size("capacity")?
            }
        };
        Ok(places * problem.size("heads")?)
    }
}

fn unfit(name: &str, reason: String) -> EntryError {
    let name = name.to_owned();
    EntryError::Problem(ProblemError::Unfit { name, reason })
}

/// Makes the first head of the first token, at `position`, one that shows how its mixing rounds:
/// angles leave it as it is.
fn on_edge(
    blocks: RotatedBlocks,
    rng: &mut ChaCha8Rng,
    mut problem: Problem,
    position: usize,
) -> Problem {
    let [head_dim, rotary] = ["head_dim", "rotary"].map(|name| problem.sizes[name] as usize);
    let half = rotary / 2;
    for (name, turn) in [("cos", 1f32), ("sin", 0.0)] {
        if let Some(table) = problem.tensors.get_mut(name) {
            table.bits[position * half..][..half].fill(turn.to_bits());
        }
    }
    blocks.on_edge(rng, &mut problem, head_dim);
    problem
}

impl Entry for AppendVariant {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let head_dim: usize = match rng.random_range(0..3) {
            0 => [8, 64, 80, 96, 128][rng.random_range(0..5)],
            _ => 2 * rng.random_range(1..=72),
        };
        let head_dim = head_dim.next_multiple_of(self.mixed.map_or(1, RotatedBlocks::size));
        let heads = rng.random_range(1..=4);
        let tokens = rng.random_range(1..=(elements / (heads * head_dim)).clamp(1, 40));
        let src_stride = heads * head_dim + rng.random_range(0..5);
        let slots = rng.random_range(1..=3);
        let capacity = rng.random_range(tokens.div_ceil(slots)..=tokens + 5);
        // No two tokens at one place.
        let places = sample(rng, slots * capacity, tokens).into_vec();
        let word = |n: usize| n as u32;
        let u32s = |bits| Tensor {
            element: ElementType::U32,
            bits,
        };
        let spread = rng.random_range(0..8);
        let len = (tokens - 1) * src_stride + heads * head_dim;
        let mut value = || match rng.random_range(0..300) {
            0 => [f32::NAN, f32::INFINITY, -0.0][rng.random_range(0..3)],
            1..20 => 0.0,
            _ => 2f32.powi(rng.random_range(-spread..=0)) * rng.random_range(-2.0..2.0),
        };
        let values: Vec<f32> = (0..len).map(|_| value()).collect();
        let rotary = match self.is_partial() {
            // None, all, or some.
            true => match rng.random_range(0..4) {
                0 => 0,
                1 => head_dim,
                _ => 2 * rng.random_range(0..=head_dim / 2),
            },
            false => head_dim,
        };
        let turn = |rng: &mut ChaCha8Rng| {
            let count = capacity * (rotary / 2);
            let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect();
            let values: Vec<f32> = values.iter().map(|&x| FloatType::Bf16.round(x)).collect();
            Tensor::of_values(&values, FloatType::F32)
        };
        let (cos, sin) = (turn(rng), turn(rng));
        let problem = Problem::new(
            [
                ("tokens", tokens),
                ("heads", heads),
                ("head_dim", head_dim),
                ("rotary", rotary),
                ("src_stride", src_stride),
                ("slots", slots),
                ("capacity", capacity),
                ("seed", rng.random::<u32>() as usize),
                ("rotation_seed", rng.random::<u32>() as usize),
            ],
            [
                ("src", Tensor::of_values(&values, FloatType::Bf16)),
                ("cos", cos),
                ("sin", sin),
                (
                    "positions",
                    u32s(places.iter().map(|place| word(place % capacity)).collect()),
                ),
                (
                    "slot_of",
                    u32s(places.iter().map(|place| word(place / capacity)).collect()),
                ),
            ],
        );
        let mut problem = match self.mixed {
            Some(blocks) if rng.random() => on_edge(blocks, rng, problem, places[0] % capacity),
            _ => problem,
        };
        if self.keeps_first() {
            let exact = rng.random_range(1..=capacity as u64 + 1);
            problem.sizes.insert("exact".to_owned(), exact);
        }
        problem
    }

    /// The tokens of one sequence, which fill its slot.
    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        if self.rotates() && cols % 2 == 1 {
            let reason = format!("heads of {cols} features; expected an even number");
            return Err(unfit("cols", reason));
        }
        let heads = shape.heads();
        let (tokens, src_stride) = (rows / heads, heads * cols);
        let src = Typical::draw(rng, tokens, src_stride).dense(FloatType::Bf16, src_stride);
        // Three quarters, as in Phi-4-mini.
        let rotary = match self.is_partial() {
            true => cols * 3 / 8 * 2,
            false => cols,
        };
        let half = (rotary / 2).max(1);
        let turn = Typical::draw(rng, tokens, half);
        let turn = |of: fn(f32) -> f32| {
            let mut turn = turn.dense(FloatType::F32, half);
            for bits in &mut turn.bits {
                *bits = FloatType::Bf16.round(of(f32::from_bits(*bits))).to_bits();
            }
            turn
        };
        let u32s = |bits| Tensor {
            element: ElementType::U32,
            bits,
        };
        Ok(Problem::new(
            [
                ("tokens", tokens),
                ("heads", heads),
                ("head_dim", cols),
                ("rotary", rotary),
                ("src_stride", src_stride),
                ("slots", 1),
                ("capacity", tokens),
                ("seed", rng.random::<u32>() as usize),
                ("rotation_seed", rng.random::<u32>() as usize),
                ("exact", 1),
            ],
            [
                ("src", src),
                ("cos", turn(f32::cos)),
                ("sin", turn(f32::sin)),
                ("positions", u32s((0..tokens as u32).collect())),
                ("slot_of", u32s(vec![0; tokens])),
            ],
        ))
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        ["tokens", "heads", "head_dim"].map(size).iter().product()
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        expected::expected(self, problem)
    }

    /// Heads of tokens.
    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        Ok(Some(Grid {
            size: [problem.size("tokens")?, problem.size("heads")?],
            block: [1, 1],
            outputs: problem.size("head_dim")?,
        }))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        expected::expected_at(self, problem, places)
    }
}
