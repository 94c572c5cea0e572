//! Launches and copies that are refused before a kernel starts.

use crate::device::bench::{PTX, devices, gpu, kernel, line, line_of, run, says};
use mxlab_harness::device::{
    Argument, Device, DeviceChoice, DeviceError, DeviceKind, EmulatorOptions, Geometry,
};

#[test]
fn wrong_launches_are_refused_before_they_start() {
    for device in devices("wrong_launches") {
        let buffer = device.upload("out", &[0u32; 8]).expect("memory");
        let out = Argument::Buffer(&buffer);
        let refused = |entry: &str, size: Geometry, arguments: &[Argument], parts: &[&str]| {
            let error = says(run(&device, entry, size, arguments), parts);
            assert!(
                matches!(
                    error,
                    DeviceError::Arguments { .. } | DeviceError::Geometry { .. }
                ),
                "{error:?}"
            );
        };
        let right = [out, out, Argument::U32(5), Argument::U32(8)];
        refused(
            "add",
            line(1, 32),
            &right[..3],
            &["add", "3 arguments", "4"],
        );
        refused("add", line(1, 32), &[], &["0 arguments"]);
        let wide = [out, out, Argument::U64(5), Argument::U32(8)];
        refused("add", line(1, 32), &wide, &["argument 2", "8 bytes", "4"]);
        let narrow = [out, Argument::U32(0), Argument::U32(5), Argument::U32(8)];
        refused("add", line(1, 32), &narrow, &["argument 1", "4 bytes", "8"]);
        refused("add", line(1, 1025), &right, &["1025 threads", "1024"]);
        refused("add", line(1, 0), &right, &["empty"]);
        refused("add", line(0, 32), &right, &["empty"]);
        let deep = Geometry {
            block: [1, 1, 65],
            ..line(1, 1)
        };
        refused("add", deep, &right, &["65", "64"]);
        let high = Geometry {
            grid: [1, 65_536, 1],
            ..line(1, 1)
        };
        refused("add", high, &right, &["65536"]);
        // A product that is zero modulo 2^32.
        let wraps = Geometry {
            block: [1 << 16, 1 << 16, 1],
            ..line(1, 1)
        };
        refused("add", wraps, &right, &["4294967296 threads"]);
        refused(
            "fixed_block",
            line(1, 32),
            &[out],
            &["requires", "[64, 1, 1]"],
        );
        says(
            run(
                &device,
                "add",
                line(1, 32),
                &[buffer.at(33), out, right[2], right[3]],
            ),
            &["`out`", "32"],
        );
        // The device is as before.
        run(&device, "add", line(1, 32), &right).expect("it is right");
        assert_eq!(buffer.download::<u32>().expect("written"), [5; 8]);
    }
}

#[test]
fn a_text_that_is_not_ptx_is_refused_with_its_place() {
    for device in devices("a_text_that_is_not_ptx") {
        let load = |ptx: &str| device.load("bad.ptx", ptx);
        let bad = PTX.replace(
            "ret;\n}\n\n// out[0] = the sum",
            "ret\n}\n\n// out[0] = the sum",
        );
        let error = says(load(&bad), &["bad.ptx:"]);
        let DeviceError::Syntax { reason, .. } = error else {
            panic!("{error:?}")
        };
        // The brace behind the missing semicolon.
        let place = (reason.position.line as usize, reason.position.column);
        assert_eq!(place, (line_of("// out[0] = the sum") - 2, 1));
        says(load(""), &["bad.ptx:"]);
        says(load("\0"), &["bad.ptx:"]);
        let module = device.load("kernels.ptx", PTX).expect("it is PTX");
        says(
            module.kernel("missing"),
            &["kernels.ptx has no kernel `missing`", "add", "fixed_block"],
        );
    }
}

#[test]
fn an_instruction_that_nobody_knows_is_refused_with_its_place() {
    let ptx = PTX.replace("add.u32 %r3, %r3, %r0;", "frobnicate.u32 %r3, %r3, %r0;");
    let place = format!("bad.ptx:{}:3", line_of("add.u32 %r3, %r3, %r0;"));
    says(
        Device::emulator().load("bad.ptx", &ptx),
        &[&place, "unknown instruction `frobnicate.u32`"],
    );
    if let Some(device) = gpu("an_instruction_that_nobody_knows") {
        // The driver's own log, which has the line.
        let line = format!("line {}", line_of("add.u32 %r3, %r3, %r0;"));
        says(device.load("bad.ptx", &ptx), &["bad.ptx", &line]);
    }
}

