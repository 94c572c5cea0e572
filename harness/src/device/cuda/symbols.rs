//! The functions of the driver that this module needs, checked before the first call.
//!
//! cudarc opens the library at run time and panics if a function is missing. So [`NEEDED`] lists
//! every function that this module calls, directly or through cudarc, and a driver without one of
//! them is refused by the name of the function.

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

/// The functions that every driver must have.
const NEEDED: [&str; 45] = [
    "cuDriverGetVersion",
    "cuInit",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetUuid_v2",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoD_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadDataEx",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamQuery",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventQuery",
    "cuGraphCreate",
    "cuGraphAddKernelNode_v2",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
];

/// Came with CUDA 12.8.
const ELAPSED: &str = "cuEventElapsedTime_v2";
/// The function of older drivers.
const ELAPSED_BEFORE: &str = "cuEventElapsedTime";

type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// The functions that the driver lacks. The driver library must be present.
pub(super) fn missing() -> Vec<&'static str> {
    let mut missing: Vec<_> = NEEDED.into_iter().filter(|name| !is_there(name)).collect();
    if !is_there(ELAPSED) && !is_there(ELAPSED_BEFORE) {
        missing.push(ELAPSED_BEFORE);
    }
    missing
}

/// Whether the driver can say its version.
pub(super) fn has_version() -> bool {
    is_there(NEEDED[0])
}

fn is_there(name: &str) -> bool {
    // SAFETY: the library is there; the function is looked for and not called.
    unsafe { sys::culib().get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok()
}

/// Milliseconds between two events, by whichever function the driver has.
///
/// # Safety
/// Both exist, were recorded, and are of the current context.
pub(super) unsafe fn elapsed(start: sys::CUevent, end: sys::CUevent) -> Result<f32, DriverError> {
    if is_there(ELAPSED) {
        // SAFETY: by the contract of this function.
        return unsafe { result::event::elapsed(start, end) };
    }
    // SAFETY: the function has this type in every driver (`cuda.h`).
    let found = unsafe { sys::culib().get::<Elapsed>(ELAPSED_BEFORE.as_bytes()) };
    let function = found.map_err(|_| DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND))?;
    let mut milliseconds = 0.0;
    // SAFETY: by the contract of this function; writes one float.
    unsafe { function(&raw mut milliseconds, start, end) }.result()?;
    Ok(milliseconds)
}
