//! An NVIDIA GPU as a machine, through the driver alone.
//!
//! The driver library is opened at run time. Streams synchronise with the default stream, on which
//! copies without a stream run, so that a launch always sees what was written before.
//!
//! | module | what |
//! |---|---|
//! | `open` | finding the driver and a device |
//! | `symbols` | the functions of the driver that must be there |
//! | `module` | loading of PTX and of images |
//! | `answer` | the driver's answers as errors |
//! | `graph` | launches of a graph |
//! | `blas` | products by cuBLAS |

mod answer;
mod blas;
mod graph;
mod module;
mod open;
mod symbols;

use super::fault::Faults;
use super::loader::ImageError;
use super::machine::{Copy, Launch, Machine, Product, Text};
use super::{DeviceError, KernelAttributes, Properties, Result, Statistics, WATCHDOG};
use cudarc::driver::CudaContext;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUresult};
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::time::Duration;

/// Shared memory that a block may have without asking for more, static and dynamic.
const SHARED_UNASKED: u32 = 48 * 1024;

#[derive(Debug)]
pub(super) struct Cuda {
    context: Arc<CudaContext>,
    properties: Properties,
    faults: Faults,
}

impl Cuda {
    pub fn open(ordinal: usize) -> Result<Self> {
        let (context, properties) = open::open(ordinal)?;
        Ok(Self {
            context,
            properties,
            faults: Faults::new(),
        })
    }

    /// Makes the context that of this thread, as every call of the driver needs.
    fn bind(&self) -> Result<()> {
        self.faults.check()?;
        let bound = self.context.bind_to_thread();
        bound.map_err(self.faults.failed("bind the context"))
    }

    /// Waits for all that was launched, as the driver would in the call that follows, but not for
    /// ever.
    fn settle(&self) -> Result<()> {
        self.bind()?;
        if self.faults.is_idle() {
            return Ok(());
        }
        // An event of the default stream happens when all streams have come so far.
        let event = self.record(0)?;
        let ask = || {
            // SAFETY: the event exists.
            self.faults
                .is_done(unsafe { sys::cuEventQuery(event as sys::CUevent) })
        };
        let done = self.faults.wait("", WATCHDOG, ask);
        self.end_event(event);
        done?;
        self.faults.finished(None);
        Ok(())
    }

    /// Asks for more shared memory than a block may have unasked: always all there is, so that
    /// threads that launch one kernel with different sizes do not take it from each other.
    fn opt_in(&self, function: sys::CUfunction, static_shared: u32, dynamic: u32) -> Result<()> {
        use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
        if static_shared.saturating_add(dynamic) <= SHARED_UNASKED {
            return Ok(());
        }
        let most = self.properties.max_shared.saturating_sub(static_shared);
        // SAFETY: the kernel's module is loaded.
        unsafe { result::function::set_function_attribute(function, MOST, most as i32) }
            .map_err(self.faults.failed("ask for dynamic shared memory"))
    }
}

/// Where each parameter of a launch lies, as the driver asks for it.
fn parameters(launch: &Launch) -> Vec<*mut c_void> {
    let at = |&offset: &usize| launch.parameters[offset..].as_ptr().cast_mut().cast();
    launch.offsets.iter().map(at).collect()
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.faults.check().is_err() {
            // To give it back would wait for a kernel that hangs.
            std::mem::forget(self.context.clone());
        }
    }
}

