//! Copies a row of a table of 16-bit elements for each token.

mod problems;

use super::Family;
use crate::family::macros::render_kernel;
use crate::kernel::{ElementType, Kernel, KernelId, Signature, rows, size};
use crate::registry::Shape;
use mxlab_harness::assemble::Target;

pub(super) const FAMILY: Family = Family {
    name: "embed",
    members: &["embed"],
    templates: &[("embed/embed.ptx.j2", include_str!("embed.ptx.j2"))],
    kernels: || Box::new(std::iter::once(Box::new(Embed) as _)),
};

/// The kernel. A thread block of 256 threads writes one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Embed;

impl Embed {
    /// The value of `status` before the first launch.
    pub const ALL_KNOWN: u32 = u32::MAX;
}

impl Kernel for Embed {
    fn id(&self) -> KernelId {
        KernelId::new(["embed", "bf16"], Target::new(80))
    }

    fn family(&self) -> &'static str {
        "embed"
    }

    /// Its operands. Columns from `cols` up to `padded` become zeros. A token that is not below
    /// `vocabulary` gives a row of zeros, and `status` becomes the least such row if it was more.
    fn signature(&self) -> Signature {
        let dst = rows(size("rows"), size("dst_stride"), size("padded"));
        let table = rows(size("vocabulary"), size("table_stride"), size("cols"));
        Signature::new(self.id(), 256, [size("rows"), 1.into(), 1.into()])
            .output("dst", ElementType::U16, dst)
            .aligned(16)
            .in_out("status", ElementType::U32, 1.into())
            .input("table", ElementType::U16, table)
            .input("tokens", ElementType::U32, size("rows"))
            .size("vocabulary")
            .size("cols")
            .stride("padded", size("cols"), 8)
            .stride("dst_stride", size("padded"), 8)
            .stride("table_stride", size("cols"), 1)
    }

    fn ptx(&self) -> String {
        render_kernel("embed/embed.ptx.j2", &self.signature(), &())
    }

    fn elements_per_thread(&self) -> u32 {
        8
    }

    /// As many tokens as fill a chip, of Llama 3 8B.
    fn shape(&self) -> Shape {
        Shape {
            rows: 8192,
            cols: 4096,
            tokens: None,
        }
    }

    fn axes(&self) -> [&'static str; 2] {
        ["tokens", "features"]
    }

    fn bytes(&self, shape: Shape) -> u64 {
        (shape.rows * (4 * shape.cols + 4)) as u64
    }
}
