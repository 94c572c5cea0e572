//! The device interface on the emulator, every error of it, and that a machine without a GPU says so.

use mxlab_harness::device::{
    Argument, Device, DeviceChoice, DeviceError, DeviceKind, EmulatorOptions, Geometry, Kernel,
};
use std::io::Write;

/// y[i] = 3 x[i] + b, one thread an element.
const SCALE: &str = "\
.version 7.0
.target sm_80
.address_size 64

.visible .entry scale(.param .u64 y, .param .u64 x, .param .u32 b, .param .u32 n)
{
    .reg .pred %p;
    .reg .u32 %i, %t, %n, %b, %v;
    .reg .u64 %x, %y, %o;
    mov.u32 %i, %ctaid.x;
    mov.u32 %t, %ntid.x;
    mov.u32 %v, %tid.x;
    mad.lo.u32 %i, %i, %t, %v;
    ld.param.u32 %n, [n];
    setp.ge.u32 %p, %i, %n;
    @%p ret;
    ld.param.u64 %x, [x];
    ld.param.u64 %y, [y];
    ld.param.u32 %b, [b];
    mul.wide.u32 %o, %i, 4;
    add.u64 %x, %x, %o;
    add.u64 %y, %y, %o;
    ld.global.u32 %v, [%x];
    mad.lo.u32 %v, %v, 3, %b;
    st.global.u32 [%y], %v;
    ret;
}
";

const N: u32 = 1000;

fn geometry(threads: u32) -> Geometry {
    Geometry {
        grid: [N.div_ceil(threads.max(1)), 1, 1],
        block: [threads, 1, 1],
        dynamic_shared: 0,
    }
}

fn scale(device: &Device) -> Kernel {
    device
        .load("scale.ptx", SCALE)
        .unwrap()
        .kernel("scale")
        .unwrap()
}

/// The devices of this machine.
fn devices() -> Vec<Device> {
    let mut devices = vec![Device::emulator()];
    match Device::cuda(0) {
        Ok(device) => devices.push(device),
        Err(error) => {
            // Past the capture of the test harness: what did not run must be seen.
            let _ = writeln!(std::io::stderr(), "not run on a GPU: {error}");
        }
    }
    devices
}

#[test]
fn a_kernel_runs_and_its_results_come_back() {
    for device in devices() {
        let x: Vec<u32> = (0..N).collect();
        let input = device.upload("x", &x).unwrap();
        let output = device.allocate("y", 4 * N as usize).unwrap();
        let stream = device.stream().unwrap();
        let arguments = [
            Argument::Buffer(&output),
            Argument::Buffer(&input),
            Argument::U32(5),
            Argument::U32(N),
        ];
        let before = stream.record().unwrap();
        stream
            .launch(&scale(&device), geometry(128), &arguments)
            .unwrap();
        let after = stream.record().unwrap();
        stream.synchronize().unwrap();
        let expected: Vec<u32> = x.iter().map(|x| 3 * x + 5).collect();
        assert_eq!(output.download::<u32>().unwrap(), expected);
        match device.properties().kind {
            DeviceKind::Cuda => {
                assert!(after.milliseconds_since(&before).unwrap() > 0.0);
                assert!(stream.statistics().is_none());
            }
            DeviceKind::Emulator => {
                let time = after.milliseconds_since(&before);
                assert!(matches!(time, Err(DeviceError::NoClock)));
                let counts = stream.statistics().unwrap();
                assert_eq!(counts.global_load_bytes, 4 * u64::from(N));
                assert_eq!(counts.global_store_bytes, 4 * u64::from(N));
                // 1000 words of 4 bytes lie in 125 sectors of 32.
                assert_eq!(counts.global_sectors, 2 * 125);
            }
        }
    }
}

#[test]
fn pinned_memory_is_out_of_reach_while_a_copy_is_under_way() {
    for device in devices() {
        let buffer = device.allocate("buffer", 64).unwrap();
        let stream = device.stream().unwrap();
        let mut source = device.pinned(64).unwrap();
        source.bytes().unwrap().copy_from_slice(&[7; 64]);
        let mut target = device.pinned(16).unwrap();
        stream.copy_in(&buffer, 0, &source).unwrap();
        stream.copy_out(&buffer, 48, &target).unwrap();
        assert!(source.bytes().is_none() && target.bytes().is_none());
        stream.synchronize().unwrap();
        assert_eq!(target.bytes().unwrap(), [7; 16]);
        let too_far = stream.copy_in(&buffer, 1, &source);
        assert!(matches!(too_far, Err(DeviceError::OutsideBuffer { .. })));
    }
}

