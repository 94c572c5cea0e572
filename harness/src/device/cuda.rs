//! An NVIDIA GPU as a machine, through the driver alone.
//!
//! The driver library is opened at run time. cudarc panics where it is absent, so it is looked for
//! first. Streams synchronise with the default stream, on which copies without a stream run, so
//! that a launch always sees what was written before.

use super::machine::{Copy, Launch, Machine};
use super::{DeviceError, DeviceKind, KernelAttributes, Properties, Statistics};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use cudarc::driver::{CudaContext, sys::CUresult};
use std::ffi::{CString, c_uint, c_void};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The oldest driver whose PTX compiler reads `.version 7.0` with what follows from it: CUDA 11.0.
const OLDEST_DRIVER: u32 = 11_000;

#[derive(Debug)]
pub(super) struct Cuda {
    context: Arc<CudaContext>,
    properties: Properties,
}

impl Cuda {
    pub fn open(ordinal: usize) -> Result<Self, DeviceError> {
        // SAFETY: only opens and closes the driver library.
        if !unsafe { sys::is_culib_present() } {
            let reason = "no driver library (libcuda.so.1) was found".to_owned();
            return Err(DeviceError::NoDriver { reason });
        }
        let no_driver = |error: DriverError| DeviceError::NoDriver {
            reason: format!("the driver does not start: {}", describe(error)),
        };
        result::init().map_err(no_driver)?;
        let mut version = 0;
        // SAFETY: writes one integer.
        let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
        asked.result().map_err(no_driver)?;
        let version = version as u32;
        if version < OLDEST_DRIVER {
            let reason = format!(
                "the driver is for CUDA {}.{}, at least 11.0 is needed",
                version / 1000,
                version % 1000 / 10
            );
            return Err(DeviceError::NoDriver { reason });
        }
        let count = result::device::get_count().map_err(no_driver)? as usize;
        if ordinal >= count {
            return Err(DeviceError::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).map_err(failed("open the device"))?;
        let properties = properties(&context, version).map_err(failed("ask for properties"))?;
        Ok(Self {
            context,
            properties,
        })
    }

    /// Makes the context that of this thread, as every call of the driver needs.
    fn bind(&self) -> Result<(), DeviceError> {
        self.context
            .bind_to_thread()
            .map_err(failed("bind the context"))
    }
}

/// The error of a call that failed.
fn failed(call: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver {
        call,
        reason: describe(error),
    }
}

/// Name and meaning of an error.
fn describe(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy());
    let text = error.error_string().map(|text| text.to_string_lossy());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}, {text}"),
        _ => format!("{:?}", error.0),
    }
}

