//! Reduces rows of logits to what log-probabilities and greedy choices need: see
//! [`crate::reference::log_probs`].

mod problems;

use super::Family;
use crate::family::macros::render_kernel;
use crate::kernel::{ElementType, Kernel, KernelId, Signature, rows, size};
use crate::reference::exponential::COEFFICIENTS;
use crate::registry::Shape;
use mxlab_harness::assemble::Target;
use serde::Serialize;
use std::f64::consts::LOG2_E;

pub(super) const FAMILY: Family = Family {
    name: "log_probs",
    members: &["log_probs"],
    templates: &[(
        "log_probs/log_probs.ptx.j2",
        include_str!("log_probs.ptx.j2"),
    )],
    kernels: || Box::new(std::iter::once(Box::new(LogProbs) as _)),
};

/// The kernel. A thread block of 256 threads takes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogProbs;

/// `v` in the template.
#[derive(Serialize)]
struct Context {
    log2_e: u64,
    /// Coefficients, the highest power first.
    exp_coefficients: Vec<u64>,
}

impl Kernel for LogProbs {
    fn id(&self) -> KernelId {
        KernelId::new(["log_probs", "bf16"], Target::new(80))
    }

    fn family(&self) -> &'static str {
        "log_probs"
    }

    /// Its operands. For each row it writes the greatest logit, the first token that has it, the
    /// sum of `e^(x - max)` in f64 as two words, and the target's logit. Targets must be below
    /// `cols`.
    fn signature(&self) -> Signature {
        let whole_chunks = size("cols").next_multiple_of(8);
        let src = rows(size("rows"), size("src_stride"), whole_chunks.clone());
        Signature::new(self.id(), 256, [size("rows"), 1.into(), 1.into()])
            .output("dst_max", ElementType::U32, size("rows"))
            .output("dst_argmax", ElementType::U32, size("rows"))
            .output("dst_sum", ElementType::U32, size("rows") * 2)
            .aligned(8)
            .output("dst_target", ElementType::U32, size("rows"))
            .input("src", ElementType::Bf16, src)
            .aligned(16)
            .input("targets", ElementType::U32, size("rows"))
            .size("cols")
            .bounded("cols", 1.into(), None, 1)
            .stride("src_stride", whole_chunks, 8)
    }

    fn ptx(&self) -> String {
        let context = Context {
            log2_e: LOG2_E.to_bits(),
            exp_coefficients: COEFFICIENTS.iter().rev().map(|c| c.to_bits()).collect(),
        };
        render_kernel("log_probs/log_probs.ptx.j2", &self.signature(), &context)
    }

    fn elements_per_thread(&self) -> u32 {
        8
    }

    /// Some tokens, and the vocabulary of Llama 3.
    fn shape(&self) -> Shape {
        Shape {
            rows: 1024,
            cols: 128256,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["tokens", "words"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        (shape.rows * (2 * shape.cols + 24)) as u64
    }
}