#[test]
fn copies_stay_inside_buffers() {
    for device in devices() {
        let buffer = device.upload("buffer", &[1u16, 2, 3]).unwrap();
        assert_eq!(buffer.bytes(), 6);
        buffer.write(2, &[9u16]).unwrap();
        assert_eq!(buffer.download::<u16>().unwrap(), [1, 9, 3]);
        let outside = buffer.write(4, &[0u32]);
        assert!(matches!(
            outside,
            Err(DeviceError::OutsideBuffer {
                first: 4,
                end: 8,
                bytes: 6
            })
        ));
        let nothing = device.allocate("nothing", 0).unwrap();
        assert!(nothing.download::<u8>().unwrap().is_empty());
    }
}

/// The error of loading a text, as a user sees it.
fn refusal(device: &Device, ptx: &str) -> String {
    device.load("k.ptx", ptx).unwrap_err().to_string()
}

#[test]
fn texts_that_cannot_be_loaded_say_where_and_why() {
    let device = Device::emulator();
    let broken = refusal(&device, &SCALE.replace("@%p ret;", "@%p ret"));
    assert!(broken.starts_with("k.ptx:17:"), "{broken}");
    let unknown = refusal(
        &device,
        &SCALE.replace("mad.lo.u32 %v, %v, 3", "mad.up.u32 %v, %v, 3"),
    );
    assert!(
        unknown.starts_with("k.ptx:24:") && unknown.contains("mad.up.u32"),
        "{unknown}"
    );
    let undeclared = refusal(&device, &SCALE.replace("[%y], %v", "[%y], %w"));
    assert!(
        undeclared.starts_with("k.ptx:25:") && undeclared.contains("%w"),
        "{undeclared}"
    );
    let module = device.load("k.ptx", SCALE).unwrap();
    let absent = module.kernel("scales").unwrap_err().to_string();
    assert_eq!(absent, "k.ptx has no kernel `scales`; it has scale");
}

#[test]
fn launches_that_do_not_fit_are_refused_before_they_start() {
    for device in devices() {
        let kernel = scale(&device);
        let stream = device.stream().unwrap();
        let buffer = device.upload("buffer", &vec![0u32; N as usize]).unwrap();
        let right = [
            Argument::Buffer(&buffer),
            Argument::Buffer(&buffer),
            Argument::U32(5),
            Argument::U32(N),
        ];
        let launch = |geometry, arguments: &[Argument]| {
            stream
                .launch(&kernel, geometry, arguments)
                .unwrap_err()
                .to_string()
        };
        let most = "scale: 1025 threads a block, at most 1024 are possible";
        assert_eq!(launch(geometry(1025), &right), most);
        assert_eq!(
            launch(geometry(0), &right),
            "scale: the grid or the block is empty"
        );
        let shared = Geometry {
            dynamic_shared: 300 * 1024,
            ..geometry(128)
        };
        assert!(launch(shared, &right).contains("307200 bytes of shared memory"));
        let few = launch(geometry(128), &right[..3]);
        assert_eq!(few, "scale: 3 arguments given, 4 declared");
        let mut wrong = right;
        wrong[3] = Argument::U64(5);
        let size = launch(geometry(128), &wrong);
        assert_eq!(size, "scale: argument 3 has 8 bytes, the parameter 4");
        let elsewhere = Device::emulator();
        let foreign = elsewhere.upload("foreign", &[0u32]).unwrap();
        wrong = right;
        wrong[0] = Argument::Buffer(&foreign);
        let foreign = launch(geometry(128), &wrong);
        assert_eq!(foreign, "scale: argument 0 is a buffer of another device");
    }
}

