//! Graphs: launches that are checked once and replayed many times.

use super::buffer::Memory;
use super::machine::{Launch, Machine, Product};
use super::{Argument, Buffer, DeviceError, DeviceKind, Geometry, Kernel, Result, Statistics};
use std::sync::Arc;

/// A checked launch, with everything that must stay alive for it.
#[derive(Debug)]
pub(super) struct Prepared {
    kernel: Kernel,
    geometry: Geometry,
    parameters: Vec<u8>,
    offsets: Vec<usize>,
    _buffers: Vec<Arc<Memory>>,
}

impl Prepared {
    /// # Errors
    /// If arguments or geometry do not fit the kernel.
    pub fn new(kernel: &Kernel, geometry: Geometry, arguments: &[Argument]) -> Result<Self> {
        kernel.check(geometry)?;
        let memory = |argument: &Argument| match argument {
            Argument::Buffer(buffer) | Argument::BufferAt(buffer, _) => Some(buffer.share()),
            Argument::U32(_) | Argument::U64(_) | Argument::F32(_) => None,
        };
        Ok(Self {
            kernel: kernel.clone(),
            geometry,
            parameters: kernel.parameters(arguments)?,
            offsets: kernel.offsets(),
            _buffers: arguments.iter().filter_map(memory).collect(),
        })
    }

    /// As machines take it.
    pub fn launch(&self) -> Launch<'_> {
        let (module, kernel) = self.kernel.handles();
        Launch {
            module,
            kernel,
            entry: self.kernel.entry(),
            geometry: self.geometry,
            static_shared: self.kernel.attributes().static_shared,
            parameters: &self.parameters,
            offsets: &self.offsets,
        }
    }
}

/// Launches in order, recorded by [`Stream::record_graph`](super::Stream::record_graph), replayed
/// by [`Stream::replay`](super::Stream::replay) with little work on the host.
///
/// Their kernels stay loaded and their buffers allocated as long as it lives; an address given as a
/// number is not known to be one. What buffers hold is read anew each time.
#[derive(Debug)]
pub struct Graph(Arc<Launches>);

#[derive(Debug)]
pub(super) struct Launches {
    machine: Arc<dyn Machine>,
    handle: u64,
    recorded: Vec<Prepared>,
    /// What else it works on.
    _buffers: Vec<Arc<Memory>>,
}

/// Workspace of products, bytes: cuBLAS asks for 32 MiB on Hopper (its documentation,
/// `cublasSetWorkspace`).
const WORKSPACE: usize = 64 << 20;

/// y = x W^T in bf16 by the vendor's library, row after row.
#[derive(Clone, Copy, Debug)]
pub struct VendorProduct<'b> {
    /// [rows, cols].
    pub w: &'b Buffer,
    /// [tokens, cols].
    pub x: &'b Buffer,
    /// [tokens, rows].
    pub y: &'b Buffer,
}

impl Graph {
    /// Products of these sizes by the vendor's library; `None` if the device has no such library.
    pub(super) fn of_products(
        machine: Arc<dyn Machine>,
        [rows, cols, tokens]: [usize; 3],
        products: &[VendorProduct],
    ) -> Result<Option<Self>> {
        if machine.properties().kind == DeviceKind::Emulator {
            return Ok(None);
        }
        let size = |size: usize| {
            let size = i32::try_from(size).ok().filter(|&size| size > 0);
            size.ok_or(DeviceError::Product { rows, cols, tokens })
        };
        let mut addressed = Vec::with_capacity(products.len());
        let mut buffers = Vec::new();
        for VendorProduct { w, x, y } in products {
            for (buffer, elements) in [(w, rows * cols), (x, tokens * cols), (y, tokens * rows)] {
                buffer.check(0, 2 * elements)?;
                if !buffer.is_of(&machine) {
                    return Err(DeviceError::OtherDevice(format!("`{}`", buffer.name())));
                }
                buffers.push(buffer.share());
            }
            addressed.push(Product {
                w: w.address(),
                x: x.address(),
                y: y.address(),
                rows: size(rows)?,
                cols: size(cols)?,
                tokens: size(tokens)?,
            });
        }
        let workspace = Buffer::allocate(machine.clone(), "workspace of products", WORKSPACE)?;
        let handle =
            machine.products_graph(&addressed, (workspace.address(), workspace.bytes()))?;
        buffers.push(workspace.share());
        Ok(handle.map(|handle| {
            Self(Arc::new(Launches {
                machine,
                handle,
                recorded: Vec::new(),
                _buffers: buffers,
            }))
        }))
    }
    pub(super) fn new(machine: Arc<dyn Machine>, recorded: Vec<Prepared>) -> Result<Self> {
        let launches: Vec<Launch> = recorded.iter().map(Prepared::launch).collect();
        let handle = machine.graph(&launches)?;
        Ok(Self(Arc::new(Launches {
            machine,
            handle,
            recorded,
            _buffers: Vec::new(),
        })))
    }

    /// Launches of it.
    pub fn len(&self) -> usize {
        self.0.recorded.len()
    }

    /// Whether nothing was launched.
    pub fn is_empty(&self) -> bool {
        self.0.recorded.is_empty()
    }

    pub(super) fn is_of(&self, machine: &Arc<dyn Machine>) -> bool {
        Arc::ptr_eq(&self.0.machine, machine)
    }

    pub(super) fn share(&self) -> Arc<Launches> {
        self.0.clone()
    }
}

impl Launches {
    pub fn replay(&self, stream: u64) -> Result<Option<Statistics>> {
        let launches: Vec<Launch> = self.recorded.iter().map(Prepared::launch).collect();
        self.machine.replay(stream, self.handle, &launches)
    }

    /// The kernel launched last.
    pub fn last(&self) -> Option<&str> {
        self.recorded.last().map(|prepared| prepared.kernel.entry())
    }
}

impl Drop for Launches {
    fn drop(&mut self) {
        self.machine.end_graph(self.handle);
    }
}
