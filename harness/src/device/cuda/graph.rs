//! Graphs of launches, each after the one before.
//!
//! They are built node by node rather than captured from a stream, which other threads that copy
//! would spoil.

use super::super::Result;
use super::super::machine::Launch;
use super::{Cuda, parameters};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

/// A graph while it is built.
struct Nodes(sys::CUgraph);

impl Nodes {
    fn new() -> Result<Self, DriverError> {
        let mut graph = std::ptr::null_mut();
        // SAFETY: writes one pointer.
        unsafe { sys::cuGraphCreate(&raw mut graph, 0) }.result()?;
        Ok(Self(graph))
    }

    /// A launch after another one.
    fn add(
        &self,
        launch: &Launch,
        before: Option<sys::CUgraphNode>,
    ) -> Result<sys::CUgraphNode, DriverError> {
        let mut parameters = parameters(launch);
        let [[gx, gy, gz], [bx, by, bz]] = [launch.geometry.grid, launch.geometry.block];
        let node = sys::CUDA_KERNEL_NODE_PARAMS {
            func: launch.kernel as sys::CUfunction,
            gridDimX: gx,
            gridDimY: gy,
            gridDimZ: gz,
            blockDimX: bx,
            blockDimY: by,
            blockDimZ: bz,
            sharedMemBytes: launch.geometry.dynamic_shared,
            kernelParams: parameters.as_mut_ptr(),
            extra: std::ptr::null_mut(),
            kern: std::ptr::null_mut(),
            ctx: std::ptr::null_mut(),
        };
        let mut added = std::ptr::null_mut();
        // SAFETY: the graph exists, the kernel's module is loaded, the node before is of this
        // graph, and the driver copies the parameters, whose number and sizes are those that the
        // kernel declares, during the call.
        let result = unsafe {
            sys::cuGraphAddKernelNode_v2(
                &raw mut added,
                self.0,
                before.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
                before.iter().len(),
                &raw const node,
            )
        };
        result.result()?;
        Ok(added)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // SAFETY: created by `new`; what was made of it is no part of it.
        let _ = unsafe { result::graph::destroy(self.0) };
    }
}

impl Cuda {
    /// The launches as a graph that can be launched.
    pub(super) fn instantiate(&self, launches: &[Launch]) -> Result<u64> {
        self.bind()?;
        let failed = || self.faults.failed("record a graph");
        let nodes = Nodes::new().map_err(failed())?;
        let mut before = None;
        for launch in launches {
            let function = launch.kernel as sys::CUfunction;
            self.opt_in(
                function,
                launch.static_shared,
                launch.geometry.dynamic_shared,
            )?;
            before = Some(nodes.add(launch, before).map_err(failed())?);
        }
        let mut graph = std::ptr::null_mut();
        // SAFETY: the nodes are whole; writes one pointer.
        let made = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut graph, nodes.0, 0) };
        made.result().map_err(failed())?;
        Ok(graph as u64)
    }
}
