//! Problems of the sample kernel, and their expected outputs.

use super::Sample;
use crate::format::FloatType;
use crate::kernel::{Kernel, rows_alone};
use crate::reference::{SampleError, Sampling, sample};
use crate::registry::{
    ElementType, Elements, Entry, EntryError, Expected, Grid, Outputs, Place, Problem,
    ProblemError, Sampled, Shape, Tensor, Typical, exactly,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Of two numbers with different outcomes, two neighbours between them whose outcomes differ; one
/// of these.
fn edge<T: PartialEq>(rng: &mut ChaCha8Rng, ends: [u32; 2], outcome: impl Fn(u32) -> T) -> u32 {
    let [mut low, mut high] = ends;
    let first = outcome(low);
    if first == outcome(high) {
        return ends[rng.random_range(0..2)];
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match outcome(middle) == first {
            true => low = middle,
            false => high = middle,
        }
    }
    [low, high][rng.random_range(0..2)]
}

/// A row of logits.
fn draw(rng: &mut ChaCha8Rng, row: &mut [f32]) {
    let spread = 2f32.powi(rng.random_range(-3..6));
    let offset = spread * rng.random_range(-2.0f32..2.0);
    // Few values, so that there are ties; one value, so that weights are whole.
    let style = rng.random_range(0..6);
    for x in row.iter_mut() {
        let value = spread * rng.random_range(-1.0f32..1.0);
        *x = match style {
            0 => offset,
            1 | 2 => value.round() + offset,
            3 => value.round(),
            _ => value + offset,
        };
        if rng.random_ratio(1, 64) {
            *x = [f32::NEG_INFINITY, 0.0, -0.0][rng.random_range(0..3)];
        }
    }
    if rng.random_ratio(1, 24) {
        row.fill(f32::NEG_INFINITY);
    }
    if rng.random_ratio(1, 16) {
        let wrong = [f32::NAN, -f32::NAN, f32::INFINITY];
        row[rng.random_range(0..row.len())] = wrong[rng.random_range(0..3)];
    }
    // The last column is the first that a wrong bound leaves out.
    if rng.random_ratio(1, 8) {
        row[row.len() - 1] = spread + offset;
    }
}

impl Entry for Sample {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let cols = match rng.random_range(0..8) {
            // More than a thread block takes at once.
            0 => rng.random_range(4097..=6000),
            1 => rng.random_range(1..=8),
            _ => rng.random_range(1..=2 * elements.max(1)),
        };
        let rows = rng.random_range(1..=4);
        let src_stride = cols.next_multiple_of(8) + 8 * rng.random_range(0..2);
        let len = (rows - 1) * src_stride + cols.next_multiple_of(8);
        let mut values = vec![f32::NAN; len];
        for row in values.chunks_mut(src_stride) {
            draw(rng, &mut row[..cols]);
        }
        let src = Tensor::of_values(&values, FloatType::Bf16);
        let values = src.values();

        let row = |index: usize| &values[index * src_stride..][..cols];
        let temperature = match rng.random_range(0..8) {
            0 => 0.0,
            1 => 1.0,
            _ => 2f32.powf(rng.random_range(-3.0..5.0)),
        };
        let mut sampling = Sampling {
            temperature,
            top_p: 1.0,
        };
        if rng.random_ratio(3, 4) {
            // Where the nucleus changes, or anywhere.
            let ends = [rng.random_range(1e-6f32..1.0), 1.0].map(f32::to_bits);
            let random = rng.random();
            let bits = edge(rng, ends, |top_p| {
                let top_p = f32::from_bits(top_p);
                sample(row(0), &Sampling { top_p, ..sampling }, random).ok()
            });
            sampling.top_p = f32::from_bits(bits);
        }
        let random = |index| match rng.random_range(0..4) {
            0 => [0, u32::MAX][rng.random_range(0..2)],
            1 => rng.random(),
            _ => {
                let ends = [0, rng.random()];
                edge(rng, ends, |random| {
                    sample(row(index), &sampling, random).ok()
                })
            }
        };
        let bits = (0..rows).map(random).collect();
        let element = ElementType::U32;
        let scalar = |x: f32| Tensor::of_values(&[x], FloatType::F32);
        Problem::new(
            [("rows", rows), ("cols", cols), ("src_stride", src_stride)],
            [
                ("random", Tensor { element, bits }),
                ("temperature", scalar(sampling.temperature)),
                ("top_p", scalar(sampling.top_p)),
                ("src", src),
            ],
        )
    }

    /// With the temperature and the nucleus that Llama 3 is sampled with.
    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        let src_stride = cols.next_multiple_of(8);
        let src = Typical::draw(rng, rows, cols).dense(FloatType::Bf16, src_stride);
        let bits = (0..rows).map(|_| rng.random()).collect();
        let element = ElementType::U32;
        let scalar = |x: f32| Tensor::of_values(&[x], FloatType::F32);
        Ok(Problem::new(
            [("rows", rows), ("cols", cols), ("src_stride", src_stride)],
            [
                ("random", Tensor { element, bits }),
                ("temperature", scalar(0.6)),
                ("top_p", scalar(0.9)),
                ("src", src),
            ],
        ))
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let (src, random) = (problem.tensor("src")?.values(), problem.tensor("random")?);
        let (stride, sampling) = (problem.size("src_stride")?, sampling(problem)?);
        let mut bits = Vec::new();
        for (row, &random) in random.bits.iter().enumerate().take(rows) {
            let token = match sample(&src[row * stride..][..cols], &sampling, random) {
                Ok(token) => token,
                Err(SampleError::Logit { .. } | SampleError::NoneFinite) => Sample::NO_TOKEN,
                Err(error) => return Err(unfit("src", &error).into()),
            };
            bits.push(token);
        }
        let element = ElementType::U32;
        let tokens = Tensor { element, bits };
        Ok(exactly(Outputs::from([("dst", tokens)])))
    }

    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        Ok(Some(Grid {
            size: [problem.size("rows")?, 1],
            block: [1, 1],
            outputs: 1,
        }))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let mut sampled = Sampled::default();
        sampled.insert("dst", Elements::exactly(rows, ElementType::U32));
        for &[row, _] in places {
            let first = row * problem.size("src_stride")?;
            let part = Problem::new(
                [("rows", 1), ("cols", cols), ("src_stride", cols)],
                [
                    ("src", problem.part("src", first..first + cols)?),
                    ("random", problem.part("random", row..row + 1)?),
                    ("temperature", problem.tensor("temperature")?.clone()),
                    ("top_p", problem.tensor("top_p")?.clone()),
                ],
            );
            sampled.add_part(self.reference(&part)?, |_| [row, 1]);
        }
        Ok(sampled)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        rows_alone(&self.signature(), problem)
    }
}

fn unfit(name: &str, reason: &SampleError) -> ProblemError {
    ProblemError::Unfit {
        name: name.to_owned(),
        reason: reason.to_string(),
    }
}

/// How a problem's tokens are chosen.
fn sampling(problem: &Problem) -> Result<Sampling, ProblemError> {
    let scalar = |name: &str| {
        let missing = || ProblemError::Missing(name.to_owned());
        let values = problem.tensor(name)?.values();
        values.first().copied().ok_or_else(missing)
    };
    let sampling = Sampling {
        temperature: scalar("temperature")?,
        top_p: scalar("top_p")?,
    };
    sampling.check().map_err(|error| unfit("top_p", &error))?;
    Ok(sampling)
}
