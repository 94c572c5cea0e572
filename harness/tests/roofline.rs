//! Occupancy and prediction against cases worked out by hand.

use mxlab_harness::device::{Device, DeviceKind, Properties};
use mxlab_harness::roofline::{
    BUSY_FRACTION, CHIPS, Chip, Limiter, NotCompared, Occupancy, OccupancyLimit, Work, predict,
};
use mxlab_harness::sass::{Function, Pipe, parse};

fn chip(name: &str) -> Chip {
    name.parse().unwrap()
}

#[test]
fn occupancy_by_hand() {
    use OccupancyLimit as Limit;
    // Chip, threads, registers, shared bytes; blocks, limit.
    let cases = [
        // 2048 / 256; registers would allow 10: 24 x 32 = 768 a warp, 21 warps a scheduler, 84 / 8.
        ("H200", 256, 24, 0, 8, Limit::Threads),
        ("H200", 256, 32, 0, 8, Limit::Threads),
        // 33 x 32 = 1056 is rounded up to 1280: 12 warps a scheduler, 48 / 8.
        ("H200", 256, 33, 0, 6, Limit::Registers),
        ("H200", 256, 64, 0, 4, Limit::Registers),
        // 12 warps a scheduler, 48 in all, though 51 x 1280 registers would fit the four together.
        ("H200", 64, 40, 0, 24, Limit::Registers),
        // 255 x 32 = 8160 is rounded up to 8192: two warps a scheduler.
        ("A100", 256, 255, 0, 1, Limit::Registers),
        // One warp each: 32 thread blocks before 64 warps.
        ("A100", 32, 16, 0, 32, Limit::Blocks),
        // 228 KiB / (48 + 1) KiB, 164 KiB / 49 KiB, 100 KiB / 49 KiB.
        ("H100", 128, 32, 48 << 10, 4, Limit::SharedMemory),
        ("A100", 128, 32, 48 << 10, 3, Limit::SharedMemory),
        ("L40S", 128, 32, 48 << 10, 2, Limit::SharedMemory),
        // The most that a thread block can have: 227 KiB and the system's one.
        ("B200", 128, 32, 227 << 10, 1, Limit::SharedMemory),
        ("RTX 4090", 256, 40, 0, 6, Limit::Threads),
        ("RTX 5090", 512, 40, 0, 3, Limit::Threads),
        // 17 threads are a warp.
        ("RTX 5090", 17, 16, 0, 24, Limit::Blocks),
    ];
    for (name, threads, registers, shared, blocks, limit) in cases {
        let occupancy = Occupancy::new(&chip(name), threads, registers, shared).unwrap();
        let case = format!("{name} {threads} {registers} {shared}");
        assert_eq!(
            (occupancy.blocks, occupancy.limit),
            (blocks, limit),
            "{case}"
        );
        assert_eq!(occupancy.warps, blocks * threads.div_ceil(32), "{case}");
    }
    for (threads, registers, shared) in [
        (0, 32, 0),
        (1025, 32, 0),
        (1024, 128, 0),
        (256, 256, 0),
        (256, 32, (227 << 10) + 1),
        (256, 32, u32::MAX),
    ] {
        Occupancy::new(&chip("H200"), threads, registers, shared).unwrap_err();
    }
}

#[test]
fn chips_by_name() {
    assert_eq!(chip("rtx4090").name, "RTX 4090");
    let error = "H300".parse::<Chip>().unwrap_err().to_string();
    assert!(
        CHIPS.iter().all(|chip| error.contains(chip.name)),
        "{error}"
    );
}

#[test]
fn devices_are_compared_with_their_own_datasheet_or_none() {
    let gpu = |name: &str, sm, multiprocessors| {
        let mut properties = Device::emulator().properties().clone();
        properties.kind = DeviceKind::Cuda;
        properties.name = name.to_owned();
        properties.sm = sm;
        properties.multiprocessors = Some(multiprocessors);
        properties
    };
    let name = |properties: &Properties| Chip::of_device(properties).map(|chip| chip.name);
    for (device, sm, multiprocessors, chip) in [
        ("NVIDIA H200", 90, 132, "H200"),
        ("NVIDIA H100 80GB HBM3", 90, 132, "H100"),
        ("NVIDIA A100-SXM4-80GB", 80, 108, "A100"),
        ("NVIDIA L40S", 89, 142, "L40S"),
        ("NVIDIA GeForce RTX 4090", 89, 128, "RTX 4090"),
        ("NVIDIA B200", 100, 148, "B200"),
    ] {
        let mut properties = gpu(device, sm, multiprocessors);
        assert_eq!(name(&properties), Ok(chip));
        // A slice of it is compared with nothing, even where CUDA counts all multiprocessors.
        properties.mig = Some("MIG 1g.10gb".to_owned());
        let reason = name(&properties).unwrap_err();
        assert_eq!(reason.to_string(), "not compared: MIG slice");
    }
    for (device, sm, multiprocessors) in [
        ("NVIDIA H100 PCIe", 90, 114),
        ("NVIDIA H100 NVL", 90, 132),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 89, 76),
        ("NVIDIA GeForce RTX 4090 D", 89, 114),
        ("NVIDIA H200", 90, 16),
        ("NVIDIA H20", 90, 78),
    ] {
        let reason = name(&gpu(device, sm, multiprocessors)).unwrap_err();
        assert_eq!(reason, NotCompared::Unknown(device.to_owned()));
    }
    let emulator = Device::emulator();
    assert_eq!(name(emulator.properties()), Err(NotCompared::Emulator));
    // 132 multiprocessors x 2048 x 2 x 1.98 GHz.
    assert!((chip("H200").tensor_rate() / 1e12 - 1070.53).abs() < 0.01);
}

