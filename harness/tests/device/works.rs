//! Calls that must work on every device.

use crate::device::bench::{devices, kernel, line, run, says};
use mxlab_harness::device::{Argument, DeviceError, DeviceKind, Geometry, Staging};

#[test]
fn a_kernel_runs() {
    for device in devices("a_kernel_runs") {
        let input: Vec<u32> = (0..1000).collect();
        let source = device.upload("in", &input).expect("memory");
        let target = device.upload("out", &vec![7u32; 1002]).expect("memory");
        let arguments = [
            target.at(4),
            Argument::Buffer(&source),
            Argument::U32(5),
            Argument::U32(1000),
        ];
        run(&device, "add", line(8, 128), &arguments).expect("it is right");
        let output: Vec<u32> = target.download().expect("written");
        let sums: Vec<u32> = (5..1005).collect();
        assert_eq!(output[0], 7);
        assert_eq!(output[1..1001], sums);
        assert_eq!(output[1001], 7);
    }
}

#[test]
fn arguments_are_placed_as_the_parameters_are_aligned() {
    for device in devices("arguments_are_placed") {
        let target = device.upload("out", &[0u64]).expect("memory");
        let high = 1u64 << 40;
        let arguments = [
            Argument::Buffer(&target),
            Argument::U32(3),
            Argument::U64(high),
            Argument::F32(2.5),
        ];
        run(&device, "mixed", line(1, 1), &arguments).expect("it is right");
        assert_eq!(target.download::<u64>().expect("written"), [high + 3 + 2]);
    }
}

#[test]
fn all_of_shared_memory_can_be_had() {
    for device in devices("all_of_shared_memory") {
        let kernel = kernel(&device, "shared");
        let fixed = kernel.attributes().static_shared;
        assert_eq!(fixed, 32_768);
        let most = device.properties().max_shared - fixed;
        let target = device.upload("out", &[0u32]).expect("memory");
        let stream = device.stream().expect("a stream");
        // 20 KiB: less than what needs no asking, but not with the static memory.
        for bytes in [4, 20 * 1024, most] {
            let size = Geometry {
                dynamic_shared: bytes,
                ..line(1, 1)
            };
            let arguments = [Argument::Buffer(&target), Argument::U32(bytes)];
            stream.launch(&kernel, size, &arguments).expect("it fits");
            stream.synchronize().expect("it is right");
            assert_eq!(target.download::<u32>().expect("written"), [bytes]);
        }
        let size = Geometry {
            dynamic_shared: most + 1,
            ..line(1, 1)
        };
        let arguments = [Argument::Buffer(&target), Argument::U32(4)];
        let limit = device.properties().max_shared;
        let error = says(
            stream.launch(&kernel, size, &arguments),
            &[
                "shared: ",
                &format!("{} bytes of shared memory, at most {limit}", limit + 1),
            ],
        );
        assert!(matches!(error, DeviceError::Geometry { .. }), "{error:?}");
    }
}

#[test]
fn pinned_memory_is_closed_while_it_is_copied() {
    for device in devices("pinned_memory") {
        let stream = device.stream().expect("a stream");
        let buffer = device.upload("both", &[0u8; 8]).expect("memory");
        let mut memory = device.pinned(4).expect("memory");
        memory.bytes().expect("free").copy_from_slice(&[1, 2, 3, 4]);
        stream.copy_in(&buffer, 2, &memory).expect("it fits");
        says(memory.bytes().map(|_| ()), &["under way"]);
        stream.synchronize().expect("done");
        assert_eq!(memory.bytes().expect("free"), [1, 2, 3, 4]);
        assert_eq!(
            buffer.download::<u8>().expect("written"),
            [0, 0, 1, 2, 3, 4, 0, 0]
        );
        stream.copy_out(&buffer, 0, &memory).expect("it fits");
        stream.synchronize().expect("done");
        assert_eq!(memory.bytes().expect("free"), [0, 0, 1, 2]);
        says(
            stream.copy_in(&buffer, 5, &memory),
            &["bytes 5..9", "`both`"],
        );
    }
}

#[test]
fn staged_copies_of_any_length() {
    for device in devices("staged_copies") {
        let mut staging = Staging::with_lanes_of(&device, 64).expect("memory");
        for bytes in [0usize, 1, 63, 64, 65, 128, 191, 192, 193, 1000] {
            let data: Vec<u8> = (0..bytes).map(|i| (i * 7 + bytes) as u8).collect();
            let buffer = device
                .upload("staged", &vec![0xAAu8; bytes + 6])
                .expect("memory");
            staging.write(&buffer, 3, &data).expect("it fits");
            let all: Vec<u8> = buffer.download().expect("written");
            assert_eq!(all[..3], [0xAA; 3]);
            assert_eq!(all[3..3 + bytes], data, "{bytes} bytes");
            assert_eq!(all[3 + bytes..], [0xAA; 3]);
            let mut back = vec![0u8; bytes];
            staging.read(&buffer, 3, &mut back).expect("it fits");
            assert_eq!(back, data, "{bytes} bytes");
            says(staging.write(&buffer, 7, &data), &["`staged`"]);
        }
    }
}

#[test]
fn time_and_occupancy_are_measured_or_not_known() {
    for device in devices("time_and_occupancy") {
        let stream = device.stream().expect("a stream");
        let target = device.upload("out", &[0u64]).expect("memory");
        let kernel = kernel(&device, "fixed_block");
        let begin = stream.record().expect("an event");
        stream
            .launch(&kernel, line(1, 64), &[Argument::Buffer(&target)])
            .expect("it is right");
        let end = stream.record().expect("an event");
        stream.synchronize().expect("it is right");
        let time = end.milliseconds_since(&begin);
        let occupancy = kernel.blocks_per_multiprocessor(64, 0).expect("an answer");
        match device.properties().kind {
            DeviceKind::Cuda => {
                assert!((0.0..1e3).contains(&time.expect("both happened")));
                assert!(occupancy.is_some_and(|blocks| blocks > 0));
                assert!(kernel.attributes().registers.is_some_and(|count| count > 0));
                assert!(stream.statistics().is_none());
            }
            DeviceKind::Emulator => {
                says(time, &["cannot measure device time"]);
                assert_eq!(occupancy, None);
                assert_eq!(kernel.attributes().registers, None);
                assert!(stream.statistics().is_some());
            }
        }
    }
}
