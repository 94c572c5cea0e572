//! The norm of each head of queries or keys.

use super::draw::{Spread, draw, matrix, scale_on_edge};
use crate::family::macros::render_kernel;
use crate::format::FloatType;
use crate::kernel::{ElementType, Kernel, KernelId, Signature, rows, size};
use crate::reference::{head_norm, head_squares};
use crate::registry::{
    Elements, Entry, EntryError, Expected, Grid, Outputs, Place, Problem, Sampled, Shape, Tensor,
    Typical, UNTOUCHED, exactly,
};
use mxlab_harness::assemble::Target;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Warps of a thread block, a head each.
const WARPS: usize = 8;

/// One kernel: heads of tokens [tokens, heads * head_dim], each with a norm of its own; the gain is
/// the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeadNorm {
    is_once: bool,
}

/// `v` in the template.
#[derive(Serialize)]
struct Context {
    is_once: bool,
    warps: usize,
    /// Features of a lane.
    steps: usize,
}

impl HeadNorm {
    /// The most features of a head.
    pub const MAX_HEAD_DIM: usize = 256;

    /// Every kernel there is.
    pub const ALL: [Self; 2] = [Self::new(false), Self::new(true)];

    /// The kernel that rounds `once`, after the gain, or before the gain too.
    pub const fn new(is_once: bool) -> Self {
        Self { is_once }
    }

    fn sizes(problem: &Problem) -> Result<[usize; 5], EntryError> {
        let size = |name| Ok::<_, EntryError>(problem.size(name)?);
        Ok([
            size("tokens")?,
            size("heads")?,
            size("head_dim")?,
            size("src_stride")?,
            size("dst_stride")?,
        ])
    }

    /// The bits of a head of a token.
    fn head(&self, problem: &Problem, token: usize, head: usize) -> Result<Vec<u32>, EntryError> {
        let [_, _, head_dim, stride, _] = Self::sizes(problem)?;
        let first = token * stride + head * head_dim;
        let x = problem.part("src", first..first + head_dim)?.values();
        let gain = problem.part("gain", 0..head_dim)?.values();
        let eps = problem.tensor("eps")?.values()[0];
        let offset = match self.is_once {
            true => Some(problem.tensor("offset")?.values()[0]),
            false => None,
        };
        let y = head_norm(&x, &gain, offset, eps);
        Ok(y.into_iter().map(|y| FloatType::Bf16.to_bits(y)).collect())
    }

    fn dst_len([tokens, heads, head_dim, _, stride]: [usize; 5]) -> usize {
        (tokens - 1) * stride + heads * head_dim
    }
}

impl Kernel for HeadNorm {
    fn id(&self) -> KernelId {
        let name = if self.is_once {
            "head_norm_once"
        } else {
            "head_norm"
        };
        KernelId::new([name, "bf16"], Target::new(80))
    }