/// A load, `count` times `instruction`, a store.
fn function(instruction: &str, count: usize) -> Function {
    let code = format!("        /*0010*/ {instruction} ;\n").repeat(count);
    let listing = format!(
        "\t.section\t.text.k,\"ax\",@progbits\n        .type           k,@function\nk:\n\
         \x20       /*0000*/ LDG.E.128 R4, [R2.64] ;\n{code}\
         \x20       /*0020*/ STG.E.128 [R2.64], R4 ;\n        /*0030*/ EXIT ;\n"
    );
    parse(&listing).unwrap().swap_remove(0)
}

#[test]
fn limits_by_hand() {
    let h200 = chip("H200");
    let occupancy = Occupancy::new(&h200, 256, 32, 0).unwrap();
    // 132 multiprocessors x 1000 warps x 32 lanes x 8 elements.
    let elements = 132 * 1000 * 32 * 8;
    let work = Work {
        bytes: 4_300_000_000,
        elements,
        elements_per_pass: 8.0,
    };
    let at = |instruction: &str, count: usize| {
        let function = function(instruction, count);
        predict(&h200, &occupancy, &function.body(), &work)
    };
    // 4.3 GB at 4.3 TB/s.
    let light = at("FADD R4, R4, R4", 5);
    assert!((light.limit_s(Limiter::Memory) - 1e-3).abs() < 1e-9);
    assert_eq!(light.limiter, Limiter::Memory);
    assert_eq!(light.slots_per_element, 1.0);
    assert!(light.time_s > 1e-3 && light.copy_fraction < 1.0 && light.copy_fraction > 0.99);

    // Clocks of a warp: 16 threads of XU a clock, 64 of ALU, 128 of FMA, 4 instructions issued.
    let clock = 1.98e9 * BUSY_FRACTION;
    let expect = |instruction: &str, limiter, count: usize, clocks: f64| {
        let predicted = at(instruction, count).limit_s(limiter);
        let expected = 1000.0 * clocks * count as f64 / clock;
        assert!((predicted / expected - 1.0).abs() < 1e-9, "{instruction}");
    };
    expect("MUFU.EX2 R4, R4", Limiter::Pipe(Pipe::Xu), 7, 2.0);
    expect(
        "LOP3.LUT R4, R4, R4, RZ, 0xc0, !PT",
        Limiter::Pipe(Pipe::Alu),
        9,
        0.5,
    );
    expect("FFMA R4, R4, R4, R4", Limiter::Pipe(Pipe::Fma), 9, 0.25);
    expect("IMAD R4, R4, R4, R4", Limiter::Pipe(Pipe::Fma), 9, 0.5);
    expect(
        "HMMA.16816.F32.BF16 R4, R4, R6, R4",
        Limiter::Pipe(Pipe::Tensor),
        9,
        1.0,
    );
    let issue = at("NOP", 37).limit_s(Limiter::Issue);
    assert!((issue / (1000.0 * 10.0 / clock) - 1.0).abs() < 1e-9);
    // 128 bits a lane are 512 bytes a warp: 4 clocks of L1 each way.
    let lsu = at("NOP", 1).limit_s(Limiter::Pipe(Pipe::Lsu));
    assert!((lsu / (1000.0 * 8.0 / clock) - 1.0).abs() < 1e-9);
    // Little: 1000 warps, 64 at a time; the store waits 600 ns for the load, and then the end
    // follows.
    let alone = at("NOP", 1);
    let pass = 600e-9 + 2.0 / 1.98e9;
    assert!((alone.fill_s / pass - 1.0).abs() < 1e-9);
    // B of a product is R2 and R3 alone: it does not wait for the load.
    let beside = at("HMMA.16816.F32.BF16 R12, R16, R2, R12", 1);
    assert!((beside.fill_s / pass - 1.0).abs() < 1e-9);
    let latency = alone.limit_s(Limiter::Latency);
    assert!((latency / (1000.0 / 64.0 * pass) - 1.0).abs() < 1e-9);
    assert_eq!(at("MUFU.EX2 R4, R4", 2000).limiter, Limiter::Pipe(Pipe::Xu));
}
