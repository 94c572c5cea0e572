//! Finding the driver and a device, without the panics of cudarc where something is absent.

use super::super::properties::slice_in_name;
use super::super::{DeviceError, DeviceKind, Properties, Result};
use super::answer::describe;
use super::symbols;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::{CudaContext, sys};
use std::sync::Arc;

/// The oldest driver that is supported, by its CUDA version.
const OLDEST_DRIVER: u32 = 12_040;

/// The advice for a driver that cannot be used.
const INSTEAD: &str = "install a newer NVIDIA driver (550 or later has CUDA 12.4), or run with \
                       `--device emulator`";

/// The context of a device, and what it is.
pub(super) fn open(ordinal: usize) -> Result<(Arc<CudaContext>, Properties)> {
    let no_driver = |reason: String| DeviceError::NoDriver { reason };
    let unusable = |reason: String| DeviceError::UnusableDriver { reason };
    // SAFETY: opens and closes the driver library, whose start has no other effect.
    if !unsafe { sys::is_culib_present() } {
        return Err(no_driver(
            "no driver library (libcuda.so.1, libcuda.so) was found by the system's loader"
                .to_owned(),
        ));
    }
    let does_not_start = |error: DriverError| match error.0 {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => DeviceError::NoDevice { ordinal, count: 0 },
        // What the toolkit has to link against, where no driver is installed.
        sys::CUresult::CUDA_ERROR_STUB_LIBRARY => no_driver(describe(error)),
        _ => unusable(format!(
            "it does not start: {}; `nvidia-smi` may tell more",
            describe(error)
        )),
    };
    let lacks = |names: &[&str]| {
        unusable(format!(
            "it lacks {}, which every driver from CUDA 12.4 on has; {INSTEAD}",
            names.join(", ")
        ))
    };
    if !symbols::has_version() {
        return Err(lacks(&["cuDriverGetVersion"]));
    }
    let mut version = 0;
    // SAFETY: writes one integer; may be called before the driver is started.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    asked
        .result()
        .map_err(|error| unusable(format!("it does not say its version: {error:?}")))?;
    let version = version as u32;
    if version < OLDEST_DRIVER {
        let text = |version: u32| format!("{}.{}", version / 1000, version % 1000 / 10);
        return Err(unusable(format!(
            "it supports CUDA {}, {} or later is needed; {INSTEAD}",
            text(version),
            text(OLDEST_DRIVER)
        )));
    }
    let missing = symbols::missing();
    if !missing.is_empty() {
        return Err(lacks(&missing));
    }
    result::init().map_err(does_not_start)?;
    let count = result::device::get_count().map_err(does_not_start)? as usize;
    if ordinal >= count {
        return Err(DeviceError::NoDevice { ordinal, count });
    }
    let failed = |call| {
        move |error| DeviceError::Driver {
            call,
            reason: describe(error),
        }
    };
    let context = CudaContext::new(ordinal).map_err(failed("open the device"))?;
    let properties = properties(&context, version).map_err(failed("ask for properties"))?;
    Ok((context, properties))
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
        uuid: context
            .uuid()
            .ok()
            .map(|uuid| uuid_name(&uuid.bytes.map(|byte| byte as u8))),
        pci_bus_id: pci_bus_id(context),
        mig: slice_in_name(&context.name()?),
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

/// Where the device is, as NVML takes it.
fn pci_bus_id(context: &CudaContext) -> Option<String> {
    use sys::CUdevice_attribute_enum as A;
    let [domain, bus, device] = [
        A::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID,
        A::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID,
        A::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID,
    ]
    .map(|attribute| context.attribute(attribute).ok());
    Some(format!("{:04x}:{:02x}:{:02x}.0", domain?, bus?, device?))
}

/// As NVML writes it.
fn uuid_name(bytes: &[u8; 16]) -> String {
    let hexadecimal = |part: &[u8]| -> String {
        let digits = part.iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    };
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hexadecimal(&bytes[part]));
    format!("GPU-{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_are_written_as_nvml_does() {
        let bytes = std::array::from_fn(|i| 16 * i as u8 + 15 - i as u8);
        let name = "GPU-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
        assert_eq!(super::uuid_name(&bytes), name);
    }
}
