//! What an engine needs to run a kernel. [`Entry`](crate::registry::Entry) adds what checks need.

use super::{KernelId, Launcher, Signature};
use crate::kernel::LaunchError;
use mxlab_harness::device::Device;

/// A kernel: its name, operands, text, where it runs, and what it costs.
pub trait Kernel: Send + Sync {
    /// Its id, which names its PTX entry; unique.
    fn id(&self) -> KernelId;

    /// The name that `mxlab list` shows and `--family` selects: one of the members of its
    /// [`Family`](crate::family::Family).
    fn family(&self) -> &'static str;

    /// Its operands and launch geometry.
    fn signature(&self) -> Signature;

    /// Its PTX: one module with one entry, which has the id as its name.
    fn ptx(&self) -> String;

    /// Whether a chip of that compute capability runs it, as 90 for 9.0.
    fn runs_on(&self, sm: u32) -> bool {
        self.id().target().takes(sm)
    }

    /// Elements that a thread handles.
    fn elements_per_thread(&self) -> u32 {
        1
    }

    /// The shape whose cost is reported when none is given.
    fn shape(&self) -> Shape {
        Shape {
            rows: 8192,
            cols: 8192,
            tokens: None,
        }
    }

    /// What the rows and the columns of a [`Shape`] are.
    fn axes(&self) -> [&'static str; 2] {
        ["rows", "columns"]
    }

    /// Bytes that must move for a problem of that shape, each read or written once.
    fn bytes(&self, shape: Shape) -> u64;

    /// Multiplications and additions of the tensor cores for a problem of that shape.
    fn operations(&self, _shape: Shape) -> u64 {
        0
    }

    /// Elements that a thread handles in each pass of its main loop, if the loop handles each
    /// element once. `None` to derive them from the bytes that the loop moves.
    fn elements_per_pass(&self, _shape: Shape) -> Option<f64> {
        None
    }

    /// Loads the kernel.
    ///
    /// # Errors
    /// If the device refuses the kernel.
    fn launcher(&self, device: &Device) -> Result<Launcher, LaunchError> {
        Launcher::load(device, self.signature(), &self.ptx())
    }
}

/// The size of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the tensor, or of the weights.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Tokens. `None`: a product takes as many as a thread block has, attention decodes one.
    pub tokens: Option<usize>,
}

impl Shape {
    /// Key heads that share the rows: 8, or the largest smaller number that divides them.
    pub(crate) fn heads(&self) -> usize {
        let heads = (1..=8).rev().find(|&n| self.rows.is_multiple_of(n));
        heads.unwrap_or(1)
    }
}
