//! Problems of the log_probs kernel, and their expected outputs.

use super::LogProbs;
use crate::format::FloatType;
use crate::kernel::{Kernel, rows_alone};
use crate::reference::log_probs;
use crate::registry::{
    ElementType, Elements, Entry, EntryError, Expected, Grid, Outputs, Place, Problem, Sampled,
    Shape, Tensor, Typical, exactly,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

impl Entry for LogProbs {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let cols = match rng.random_range(0..4) {
            // More than a thread block takes at once.
            0 => rng.random_range(2049..=5000),
            _ => rng.random_range(1..=2 * elements.max(1)),
        };
        let rows = rng.random_range(1..=5);
        let src_stride = cols.next_multiple_of(8) + 8 * rng.random_range(0..2);
        let len = (rows - 1) * src_stride + cols.next_multiple_of(8);
        let mut values = vec![f32::INFINITY; len];
        for row in values.chunks_mut(src_stride) {
            let spread = 2f32.powi(rng.random_range(-4..8));
            // Few values, so that the greatest occurs often.
            let is_coarse = rng.random();
            for x in &mut row[..cols] {
                let value = spread * rng.random_range(-1.0f32..1.0);
                *x = if is_coarse { value.round() } else { value };
                if rng.random_ratio(1, 64) {
                    *x = f32::NEG_INFINITY;
                }
            }
            // One finite, or the sum is of no numbers.
            row[rng.random_range(0..cols)] = spread * rng.random_range(-1.0f32..1.0);
        }
        let target = |_| rng.random_range(0..cols as u32);
        let bits = (0..rows).map(target).collect();
        let element = ElementType::U32;
        Problem::new(
            [("rows", rows), ("cols", cols), ("src_stride", src_stride)],
            [
                ("src", Tensor::of_values(&values, FloatType::Bf16)),
                ("targets", Tensor { element, bits }),
            ],
        )
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        let src_stride = cols.next_multiple_of(8);
        let src = Typical::draw(rng, rows, cols).dense(FloatType::Bf16, src_stride);
        let target = |_| rng.random_range(0..cols as u32);
        let bits = (0..rows).map(target).collect();
        let element = ElementType::U32;
        Ok(Problem::new(
            [("rows", rows), ("cols", cols), ("src_stride", src_stride)],
            [("src", src), ("targets", Tensor { element, bits })],
        ))
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        size("rows").saturating_mul(size("cols"))
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let src = problem.tensor("src")?.values();
        let [mut max, mut argmax, mut sum, mut target] = [const { Vec::<u32>::new() }; 4];
        for row in 0..rows {
            let x = &src[row * problem.size("src_stride")?..][..cols];
            let of = log_probs(x);
            max.push(of.max.to_bits());
            argmax.push(of.argmax as u32);
            let bits = of.sum.to_bits();
            sum.extend([bits as u32, (bits >> 32) as u32]);
            target.push(x[problem.tensor("targets")?.bits[row] as usize].to_bits());
        }
        let tensor = |bits| Tensor {
            element: ElementType::U32,
            bits,
        };
        Ok(exactly(Outputs::from([
            ("dst_max", tensor(max)),
            ("dst_argmax", tensor(argmax)),
            ("dst_sum", tensor(sum)),
            ("dst_target", tensor(target)),
        ])))
    }

    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        // A row has five words of results.
        Ok(Some(Grid {
            size: [problem.size("rows")?, 1],
            block: [1, 1],
            outputs: 5,
        }))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        let (rows, cols) = (problem.size("rows")?, problem.size("cols")?);
        let mut sampled = Sampled::default();
        for (name, words) in [
            ("dst_max", 1),
            ("dst_argmax", 1),
            ("dst_sum", 2),
            ("dst_target", 1),
        ] {
            sampled.insert(name, Elements::exactly(words * rows, ElementType::U32));
        }
        for &[row, _] in places {
            let first = row * problem.size("src_stride")?;
            let part = Problem::new(
                [("rows", 1), ("cols", cols), ("src_stride", cols)],
                [
                    ("src", problem.part("src", first..first + cols)?),
                    ("targets", problem.part("targets", row..row + 1)?),
                ],
            );
            let expected = self.reference(&part)?;
            sampled.add_part(expected, |name| match name {
                "dst_sum" => [2 * row, 1],
                _ => [row, 1],
            });
        }
        Ok(sampled)
    }

    fn smaller(&self, problem: &Problem) -> Vec<Problem> {
        rows_alone(&self.signature(), problem)
    }
}
