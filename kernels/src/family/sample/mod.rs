//! Samples a token from each row of logits, by temperature and top-p: see
//! [`crate::reference::sample()`].

mod problems;

use super::Family;
use crate::family::macros::render_kernel;
use crate::kernel::{ElementType, Kernel, KernelId, Signature, rows, size};
use crate::reference::exponential::COEFFICIENTS;
use crate::reference::sample::{MOST_LOGITS, ONE};
use crate::registry::Shape;
use mxlab_harness::assemble::Target;
use serde::Serialize;
use std::f64::consts::LOG2_E;

pub(super) const FAMILY: Family = Family {
    name: "sample",
    members: &["sample"],
    templates: &[("sample/sample.ptx.j2", include_str!("sample.ptx.j2"))],
    kernels: || Box::new(std::iter::once(Box::new(Sample) as _)),
};

/// Threads of a thread block.
const THREADS: u32 = 512;

/// The kernel. A thread block takes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample;

/// `v` in the template.
#[derive(Serialize)]
struct Context {
    warps: u32,
    warps_log2: u32,
    /// A weight of 1.
    one: u64,
    log2_e: u64,
    /// Coefficients, the highest power first.
    exp_coefficients: Vec<u64>,
}

impl Sample {
    /// The token of a row that has none: a row with NaN or infinity, or without a finite logit.
    pub const NO_TOKEN: u32 = u32::MAX;
}

impl Kernel for Sample {
    fn id(&self) -> KernelId {
        KernelId::new(["sample", "bf16"], Target::new(80))
    }

    fn family(&self) -> &'static str {
        "sample"
    }

    /// Its operands. `random` has a random number for each row; temperature and top-p are those of
    /// [`crate::reference::Sampling`].
    fn signature(&self) -> Signature {
        let whole_chunks = size("cols").next_multiple_of(8);
        let src = rows(size("rows"), size("src_stride"), whole_chunks.clone());
        let grid = [size("rows"), 1.into(), 1.into()];
        Signature::new(self.id(), THREADS, grid)
            .output("dst", ElementType::U32, size("rows"))
            .input("src", ElementType::Bf16, src)
            .aligned(16)
            .input("random", ElementType::U32, size("rows"))
            .number("temperature", 0.0..=f32::MAX)
            .number("top_p", f32::from_bits(1)..=1.0)
            .size("cols")
            .bounded("cols", 1.into(), Some(MOST_LOGITS), 1)
            .stride("src_stride", whole_chunks, 8)
    }

    fn ptx(&self) -> String {
        let warps = THREADS / 32;
        let context = Context {
            warps,
            warps_log2: warps.ilog2(),
            one: ONE.to_bits(),
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
        };
        render_kernel("sample/sample.ptx.j2", &self.signature(), &context)
    }

    fn elements_per_thread(&self) -> u32 {
        8
    }

    /// A batch of sequences, and the vocabulary of Llama 3.
    fn shape(&self) -> Shape {
        Shape {
            rows: 64,
            cols: 128256,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["tokens", "words"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        (shape.rows * (2 * shape.cols + 8)) as u64
    }
}
