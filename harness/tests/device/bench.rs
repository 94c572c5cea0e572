//! Devices to test, kernels to run on them, and what errors have to say.

use mxlab_harness::device::{Argument, Device, DeviceError, Geometry, Kernel};
use not_run::not_run;

/// Kernels that do one thing each, right or wrong.
pub const PTX: &str = include_str!("kernels.ptx");

/// The line of [`PTX`] that has `text`, counted from 1.
pub fn line_of(text: &str) -> usize {
    let line = PTX.lines().position(|line| line.contains(text));
    1 + line.expect("a line of the text")
}

pub fn gpu(test: &str) -> Option<Device> {
    match Device::cuda(0) {
        Ok(device) => Some(device),
        Err(DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. }) => {
            not_run(test, "a GPU");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The emulator, and a GPU if there is one.
pub fn devices(test: &str) -> Vec<Device> {
    [Some(Device::emulator()), gpu(test)]
        .into_iter()
        .flatten()
        .collect()
}

pub fn kernel(device: &Device, entry: &str) -> Kernel {
    let module = device.load("kernels.ptx", PTX).expect("it is PTX");
    module.kernel(entry).expect("it is there")
}

pub fn line(grid: u32, block: u32) -> Geometry {
    Geometry {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        dynamic_shared: 0,
    }
}

/// Asserts that an error's message has all of `parts`.
pub fn says<T: std::fmt::Debug>(result: Result<T, DeviceError>, parts: &[&str]) -> DeviceError {
    let error = result.expect_err("it is wrong");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    error
}

/// Launches on a stream of its own and waits.
pub fn run(
    device: &Device,
    entry: &str,
    size: Geometry,
    with: &[Argument],
) -> Result<(), DeviceError> {
    let stream = device.stream()?;
    stream.launch(&kernel(device, entry), size, with)?;
    stream.synchronize()
}
