//! The PTX kernels of the registry as targets, the bounds of a GPU, and cuBLAS.
//!
//! Launches are recorded as a graph, so that the time does not include the host's work for each.
//! They cycle through several sets of buffers, more than the L2 holds, so that each launch reads
//! its operands from memory. The time is that between two events. Without a GPU the emulator runs
//! the same steps, timed by the host's clock; these times say nothing about a GPU.

mod check;
mod empty;
mod kernel;
mod vendor;

pub use empty::EmptyTarget;
pub use kernel::KernelTarget;
pub use vendor::VendorTarget;

use crate::{BenchError, Case, Roof, Target};
use mxlab_harness::device::{Device, DeviceKind, Graph, Loads, Properties, Stream};
use mxlab_harness::measure::Timed;
use mxlab_kernels::family::matmul::{MatmulOutput, MatmulVariant};
use mxlab_kernels::family::rows::{RowOperation, RowVariant};
use mxlab_kernels::fragment::WeightFormat;
use mxlab_kernels::registry::Shape;
use std::rc::Rc;
use std::time::Instant;

/// How many times the L2 the buffers of a target are, together.
const ROTATION: u64 = 4;
/// Bytes of L2 of a device that does not say.
const L2_BYTES: u64 = 64 << 20;
/// Most sets of buffers.
const MOST_COPIES: u64 = 256;
/// Seconds that the launches of a graph take, about.
const GRAPH_S: f64 = 3e-4;
/// Most launches of a graph.
const MOST_LAUNCHES: usize = 512;

/// A device that kernels are timed on.
pub struct Gpu {
    device: Device,
    stream: Stream,
}

impl Gpu {
    /// Gets ready.
    ///
    /// # Errors
    /// If the device has no stream.
    pub fn new(device: Device) -> Result<Rc<Self>, BenchError> {
        let stream = device.stream()?;
        Ok(Rc::new(Self { device, stream }))
    }

    /// What it is.
    pub fn properties(&self) -> &Properties {
        self.device.properties()
    }

    /// How many kernels it has loaded so far, by where their machine code came from.
    pub fn loads(&self) -> Loads {
        self.device.loads()
    }

    fn is_emulator(&self) -> bool {
        self.properties().kind == DeviceKind::Emulator
    }

    /// Sets of buffers of `bytes` bytes to cycle through.
    fn copies(&self, bytes: u64) -> usize {
        if self.is_emulator() {
            return 2;
        }
        let l2 = self.properties().l2_bytes.map_or(L2_BYTES, u64::from);
        (ROTATION * l2).div_ceil(bytes.max(1)).clamp(1, MOST_COPIES) as usize
    }

    /// The bounds of kernels here: a copy of bf16; a product of bf16, the vendor's, or ours where
    /// its library is not found; and a kernel that does nothing.
    ///
    /// # Errors
    /// If a kernel cannot be had.
    pub fn roof(self: &Rc<Self>, seed: u64) -> Result<Roof, BenchError> {
        let side = if self.is_emulator() { 64 } else { 8192 };
        let copy = RowVariant::new(RowOperation::Copy, None)
            .map_err(|error| BenchError::Launch(error.into()))?;
        let shape = Shape {
            rows: side,
            cols: side,
            tokens: None,
        };
        let copy = KernelTarget::new(self.clone(), Rc::new(copy), shape, seed);
        let sizes = [side, side, side];
        let product: Box<dyn Target> = match VendorTarget::is_there(self)? {
            true => Box::new(VendorTarget::new(self.clone(), sizes)),
            false => {
                let max_shared = self.properties().max_shared;
                let dense = MatmulVariant::for_tokens(
                    WeightFormat::Dense,
                    side,
                    MatmulOutput::Bf16,
                    max_shared,
                );
                let shape = Shape {
                    tokens: Some(side),
                    ..shape
                };
                Box::new(KernelTarget::new(self.clone(), Rc::new(dense), shape, seed))
            }
        };
        Ok(Roof {
            copy: Box::new(copy),
            product: Some(product),
            empty: Some(Box::new(EmptyTarget::new(self.clone()))),
            memory: Vec::new(),
            arithmetic: Vec::new(),
        })
    }
}

/// A graph of launches.
struct Launches {
    gpu: Rc<Gpu>,
    graph: Graph,
    /// Launches of it.
    count: u32,
}

impl Launches {
    /// Chooses the number of launches of a graph: about [`GRAPH_S`] seconds, and at least one for
    /// each set of buffers. `record` makes the graph of a number of launches.
    fn new(
        gpu: &Rc<Gpu>,
        copies: usize,
        mut record: impl FnMut(usize) -> Result<Graph, BenchError>,
    ) -> Result<Self, BenchError> {
        let mut count = copies;
        loop {
            let mut launches = Self {
                gpu: gpu.clone(),
                graph: record(count)?,
                count: count as u32,
            };
            // The first time is that of loading.
            launches.replay(1)?;
            let once = launches.replay(1)? / count as f64;
            let wanted = (GRAPH_S / once.max(1e-9)).ceil() as usize;
            let wanted = wanted.clamp(copies, MOST_LAUNCHES.max(copies));
            if wanted <= 2 * count {
                return Ok(launches);
            }
            count = wanted;
        }
    }

    /// Seconds of that many replays.
    fn replay(&mut self, replays: u32) -> Result<f64, BenchError> {
        let stream = &self.gpu.stream;
        let clock = Instant::now();
        let start = stream.record()?;
        for _ in 0..replays {
            stream.replay(&self.graph)?;
        }
        let end = stream.record()?;
        stream.synchronize()?;
        match self.gpu.is_emulator() {
            true => Ok(clock.elapsed().as_secs_f64()),
            false => Ok(f64::from(end.milliseconds_since(&start)?) / 1e3),
        }
    }
}

impl Timed for Launches {
    type Error = BenchError;

    fn time(&mut self, runs: u32) -> Result<f64, BenchError> {
        let replays = runs.div_ceil(self.count);
        let seconds = self.replay(replays)?;
        Ok(seconds * f64::from(runs) / (f64::from(replays) * f64::from(self.count)))
    }
}

/// A case of a shape.
fn case(kernel: String, family: &str, shape: Shape, [bytes, operations]: [u64; 2]) -> Case {
    Case {
        kernel,
        family: family.to_owned(),
        rows: shape.rows,
        cols: shape.cols,
        tokens: shape.tokens,
        bytes,
        operations,
        ..Case::default()
    }
}
