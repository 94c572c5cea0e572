//! A chain of empty launches: the overhead of each launch in a graph.

use super::{Gpu, Launches, case};
use crate::{BenchError, Case, Opened, Target};
use mxlab_harness::device::Geometry;
use mxlab_kernels::registry::Shape;
use std::rc::Rc;

/// It takes no operands and returns.
const PTX: &str = include_str!("empty.ptx");
const ENTRY: &str = "empty";
/// Threads of its thread block: those of most kernels.
const THREADS: u32 = 256;

/// The empty kernel on a device.
pub struct EmptyTarget {
    gpu: Rc<Gpu>,
    case: Case,
}

impl EmptyTarget {
    /// One thread block of it.
    pub fn new(gpu: Rc<Gpu>) -> Self {
        let shape = Shape {
            rows: 1,
            cols: 1,
            tokens: None,
        };
        let case = case(ENTRY.to_owned(), "roof", shape, [0, 0]);
        Self { gpu, case }
    }
}

impl Target for EmptyTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        0
    }

    /// There is no result that could be wrong.
    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Gpu { device, stream } = &*self.gpu;
        let kernel = device.load(ENTRY, PTX)?.kernel(ENTRY)?;
        let geometry = Geometry {
            grid: [1, 1, 1],
            block: [THREADS, 1, 1],
            dynamic_shared: 0,
        };
        let launches = Launches::new(&self.gpu, 1, |count| {
            stream.record_graph(|stream| {
                let mut launches = std::iter::repeat_n((), count);
                Ok::<_, BenchError>(
                    launches.try_for_each(|()| stream.launch(&kernel, geometry, &[]))?,
                )
            })
        })?;
        Ok(Box::new(launches))
    }
}