#[test]
fn a_module_for_a_newer_chip_is_refused() {
    for device in devices("a_module_for_a_newer_chip") {
        let sm = device.properties().sm;
        let load = |target: &str| device.load("new.ptx", &PTX.replace("sm_80", target));
        let error = says(
            load("sm_999"),
            &["new.ptx is for sm_999", &format!("sm_{sm}")],
        );
        assert!(matches!(error, DeviceError::Target { .. }));
        load("sm_80").expect("it is not newer");
        if device.properties().kind == DeviceKind::Emulator {
            for target in ["sm_90a", "sm_100a", "sm_120f", "sm_121"] {
                load(target).expect("its instructions are known");
            }
        }
    }
}

#[test]
fn memory_ends() {
    let options = EmulatorOptions {
        memory_bytes: 1000,
        ..EmulatorOptions::default()
    };
    let device = Device::emulator_with(options);
    let first = device.allocate("first", 600).expect("it fits");
    says(
        device.allocate("weights", 401),
        &["out of memory", "401 bytes", "`weights`", "400 of 1000"],
    );
    drop(first);
    device.allocate("weights", 1000).expect("all is free");
    if let Some(device) = gpu("memory_ends") {
        let error = says(
            device.allocate("weights", 1 << 50),
            &["out of memory", "`weights`"],
        );
        assert!(matches!(error, DeviceError::OutOfMemory { free, .. } if free > 0));
    }
}

#[test]
fn what_is_of_another_device_is_refused() {
    let [here, there] = [Device::emulator(), Device::emulator()];
    let target = here.upload("out", &[0u64]).expect("memory");
    let foreign = there.upload("foreign", &[0u64]).expect("memory");
    let stream = here.stream().expect("a stream");
    let size = line(1, 64);
    let (ours, theirs) = (kernel(&here, "fixed_block"), kernel(&there, "fixed_block"));
    says(
        stream.launch(&ours, size, &[Argument::Buffer(&foreign)]),
        &["`foreign`", "another device"],
    );
    says(
        stream.launch(&theirs, size, &[Argument::Buffer(&target)]),
        &["`fixed_block`", "another device"],
    );
    let pinned = here.pinned(8).expect("memory");
    says(
        stream.copy_in(&foreign, 0, &pinned),
        &["`foreign`", "another device"],
    );
    let pinned = there.pinned(8).expect("memory");
    says(
        stream.copy_in(&target, 0, &pinned),
        &["pinned", "another device"],
    );
    let [first, second] = [&here, &there].map(|d| d.stream().and_then(|s| s.record()));
    let (first, second) = (first.expect("an event"), second.expect("an event"));
    says(
        second.milliseconds_since(&first),
        &["event", "another device"],
    );
}

#[test]
fn the_device_option() {
    for text in ["auto", "cuda", "cuda:0", "cuda:12", "emulator", "cpu"] {
        let choice: DeviceChoice = text.parse().expect("a device");
        assert_eq!(choice.to_string(), text);
    }
    for text in [
        "",
        "gpu",
        "CUDA",
        "cuda:",
        "cuda:-1",
        "cuda:+1",
        "cuda:x",
        "cuda:1 ",
        "cuda:99999999999999999999",
    ] {
        let error = text
            .parse::<DeviceChoice>()
            .expect_err("no device")
            .to_string();
        assert!(
            error.contains(&format!("`{text}`")) && error.contains("cuda:N"),
            "{error}"
        );
    }
    assert_eq!(DeviceChoice::default(), DeviceChoice::Auto);
    let open = |text: &str| Device::open(text.parse().expect("a device"));
    assert_eq!(
        open("emulator").expect("always").properties().kind,
        DeviceKind::Emulator
    );
    says(open("cpu"), &["`cpu`", "emulator"]);
    let auto = open("auto").expect("always").properties().kind;
    match Device::cuda(0) {
        Ok(_) => assert_eq!(auto, DeviceKind::Cuda),
        Err(error) => {
            assert_eq!(auto, DeviceKind::Emulator);
            let text = error.to_string();
            assert!(
                text.contains("libcuda") || text.contains("driver"),
                "{text}"
            );
            assert_eq!(open("cuda").expect_err("there is none").to_string(), text);
        }
    }
    if gpu("the_device_option").is_some() {
        says(
            Device::cuda(1000),
            &["no CUDA device 1000", "the driver has"],
        );
    }
}
