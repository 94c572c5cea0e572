//! Interprets the driver's answers.

use super::super::fault::Faults;
use super::super::{DeviceError, Result};
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;

impl Faults {
    /// The error of a call that failed: its own, or that of a kernel before.
    pub(super) fn failed(&self, call: &'static str) -> impl Fn(DriverError) -> DeviceError {
        move |error| self.answered(call, None, error)
    }

    /// The error of a call that failed; `launching` is the kernel that it was to launch.
    pub(super) fn answered(
        &self,
        call: &'static str,
        launching: Option<&str>,
        error: DriverError,
    ) -> DeviceError {
        let reason = describe(error);
        match is_sticky(error.0) {
            true => self.lost(reason, launching),
            false => DeviceError::Driver { call, reason },
        }
    }

    /// Whether a call that asks for an end has found it.
    pub(super) fn is_done(&self, answer: CUresult) -> Result<bool> {
        match answer {
            CUresult::CUDA_SUCCESS => Ok(true),
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            error => Err(self.failed("wait for kernels")(DriverError(error))),
        }
    }
}

/// Name and meaning of an error.
pub(super) fn describe(error: DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy());
    let text = error.error_string().map(|text| text.to_string_lossy());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}, {text}"),
        _ => format!("{:?}", error.0),
    }
}

/// Whether the device is lost until the process ends. The driver's documentation of `CUresult` says
/// so for each error but the last, which also needs a new process.
const fn is_sticky(error: CUresult) -> bool {
    matches!(
        error,
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUresult::CUDA_ERROR_CONTAINED
            | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_TENSOR_MEMORY_LEAK
            | CUresult::CUDA_ERROR_EXTERNAL_DEVICE
            | CUresult::CUDA_ERROR_UNKNOWN
    )
}
