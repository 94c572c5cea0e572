//! The interface of the two machines.

use super::loader::ImageError;
use super::{Geometry, KernelAttributes, Properties, Result, Statistics};
use ptx_emulator::syntax::ast::Module;
use std::fmt;
use std::time::Duration;

/// A machine. Handles are the machine's own: the driver's pointers, or numbers.
///
/// Only the types of this module call it; they keep each handle until everything made from it is
/// gone, use it with the machine that made it, and check sizes and arguments.
pub(super) trait Machine: Send + Sync + fmt::Debug {
    fn properties(&self) -> &Properties;

    fn allocate(&self, name: &str, bytes: usize) -> Result<u64>;
    fn free(&self, address: u64);
    fn write(&self, address: u64, bytes: &[u8]) -> Result<()>;
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()>;

    /// Host memory for asynchronous copies; freed by `free_pinned`.
    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8>;
    fn free_pinned(&self, pointer: *mut u8, bytes: usize);

    fn load(&self, text: &Text) -> Result<u64>;
    /// Loads an ELF file of machine code; `None` if the machine runs texts alone.
    fn load_image(&self, _image: &[u8]) -> Option<Result<u64, ImageError>> {
        None
    }
    fn unload(&self, module: u64);
    fn kernel(&self, module: u64, entry: &str) -> Result<(u64, KernelAttributes)>;
    /// `None` where there are no multiprocessors.
    fn blocks_per_multiprocessor(
        &self,
        kernel: u64,
        attributes: &KernelAttributes,
        threads: u32,
        dynamic_shared: u32,
    ) -> Result<Option<u32>>;

    fn free_memory(&self) -> Result<u64>;

    fn stream(&self) -> Result<u64>;
    fn end_stream(&self, stream: u64);
    fn launch(&self, stream: u64, launch: &Launch) -> Result<Option<Statistics>>;
    /// Launches in order, to be made again and again; ended by `end_graph`.
    fn graph(&self, launches: &[Launch]) -> Result<u64>;
    /// The same for products by the vendor's library, with `workspace` as address and bytes; `None`
    /// without the library.
    fn products_graph(&self, products: &[Product], workspace: (u64, usize)) -> Result<Option<u64>>;
    fn end_graph(&self, graph: u64);
    /// Makes the launches of a graph, which are these.
    fn replay(&self, stream: u64, graph: u64, launches: &[Launch]) -> Result<Option<Statistics>>;
    /// # Safety
    /// `host` is pinned memory of `bytes` bytes that nobody else uses until the stream is
    /// synchronised; the device memory stays allocated until then.
    unsafe fn copy(&self, stream: u64, copy: Copy) -> Result<()>;
    /// `kernel` was launched last.
    fn synchronize(&self, stream: u64, kernel: &str, limit: Duration) -> Result<()>;

    fn record(&self, stream: u64) -> Result<u64>;
    fn end_event(&self, event: u64);
    fn milliseconds(&self, earlier: u64, later: u64) -> Result<f32>;
}

/// A PTX text and its syntax tree. Errors call it `name`.
pub(super) struct Text<'a> {
    pub name: &'a str,
    pub ptx: &'a str,
    pub tree: &'a Module,
}

/// y = x W^T in bf16: W [rows, cols], x [tokens, cols] and y [tokens, rows] by their addresses, row
/// after row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub w: u64,
    pub x: u64,
    pub y: u64,
    pub rows: i32,
    pub cols: i32,
    pub tokens: i32,
}

/// A launch whose arguments and geometry fit the kernel.
pub(super) struct Launch<'a> {
    pub module: u64,
    pub kernel: u64,
    pub entry: &'a str,
    pub geometry: Geometry,
    /// Bytes of static shared memory of a block.
    pub static_shared: u32,
    /// The parameter block.
    pub parameters: &'a [u8],
    /// Where each parameter begins in it.
    pub offsets: &'a [usize],
}

/// An asynchronous copy.
pub(super) struct Copy {
    pub host: *mut u8,
    pub device: u64,
    pub bytes: usize,
    pub is_to_device: bool,
}
