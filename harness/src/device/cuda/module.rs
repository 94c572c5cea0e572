//! Loading of modules: PTX text, which the driver compiles, and images, which it takes as they are.

use super::super::loader::ImageError;
use super::super::{DeviceError, Result};
use super::{CUresult, Cuda};
use cudarc::driver::result::DriverError;
use cudarc::driver::sys;
use std::ffi::{CString, c_uint, c_void};

/// Bytes of the driver's log that are kept.
const LOG_BYTES: usize = 8192;

/// A module, or an error and what the driver's log says of it.
///
/// # Safety
/// `data` points to a text that ends with a zero, or to a whole ELF file. A context is current.
unsafe fn load(data: *const c_void) -> Result<u64, (DriverError, String)> {
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
    ];
    // The size is the value itself, in the place of a pointer.
    let mut values = [log.as_mut_ptr().cast(), LOG_BYTES as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: by the contract of this function; options and values are as many as told, and the log
    // outlives the call.
    let loaded = unsafe {
        sys::cuModuleLoadDataEx(
            &raw mut module,
            data,
            options.len() as c_uint,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    loaded.result().map_err(|error| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        (
            error,
            String::from_utf8_lossy(&log[..end]).trim().to_owned(),
        )
    })?;
    Ok(module as u64)
}

impl Cuda {
    /// Has the driver compile a text.
    pub(super) fn load_text(&self, name: &str, ptx: &str) -> Result<u64> {
        self.bind()?;
        let refused = |log: String| DeviceError::Compile {
            module: name.to_owned(),
            log,
        };
        let text = CString::new(ptx).map_err(|_| refused("it contains a zero byte".to_owned()))?;
        // SAFETY: the text ends with a zero; the context is bound.
        unsafe { load(text.as_ptr().cast()) }.map_err(|(error, log)| {
            match self.faults.failed("load a module")(error) {
                DeviceError::Driver { reason, .. } => refused(format!("{reason}\n{log}")),
                fault => fault,
            }
        })
    }

    /// Loads the ELF file of a module.
    pub(super) fn load_elf(&self, image: &[u8]) -> Result<u64, ImageError> {
        self.bind().map_err(ImageError::Failed)?;
        // SAFETY: whoever made the image checked that it is a whole ELF file; the context is bound.
        unsafe { load(image.as_ptr().cast()) }.map_err(|(error, log)| {
            let is_memory = error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY;
            match self.faults.failed("load an image")(error) {
                // With other machine code it may work: every error but those that no text is
                // loaded after either.
                DeviceError::Driver { reason, .. } if !is_memory => ImageError::Refused(
                    [reason, log]
                        .into_iter()
                        .filter(|text| !text.is_empty())
                        .collect::<Vec<_>>()
                        .join(": "),
                ),
                fault => ImageError::Failed(fault),
            }
        })
    }
}