    fn family(&self) -> &'static str {
        "head_norm"
    }

    fn signature(&self) -> Signature {
        let heads = size("tokens") * size("heads");
        let features = size("heads") * size("head_dim");
        let matrix = |stride| rows(size("tokens"), size(stride), features.clone());
        let grid = [heads.clone().div_ceil(WARPS), 1.into(), 1.into()];
        let signature = Signature::new(self.id(), 32 * WARPS as u32, grid)
            .numbers(heads)
            .output("dst", ElementType::Bf16, matrix("dst_stride"))
            .input("src", ElementType::Bf16, matrix("src_stride"))
            .input("gain", ElementType::Bf16, size("head_dim"))
            .number("eps", 0.0..=f32::INFINITY);
        let signature = match self.is_once {
            true => signature.number("offset", f32::MIN..=f32::MAX),
            false => signature,
        };
        signature
            .size("tokens")
            .size("heads")
            .size("head_dim")
            .bounded("head_dim", 1.into(), Some(Self::MAX_HEAD_DIM), 1)
            .stride("dst_stride", features.clone(), 1)
            .stride("src_stride", features.clone(), 1)
    }

    fn ptx(&self) -> String {
        let context = Context {
            is_once: self.is_once,
            warps: WARPS,
            steps: Self::MAX_HEAD_DIM / 32,
        };
        render_kernel("rows/head_norm.ptx.j2", &self.signature(), &context)
    }

    /// 8192 tokens of 32 heads.
    fn shape(&self) -> Shape {
        Shape {
            rows: 32 * 8192,
            cols: 128,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["heads of tokens", "features"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        (4 * shape.rows * shape.cols) as u64
    }
}

impl Entry for HeadNorm {
    fn problem(&self, rng: &mut ChaCha8Rng, elements: usize) -> Problem {
        let head_dim = match rng.random_range(0..4) {
            0 => [16, 64, 80, 96, 128, 256][rng.random_range(0..6)],
            1 => Self::MAX_HEAD_DIM - rng.random_range(0..3),
            _ => rng.random_range(1..=144),
        };
        let heads = rng.random_range(1..=5);
        let tokens = rng.random_range(1..=(elements / (heads * head_dim)).clamp(1, 20));
        let width = heads * head_dim;
        let src_stride = width + rng.random_range(0..5);
        let src = row(rng, (tokens - 1) * src_stride + width);
        let mut problem = Problem::new(
            [
                ("tokens", tokens),
                ("heads", heads),
                ("head_dim", head_dim),
                ("src_stride", src_stride),
                ("dst_stride", width + rng.random_range(0..5)),
            ],
            [("src", src), ("gain", row(rng, head_dim))],
        );
        let eps = 10f32.powi(rng.random_range(-12..2));
        let offset = [0.0, 1.0, 0.3][rng.random_range(0..3)];
        for (name, value) in [("eps", eps), ("offset", offset)] {
            let number = Tensor::of_values(&[value], FloatType::F32);
            problem.tensors.insert(name.to_owned(), number);
        }
        if rng.random() {
            scale_on_edge(rng, &mut problem, head_dim, |x| (0.0, head_squares(x)));
        }
        problem
    }

    fn problem_of(
        &self,
        rng: &mut ChaCha8Rng,
        shape: Shape,
        _thread_blocks: usize,
    ) -> Result<Problem, EntryError> {
        let Shape { rows, cols, .. } = shape.check()?;
        let heads = shape.heads();
        let (tokens, width) = (rows / heads, heads * cols);
        let src = Typical::draw(rng, tokens, width).dense(FloatType::Bf16, width);
        Ok(Problem::new(
            [
                ("tokens", tokens),
                ("heads", heads),
                ("head_dim", cols),
                ("src_stride", width),
                ("dst_stride", width),
            ],
            [
                ("src", src),
                ("gain", matrix(rng, Spread::Typical, [1, cols], cols)),
                ("eps", Tensor::of_values(&[1e-6], FloatType::F32)),
                ("offset", Tensor::of_values(&[1.0], FloatType::F32)),
            ],
        ))
    }

    fn elements(&self, problem: &Problem) -> u64 {
        let size = |name| problem.sizes.get(name).copied().unwrap_or(0);
        ["tokens", "heads", "head_dim"].map(size).iter().product()
    }

    fn reference(&self, problem: &Problem) -> Result<Expected, EntryError> {
        let sizes @ [tokens, heads, head_dim, _, stride] = Self::sizes(problem)?;
        let untouched = vec![UNTOUCHED; 2 * Self::dst_len(sizes)];
        let mut dst = Tensor::from_bytes(ElementType::Bf16, &untouched)?;
        for token in 0..tokens {
            for head in 0..heads {
                let bits = self.head(problem, token, head)?;
                dst.bits[token * stride + head * head_dim..][..head_dim].copy_from_slice(&bits);
            }
        }
        Ok(exactly(Outputs::from([("dst", dst)])))
    }

    /// Heads of tokens. A thread block has as many as it has warps.
    fn grid(&self, problem: &Problem) -> Result<Option<Grid>, EntryError> {
        let [tokens, heads, head_dim, ..] = Self::sizes(problem)?;
        Ok(Some(Grid {
            size: [tokens, heads],
            block: [1, 1],
            outputs: head_dim,
        }))
    }

    fn reference_at(&self, problem: &Problem, places: &[Place]) -> Result<Sampled, EntryError> {
        let sizes @ [.., head_dim, _, stride] = Self::sizes(problem)?;
        let mut dst = Elements::exactly(Self::dst_len(sizes), ElementType::Bf16);
        for &[token, head] in places {
            let first = token * stride + head * head_dim;
            dst.add_bits(first, 1, &self.head(problem, token, head)?);
        }
        let mut sampled = Sampled::default();
        sampled.insert("dst", dst);
        Ok(sampled)
    }
}

/// A row of values over many binades.
fn row(rng: &mut ChaCha8Rng, len: usize) -> Tensor {
    let mut row = draw(rng, 1, len, len.next_multiple_of(8));
    row.bits.truncate(len);
    row
}