fn properties(context: &CudaContext, version: u32) -> Result<Properties, DriverError> {
    use sys::CUdevice_attribute_enum as A;
    let known = |attribute| {
        let value = context.attribute(attribute).ok()?;
        u32::try_from(value).ok().filter(|&value| value > 0)
    };
    let (major, minor) = context.compute_capability()?;
    let max_threads = context.attribute(A::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?;
    let max_shared = context.attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
    Ok(Properties {
        kind: DeviceKind::Cuda,
        name: context.name()?,
        sm: (10 * major + minor) as u32,
        memory_bytes: context.total_mem()? as u64,
        max_threads: max_threads as u32,
        max_shared: max_shared as u32,
        multiprocessors: known(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        shared_per_multiprocessor: known(
            A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
        ),
        registers_per_multiprocessor: known(
            A::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR,
        ),
        l2_bytes: known(A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
        clock_khz: known(A::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        memory_clock_khz: known(A::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
        memory_bus_bits: known(A::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH),
        driver_version: Some(version),
    })
}

/// Bytes of the log of the driver's compiler that are kept.
const LOG_BYTES: usize = 8192;

impl Machine for Cuda {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn allocate(&self, name: &str, bytes: usize) -> Result<u64, DeviceError> {
        self.bind()?;
        // The driver refuses to allocate nothing.
        // SAFETY: what it holds is never read as a type that has invalid values.
        unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| {
            if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return failed("allocate memory")(error);
            }
            let (free, total) = result::mem_get_info().unwrap_or((0, 0));
            DeviceError::OutOfMemory {
                name: name.to_owned(),
                asked: bytes as u64,
                free: free as u64,
                total: total as u64,
            }
        })
    }

    fn free(&self, address: u64) {
        if self.bind().is_ok() {
            // An error here is one of a kernel before, which its stream tells.
            // SAFETY: allocated by `allocate`, freed once by its buffer.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.bind()?;
        // SAFETY: the buffer checked that the bytes lie inside it.
        unsafe { result::memcpy_htod_sync(address, bytes) }.map_err(failed("copy to the device"))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.bind()?;
        // SAFETY: the buffer checked that the bytes lie inside it.
        unsafe { result::memcpy_dtoh_sync(bytes, address) }.map_err(failed("copy from the device"))
    }

    fn allocate_pinned(&self, bytes: usize) -> Result<*mut u8, DeviceError> {
        self.bind()?;
        // SAFETY: freed by `free_pinned`.
        let pointer = unsafe { result::malloc_host(bytes.max(1), 0) };
        Ok(pointer.map_err(failed("allocate pinned memory"))?.cast())
    }

    fn free_pinned(&self, pointer: *mut u8, _bytes: usize) {
        if self.bind().is_ok() {
            // SAFETY: from `allocate_pinned`, freed once.
            let _ = unsafe { result::free_host(pointer.cast()) };
        }
    }

    fn load(&self, name: &str, ptx: &str) -> Result<u64, DeviceError> {
        self.bind()?;
        let refused = |log: String| DeviceError::Compile {
            module: name.to_owned(),
            log,
        };
        let text = CString::new(ptx).map_err(|_| refused("it contains a zero byte".to_owned()))?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        // The size is the value itself, in the place of a pointer.
        let mut values = [log.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends with a zero; options and values are as many as told, and the log
        // outlives the call.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut module,
                text.as_ptr().cast(),
                options.len() as c_uint,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|error| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let said = String::from_utf8_lossy(&log[..end]).trim().to_owned();
            refused(format!("{}: {said}", describe(error)))
        })?;
        Ok(module as u64)
    }

    fn unload(&self, module: u64) {
        if self.bind().is_ok() {
            // SAFETY: loaded by `load`, unloaded once, when no kernel of it is used any more.
            let _ = unsafe { result::module::unload(module as sys::CUmodule) };
        }
    }

    fn kernel(&self, module: u64, entry: &str) -> Result<u64, DeviceError> {
        self.bind()?;
        let name = CString::new(entry).unwrap_or_default();
        // SAFETY: the module is loaded.
        let kernel = unsafe { result::module::get_function(module as sys::CUmodule, name) };
        Ok(kernel.map_err(failed("find a kernel"))? as u64)
    }

    fn attributes(&self, kernel: u64) -> KernelAttributes {
        use sys::CUfunction_attribute_enum as A;
        let known = |attribute| {
            self.bind().ok()?;
            // SAFETY: the kernel's module is loaded.
            let value = unsafe {
                result::function::get_function_attribute(kernel as sys::CUfunction, attribute)
            };
            u32::try_from(value.ok()?).ok()
        };
        KernelAttributes {
            registers: known(A::CU_FUNC_ATTRIBUTE_NUM_REGS),
            static_shared: known(A::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES).unwrap_or(0),
            local: known(A::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES),
            max_threads: known(A::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
        }
    }

    fn stream(&self) -> Result<u64, DeviceError> {
        self.bind()?;
        let stream = result::stream::create(result::stream::StreamKind::Default);
        Ok(stream.map_err(failed("create a stream"))? as u64)
    }

    fn end_stream(&self, stream: u64) {
        if self.bind().is_ok() {
            // SAFETY: created by `stream`, ended once.
            let _ = unsafe { result::stream::destroy(stream as sys::CUstream) };
        }
    }

    fn launch(&self, stream: u64, launch: &Launch) -> Result<Option<Statistics>, DeviceError> {
        self.bind()?;
        let function = launch.kernel as sys::CUfunction;
        let dynamic = launch.geometry.dynamic_shared;
        // More than 48 KiB must be asked for.
        if dynamic > 48 * 1024 {
            use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MOST;
            // SAFETY: the kernel's module is loaded.
            unsafe { result::function::set_function_attribute(function, MOST, dynamic as i32) }
                .map_err(failed("ask for dynamic shared memory"))?;
        }
        let at = |&offset: &usize| launch.parameters[offset..].as_ptr().cast_mut().cast();
        let mut parameters: Vec<*mut c_void> = launch.offsets.iter().map(at).collect();
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
        launched.map_err(|error| lost_or(error, launch.entry, "launch a kernel"))?;
        Ok(None)
    }

    unsafe fn copy(&self, stream: u64, copy: Copy) -> Result<(), DeviceError> {
        self.bind()?;
        let stream = stream as sys::CUstream;
        // SAFETY: by the contract of this method.
        let host = unsafe { std::slice::from_raw_parts_mut(copy.host, copy.bytes) };
        // SAFETY: by the contract of this method the host memory lives until the copy is done.
        let started = unsafe {
            match copy.is_to_device {
                true => result::memcpy_htod_async(copy.device, host, stream),
                false => result::memcpy_dtoh_async(host, copy.device, stream),
            }
        };
        started.map_err(failed("start a copy"))
    }

    fn synchronize(&self, stream: u64, kernel: &str, limit: Duration) -> Result<(), DeviceError> {
        self.bind()?;
        let begun = Instant::now();
        loop {
            // SAFETY: the stream exists.
            let state = unsafe { sys::cuStreamQuery(stream as sys::CUstream) };
            match state {
                CUresult::CUDA_SUCCESS => return Ok(()),
                CUresult::CUDA_ERROR_NOT_READY => {}
                error => return Err(lost_or(DriverError(error), kernel, "wait for a stream")),
            }
            let waited = begun.elapsed();
            if waited > limit {
                return Err(DeviceError::Watchdog {
                    kernel: kernel.to_owned(),
                    seconds: limit.as_secs_f32(),
                });
            }
            // Short kernels are waited for awake; a long one does not need the core.
            if waited > Duration::from_millis(2) {
                std::thread::sleep(Duration::from_micros(200));
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn record(&self, stream: u64) -> Result<u64, DeviceError> {
        self.bind()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)
            .map_err(failed("create an event"))?;
        // SAFETY: both exist.
        unsafe { result::event::record(event, stream as sys::CUstream) }
            .map_err(failed("record an event"))?;
        Ok(event as u64)
    }

    fn end_event(&self, event: u64) {
        if self.bind().is_ok() {
            // SAFETY: created by `record`, ended once.
            let _ = unsafe { result::event::destroy(event as sys::CUevent) };
        }
    }

    fn milliseconds(&self, earlier: u64, later: u64) -> Result<f32, DeviceError> {
        self.bind()?;
        // SAFETY: both exist and were recorded.
        unsafe { result::event::elapsed(earlier as sys::CUevent, later as sys::CUevent) }
            .map_err(failed("compare events"))
    }
}

/// The error of a call that a kernel before may have failed: those leave the context unusable.
fn lost_or(error: DriverError, kernel: &str, call: &'static str) -> DeviceError {
    let is_refusal = matches!(
        error.0,
        CUresult::CUDA_ERROR_INVALID_VALUE
            | CUresult::CUDA_ERROR_INVALID_HANDLE
            | CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
            | CUresult::CUDA_ERROR_OUT_OF_MEMORY
    );
    match is_refusal {
        true => failed(call)(error),
        false => DeviceError::Lost {
            kernel: kernel.to_owned(),
            reason: describe(error),
        },
    }
}
