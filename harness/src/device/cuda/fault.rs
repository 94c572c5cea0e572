//! Kernels that crash or hang, and what is left of the device then: nothing.
//!
//! A crash is sticky: the driver answers every later call with it, whatever that call is. A hang is
//! worse: most calls wait for it, those that free memory too. So the first of either is kept, each
//! later call gets it as its answer without asking the driver, and nothing is freed any more.

use super::super::DeviceError;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The kernel launched last, and the fault, if there was one.
#[derive(Debug, Default)]
pub(super) struct Faults {
    last: Mutex<String>,
    fault: OnceLock<DeviceError>,
}

impl Faults {
    /// Notes a launch.
    pub fn launched(&self, kernel: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        kernel.clone_into(&mut last);
    }

    /// The kernel launched last on any stream.
    pub fn last(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// # Errors
    /// The fault that there was.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.fault.get().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    /// The error of a call that failed: its own, or that of a kernel before.
    pub fn failed(&self, call: &'static str) -> impl Fn(DriverError) -> DeviceError {
        move |error| {
            let reason = describe(error);
            if !is_sticky(error.0) {
                return DeviceError::Driver { call, reason };
            }
            let kernel = self.last();
            self.keep(DeviceError::Lost { kernel, reason })
        }
    }

    /// Asks again and again until the answer is not [`CUresult::CUDA_ERROR_NOT_READY`].
    ///
    /// # Errors
    /// [`DeviceError::Watchdog`] with `kernel` after `limit`; another answer than success.
    pub fn wait(
        &self,
        kernel: &str,
        limit: Duration,
        ask: impl Fn() -> CUresult,
    ) -> Result<(), DeviceError> {
        let begun = Instant::now();
        loop {
            match ask() {
                CUresult::CUDA_SUCCESS => return Ok(()),
                CUresult::CUDA_ERROR_NOT_READY => {}
                error => return Err(self.failed("wait for kernels")(DriverError(error))),
            }
            let waited = begun.elapsed();
            if waited > limit {
                return Err(self.keep(DeviceError::Watchdog {
                    kernel: kernel.to_owned(),
                    seconds: limit.as_secs_f32(),
                }));
            }
            // Short kernels are waited for awake; a long one does not need the core.
            if waited > Duration::from_millis(2) {
                std::thread::sleep(Duration::from_micros(200));
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Keeps the first fault, and returns that.
    fn keep(&self, fault: DeviceError) -> DeviceError {
        self.fault.get_or_init(|| fault).clone()
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

/// Whether the process has to end before the device does anything again: the driver's
/// documentation of `CUresult` says so of each.
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
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_kernel_that_ends_is_waited_for() {
        let faults = Faults::default();
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            match asked.get() {
                5 => CUresult::CUDA_SUCCESS,
                _ => CUresult::CUDA_ERROR_NOT_READY,
            }
        };
        assert!(faults.wait("k", Duration::from_secs(60), ask).is_ok());
        assert_eq!(asked.get(), 5);
        assert!(faults.check().is_ok());
    }

    #[test]
    fn a_kernel_that_hangs_is_named_now_and_later() {
        let faults = Faults::default();
        let hangs = || CUresult::CUDA_ERROR_NOT_READY;
        let told = faults.wait("loops", Duration::from_millis(5), hangs);
        let told = told.expect_err("it hangs").to_string();
        assert!(
            told.contains("`loops`") && told.contains("0.005 s"),
            "{told}"
        );
        let _ = faults.wait("another", Duration::ZERO, hangs);
        let later = faults.check().expect_err("there was a fault").to_string();
        assert_eq!(later, told);
    }
}