#[test]
fn the_emulator_names_the_buffer_that_a_kernel_leaves() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let input = device.upload("weights", &[1u32; 10]).unwrap();
    let output = device.allocate("results", 4 * N as usize).unwrap();
    let arguments = [
        Argument::Buffer(&output),
        Argument::Buffer(&input),
        Argument::U32(5),
        Argument::U32(N),
    ];
    let report = stream.launch(&scale(&device), geometry(128), &arguments);
    let report = report.unwrap_err().to_string();
    for part in ["scale", "line 23:", "weights", "out of bounds"] {
        assert!(report.contains(part), "no `{part}` in {report}");
    }
    // What a kernel did not write cannot be read.
    let unread = output.download::<u32>().unwrap_err().to_string();
    assert!(unread.contains("results"), "{unread}");
    // The device goes on.
    let input = device.upload("weights", &[1u32; N as usize]).unwrap();
    let arguments = [
        Argument::Buffer(&output),
        Argument::BufferAt(&input, 0),
        Argument::U32(5),
        Argument::U32(N),
    ];
    stream
        .launch(&scale(&device), geometry(128), &arguments)
        .unwrap();
    assert_eq!(output.download::<u32>().unwrap(), [8; N as usize]);
}

#[test]
fn what_was_freed_is_told_as_such() {
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let output = device.allocate("results", 4 * N as usize).unwrap();
    let address = device
        .upload("gone", &[1u32; N as usize])
        .unwrap()
        .address();
    let arguments = [
        Argument::Buffer(&output),
        Argument::U64(address),
        Argument::U32(5),
        Argument::U32(N),
    ];
    let report = stream.launch(&scale(&device), geometry(128), &arguments);
    let report = report.unwrap_err().to_string();
    assert!(
        report.contains("gone") && report.contains("freed"),
        "{report}"
    );
}

#[test]
fn a_kernel_that_hangs_and_memory_that_is_used_up_are_errors() {
    let options = EmulatorOptions {
        memory_bytes: 1 << 20,
        budget: 10_000,
    };
    let device = Device::emulator_with(options);
    let text = SCALE.replace("    @%p ret;", "again:\n    bra again;");
    let kernel = device
        .load("hang.ptx", &text)
        .unwrap()
        .kernel("scale")
        .unwrap();
    let stream = device.stream().unwrap();
    let buffer = device.upload("buffer", &[0u32]).unwrap();
    let arguments = [
        Argument::Buffer(&buffer),
        Argument::Buffer(&buffer),
        Argument::U32(0),
        Argument::U32(1),
    ];
    let hang = stream
        .launch(&kernel, geometry(32), &arguments)
        .unwrap_err()
        .to_string();
    assert!(hang.contains("scale") && hang.contains("10000"), "{hang}");
    let full = device.allocate("cache", 2 << 20).unwrap_err().to_string();
    assert!(full.contains("2097152 bytes for cache"), "{full}");
    // What was freed can be had again.
    let half = device.allocate("half", 600 << 10).unwrap();
    assert!(device.allocate("other half", 600 << 10).is_err());
    drop(half);
    device.allocate("other half", 600 << 10).unwrap();
}

#[test]
fn a_machine_without_a_gpu_says_so_and_auto_is_the_emulator() {
    match Device::cuda(0) {
        Ok(device) => {
            let kind = Device::open(DeviceChoice::Auto).unwrap().properties().kind;
            assert_eq!(kind, DeviceKind::Cuda);
            assert!(matches!(
                device.load("k.ptx", &SCALE.replace("sm_80", "sm_999")),
                Err(DeviceError::Target { .. })
            ));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("no CUDA"), "{text}");
            let kind = Device::open(DeviceChoice::Auto).unwrap().properties().kind;
            assert_eq!(kind, DeviceKind::Emulator);
        }
    }
    assert!(matches!(
        Device::cuda(999),
        Err(DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. })
    ));
    assert!(matches!(
        Device::open(DeviceChoice::Cpu),
        Err(DeviceError::RunsNoPtx)
    ));
}

#[test]
fn device_options_are_read_and_written() {
    for name in ["auto", "cuda", "cuda:0", "cuda:13", "emulator", "cpu"] {
        assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
    }
    for name in ["", "CUDA", "cuda:", "cuda:-1", "cuda:x", "gpu"] {
        let error = name.parse::<DeviceChoice>().unwrap_err().to_string();
        assert!(
            error.contains("auto, cuda, cuda:N, emulator, cpu"),
            "{error}"
        );
    }
}
