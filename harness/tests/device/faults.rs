//! Faults of kernels.

use crate::device::bench::{gpu, kernel, line, line_of, run, says};
use mxlab_harness::device::{Argument, Buffer, Device, DeviceError, EmulatorOptions};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn what_a_kernel_does_wrong_names_the_buffer() {
    let device = Device::emulator();
    let add = |out: Argument, source: Argument, n: u32| {
        let arguments = [out, source, Argument::U32(1), Argument::U32(n)];
        run(&device, "add", line(1, 32), &arguments)
    };
    let source = device.upload("activations", &[0u32; 8]).expect("memory");
    let target = device.allocate("codes", 32).expect("memory");
    let (out, input) = (Argument::Buffer(&target), Argument::Buffer(&source));
    let load = format!("line {}:", line_of("ld.global.u32 %r3, [%rd1];"));
    let error = says(
        add(out, input, 9),
        &[
            "add: ",
            &load,
            "thread (8, 0, 0)",
            "out of bounds",
            "`activations`",
        ],
    );
    assert!(matches!(error, DeviceError::Sanitizer(_)));
    says(add(out, out, 8), &["never written", "`codes`"]);
    says(
        target.download::<u32>().map(|_| ()),
        &["`codes`", "never written"],
    );
    says(
        add(buffer_end(&target), input, 8),
        &["out of bounds", "`codes`"],
    );
    // Its address stays known to be nobody's.
    let gone = Argument::U64(source.address());
    drop(source);
    says(add(out, gone, 8), &["freed", "`activations`"]);
}

/// A place so close to the end that not all words fit behind.
fn buffer_end(buffer: &Buffer) -> Argument<'_> {
    buffer.at(buffer.bytes() - 4)
}

#[test]
fn a_kernel_that_hangs_on_the_emulator_uses_up_its_budget() {
    let options = EmulatorOptions {
        budget: 10_000,
        ..EmulatorOptions::default()
    };
    let device = Device::emulator_with(options);
    let flag = device.upload("flag", &[0u32]).expect("memory");
    let arguments = [Argument::Buffer(&flag)];
    says(
        run(&device, "loops", line(1, 32), &arguments),
        &["loops", "10000 warp instructions", "for ever"],
    );
    flag.write(0, &[1u32]).expect("the device is as before");
    run(&device, "loops", line(1, 32), &arguments).expect("it ends");
}

/// A fault costs the process its GPU, so each test of one gets a process.
#[test]
fn faults_of_a_gpu_are_told() {
    if gpu("faults_of_a_gpu").is_none() {
        return;
    }
    for test in ["faults::a_crash_of_a_gpu", "faults::a_hang_of_a_gpu"] {
        let mut alone = Command::new(std::env::current_exe().expect("this program"));
        let status = alone
            .args(["--exact", test, "--ignored", "--nocapture"])
            .status();
        assert!(status.expect("it runs").success(), "{test}");
    }
}

#[test]
#[ignore = "costs the process its GPU; started by faults_of_a_gpu_are_told"]
fn a_crash_of_a_gpu() {
    let Some(device) = gpu("a_crash_of_a_gpu") else {
        return;
    };
    let buffer = device.upload("out", &[0u32]).expect("memory");
    let arguments = [
        Argument::U64(8),
        Argument::U64(8),
        Argument::U32(1),
        Argument::U32(1),
    ];
    let first = says(
        run(&device, "add", line(1, 32), &arguments),
        &["`add`", "lost"],
    );
    assert!(matches!(first, DeviceError::Lost { .. }));
    let again = says(buffer.download::<u32>(), &["`add`"]);
    assert_eq!(again.to_string(), first.to_string());
}

#[test]
#[ignore = "costs the process its GPU; started by faults_of_a_gpu_are_told"]
fn a_hang_of_a_gpu() {
    let Some(device) = gpu("a_hang_of_a_gpu") else {
        return;
    };
    let flag = device.upload("flag", &[0u32]).expect("memory");
    let stream = device.stream().expect("a stream");
    let kernel = kernel(&device, "loops");
    stream
        .launch(&kernel, line(1, 32), &[Argument::Buffer(&flag)])
        .expect("it starts");
    let told = says(
        stream.synchronize_within(Duration::from_millis(300)),
        &["`loops`", "0.3 s"],
    );
    assert!(matches!(told, DeviceError::Watchdog { .. }));
    // Neither another call nor giving everything back waits for the kernel.
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        says(flag.download::<u32>(), &["`loops`"]);
        drop((flag, stream, kernel, device));
        done.send(()).expect("somebody waits");
    });
    ended
        .recv_timeout(Duration::from_secs(20))
        .expect("nothing waits");
}