impl Machine for Cuda {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, name: &str, bytes: usize) -> Result<u64> {
        self.bind()?;
        // The driver refuses to allocate nothing.
        // SAFETY: what it holds is never read as a type that has invalid values.
        unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| {
            if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return self.faults.failed("allocate memory")(error);
            }
            match result::mem_get_info() {
                Err(error) => self.faults.failed("ask for free memory")(error),
                Ok((free, total)) => DeviceError::OutOfMemory {
                    code: Some("CUDA_ERROR_OUT_OF_MEMORY"),
                    name: name.to_owned(),
                    asked: bytes as u64,
                    free: free as u64,
                    total: total as u64,
                },
            }
        })
    }

    fn free_memory(&self) -> Result<u64> {
        self.bind()?;
        let failed = self.faults.failed("ask for free memory");
        let (free, _) = result::mem_get_info().map_err(failed)?;
        Ok(free as u64)
    }

    fn free(&self, address: u64) {
        // An error here is one of a kernel before, which the next call tells.
        if self.settle().is_ok() {
            // SAFETY: allocated by `allocate`, freed once by its buffer.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.settle()?;
        // SAFETY: the buffer checked that the bytes lie inside it.
        unsafe { result::memcpy_htod_sync(address, bytes) }
            .map_err(self.faults.failed("copy to the device"))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.settle()?;
        // SAFETY: the buffer checked that the bytes lie inside it.
        unsafe { result::memcpy_dtoh_sync(bytes, address) }
            .map_err(self.faults.failed("copy from the device"))
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8> {
        self.bind()?;
        // SAFETY: freed by `free_pinned`.
        let pointer = unsafe { result::malloc_host(bytes.max(1), 0) };
        Ok(pointer
            .map_err(self.faults.failed("allocate pinned memory"))?
            .cast())
    }

    fn free_pinned(&self, pointer: *mut u8, _bytes: usize) {
        if self.settle().is_ok() {
            // SAFETY: from `allocate_pinned`, freed once.
            let _ = unsafe { result::free_host(pointer.cast()) };
        }
    }

    fn load(&self, text: &Text) -> Result<u64> {
        self.load_text(text.name, text.ptx)
    }

    fn load_image(&self, image: &[u8]) -> Option<Result<u64, ImageError>> {
        Some(self.load_elf(image))
    }

    fn unload(&self, module: u64) {
        if self.settle().is_ok() {
            // SAFETY: loaded by `load`, unloaded once, when no kernel of it is used any more.
            let _ = unsafe { result::module::unload(module as sys::CUmodule) };
        }
    }

    fn kernel(&self, module: u64, entry: &str) -> Result<(u64, KernelAttributes)> {
        use sys::CUfunction_attribute_enum as A;
        self.bind()?;
        let name = CString::new(entry).unwrap_or_default();
        // SAFETY: the module is loaded.
        let kernel = unsafe { result::module::get_function(module as sys::CUmodule, name) }
            .map_err(self.faults.failed("find a kernel"))?;
        let ask = |attribute| -> Result<u32> {
            // SAFETY: the kernel's module is loaded.
            let value = unsafe { result::function::get_function_attribute(kernel, attribute) };
            let value = value.map_err(self.faults.failed("ask for attributes of a kernel"))?;
            Ok(value.cast_unsigned())
        };
        let attributes = KernelAttributes {
            registers: Some(ask(A::CU_FUNC_ATTRIBUTE_NUM_REGS)?),
            static_shared: ask(A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
            local: Some(ask(A::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?),
            max_threads: Some(ask(A::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?),
        };
        Ok((kernel as u64, attributes))
    }

    fn blocks_per_multiprocessor(
        &self,
        kernel: u64,
        attributes: &KernelAttributes,
        threads: u32,
        dynamic_shared: u32,
    ) -> Result<Option<u32>> {
        self.bind()?;
        let function = kernel as sys::CUfunction;
        self.opt_in(function, attributes.static_shared, dynamic_shared)?;
        // SAFETY: the kernel's module is loaded.
        let blocks = unsafe {
            result::occupancy::max_active_block_per_multiprocessor(
                function,
                threads.cast_signed(),
                dynamic_shared as usize,
            )
        };
        let blocks = blocks.map_err(self.faults.failed("ask for the occupancy"))?;
        Ok(Some(blocks.cast_unsigned()))
    }

    fn stream(&self) -> Result<u64> {
        self.bind()?;
        let stream = result::stream::create(result::stream::StreamKind::Default);
        Ok(stream.map_err(self.faults.failed("create a stream"))? as u64)
    }

    fn end_stream(&self, stream: u64) {
        if self.bind().is_ok() {
            // SAFETY: created by `stream`, ended once.
            let _ = unsafe { result::stream::destroy(stream as sys::CUstream) };
        }
    }

    fn launch(&self, stream: u64, launch: &Launch) -> Result<Option<Statistics>> {
        self.bind()?;
        let function = launch.kernel as sys::CUfunction;
        let dynamic = launch.geometry.dynamic_shared;
        self.opt_in(function, launch.static_shared, dynamic)?;
        let mut parameters = parameters(launch);
        let [[gx, gy, gz], [bx, by, bz]] = [launch.geometry.grid, launch.geometry.block];
        // SAFETY: the kernel's module is loaded, the driver copies the parameters during the call,
        // and their number and sizes are those that the kernel declares.
        let launched = unsafe {
            result::launch_kernel(
                function,
                (gx, gy, gz),
                (bx, by, bz),
                dynamic,
                stream as sys::CUstream,
                &mut parameters,
            )
        };
        let failed = |error| {
            let launching = Some(launch.entry);
            self.faults.answered("launch a kernel", launching, error)
        };
        launched.map_err(failed)?;
        self.faults.launched(stream, [launch.entry]);
        Ok(None)
    }

    fn graph(&self, launches: &[Launch]) -> Result<u64> {
        self.instantiate(launches)
    }

    fn products_graph(&self, products: &[Product], workspace: (u64, usize)) -> Result<Option<u64>> {
        blas::graph(self, products, workspace)
    }

    fn end_graph(&self, graph: u64) {
        if self.bind().is_ok() {
            // SAFETY: from `graph`, ended once, after its launches.
            let _ = unsafe { result::graph::exec_destroy(graph as sys::CUgraphExec) };
        }
    }

    fn replay(&self, stream: u64, graph: u64, launches: &[Launch]) -> Result<Option<Statistics>> {
        self.bind()?;
        let graph = graph as sys::CUgraphExec;
        // SAFETY: both exist; what the launches need lives as long as the graph.
        let launched = unsafe { result::graph::launch(graph, stream as sys::CUstream) };
        let failed = |error| {
            let launching = launches.first().map(|launch| launch.entry);
            self.faults.answered("launch a graph", launching, error)
        };
        launched.map_err(failed)?;
        let names = launches.iter().map(|launch| launch.entry);
        self.faults.launched(stream, names);
        Ok(None)
    }

    unsafe fn copy(&self, stream: u64, copy: Copy) -> Result<()> {
        self.bind()?;
        if copy.bytes == 0 {
            return Ok(());
        }
        let (copy_stream, stream) = (stream, stream as sys::CUstream);
        // SAFETY: by the contract of this method.
        let host = unsafe { std::slice::from_raw_parts_mut(copy.host, copy.bytes) };
        // SAFETY: by the contract of this method the host memory lives until the copy is done.
        let started = unsafe {
            match copy.is_to_device {
                true => result::memcpy_htod_async(copy.device, host, stream),
                false => result::memcpy_dtoh_async(host, copy.device, stream),
            }
        };
        started.map_err(self.faults.failed("start a copy"))?;
        // No launch, and something to be waited for.
        self.faults.launched(copy_stream, []);
        Ok(())
    }

    fn synchronize(&self, stream: u64, kernel: &str, limit: Duration) -> Result<()> {
        self.bind()?;
        let ask = || {
            // SAFETY: the stream exists.
            self.faults
                .is_done(unsafe { sys::cuStreamQuery(stream as sys::CUstream) })
        };
        self.faults.wait(kernel, limit, ask)?;
        self.faults.finished(Some(stream));
        Ok(())
    }

    fn record(&self, stream: u64) -> Result<u64> {
        self.bind()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)
            .map_err(self.faults.failed("create an event"))?;
        // SAFETY: both exist; stream 0 is the default stream.
        let recorded = unsafe { result::event::record(event, stream as sys::CUstream) };
        recorded.map_err(|error| {
            self.end_event(event as u64);
            self.faults.failed("record an event")(error)
        })?;
        Ok(event as u64)
    }

    fn end_event(&self, event: u64) {
        if self.bind().is_ok() {
            // SAFETY: created by `record`, ended once.
            let _ = unsafe { result::event::destroy(event as sys::CUevent) };
        }
    }

    fn milliseconds(&self, earlier: u64, later: u64) -> Result<f32> {
        self.bind()?;
        // SAFETY: both exist and were recorded.
        unsafe { symbols::elapsed(earlier as sys::CUevent, later as sys::CUevent) }
            .map_err(self.faults.failed("compare events"))
    }
}
