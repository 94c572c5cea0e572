//! Drivers that are too old, lack a function or a device, or whose kernels fault.

use super::sample::{SCALES, assert_one_line, stderr};
use super::stub_driver::StubDriver;

/// Every command that opens a device.
const COMMANDS: [&[&str]; 5] = [
    &[
        "bench", "--kernel", SCALES, "--shape", "4x64", "--device", "cuda",
    ],
    &[
        "eval", "--limit", "1", "--config", "baseline", "--device", "cuda",
    ],
    &[
        "generate",
        "--prompt",
        "a",
        "--max-tokens",
        "1",
        "--device",
        "cuda",
    ],
    &[
        "verify",
        "--kernel",
        SCALES,
        "--problems",
        "1",
        "--device",
        "cuda",
    ],
    // It is not mistaken for a machine without a GPU.
    &[
        "verify",
        "--kernel",
        SCALES,
        "--problems",
        "1",
        "--device",
        "auto",
    ],
];

#[test]
fn a_driver_that_is_too_old_is_refused_in_one_line() {
    let Some(driver) = StubDriver::build("a_driver_that_is_too_old", &[]) else {
        return;
    };
    for command in COMMANDS {
        let output = driver
            .mxlab(command)
            .env("STUB_VERSION", "12030")
            .output()
            .expect("runs");
        assert_one_line(
            &output,
            &["CUDA 12.3", "12.4 or later is needed", "NVIDIA driver"],
        );
    }
    assert!(driver.log().is_empty());
}

#[test]
fn a_function_that_the_driver_lacks_is_named() {
    let lacking = [
        "cuDriverGetVersion",
        "cuInit",
        "cuGraphLaunch",
        "cuStreamQuery",
        "cuEventElapsedTime",
    ];
    for name in lacking {
        let Some(driver) = StubDriver::build("a_function_that_the_driver_lacks", &[name]) else {
            return;
        };
        for command in [COMMANDS[0], COMMANDS[4]] {
            let mut command = driver.mxlab(command);
            let output = command.env("STUB_VERSION", "12040").output().expect("runs");
            assert_one_line(
                &output,
                &[&format!("it lacks {name},"), "12.4", "NVIDIA driver"],
            );
        }
    }
}

#[test]
fn a_driver_without_a_device_is_no_gpu() {
    let Some(driver) = StubDriver::build("a_driver_without_a_device", &[]) else {
        return;
    };
    for command in &COMMANDS[..4] {
        let output = driver
            .mxlab(command)
            .env("STUB_DEVICES", "0")
            .output()
            .expect("runs");
        assert_one_line(&output, &["no CUDA device 0: the driver has 0"]);
    }
    // The emulator runs instead, and finds the kernels right.
    let output = driver
        .mxlab(COMMANDS[4])
        .env("STUB_DEVICES", "0")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn errors_of_the_driver_have_their_names() {
    let Some(driver) = StubDriver::build("errors_of_the_driver", &[]) else {
        return;
    };
    let generate = [
        "generate",
        "--prompt",
        "a",
        "--max-tokens",
        "2",
        "--device",
        "cuda",
    ];
    // The oldest supported driver.
    let output = driver
        .mxlab(&generate)
        .env("STUB_VERSION", "12040")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let log = driver.log();
    let mut launches = log.iter().filter_map(|line| line.strip_prefix("launch "));
    let last = launches.next_back().expect("a launch");
    for (variable, value, word) in [
        ("STUB_FAULT", last, "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("STUB_REFUSE_PTX", "218", "CUDA_ERROR_INVALID_PTX"),
        ("STUB_MEMORY", "1000000", "does not fit the device"),
    ] {
        let output = driver
            .mxlab(&generate)
            .env(variable, value)
            .output()
            .expect("runs");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(word) && !said.contains("panicked"), "{said}");
    }
}

/// Kernels without results are not timed, and the bench ends normally.
#[test]
fn a_bench_of_kernels_that_do_nothing_times_none() {
    let Some(driver) = StubDriver::build("a_bench_of_kernels_that_do_nothing", &[]) else {
        return;
    };
    let output = driver.mxlab(COMMANDS[0]).output().expect("runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(driver.log().iter().any(|line| line.starts_with("launch ")));
}
