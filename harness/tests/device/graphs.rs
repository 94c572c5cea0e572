//! Launches that are recorded and made again.

use crate::device::bench::{devices, kernel, line, run, says};
use mxlab_harness::device::{Argument, Buffer, Device, DeviceError, Kernel, Stream};

/// Adds `addend` to each of eight words.
fn add(
    stream: &Stream,
    kernel: &Kernel,
    [out, source]: [&Buffer; 2],
    addend: u32,
) -> Result<(), DeviceError> {
    let [out, source] = [out, source].map(Argument::Buffer);
    let arguments = [out, source, Argument::U32(addend), Argument::U32(8)];
    stream.launch(kernel, line(1, 32), &arguments)
}

fn words(device: &Device, name: &str, first: u32) -> Buffer {
    let words: Vec<u32> = (first..first + 8).collect();
    device.upload(name, &words).expect("memory")
}

#[test]
fn a_graph_works_on_what_buffers_hold_each_time() {
    for device in devices("a_graph_works") {
        let stream = device.stream().expect("a stream");
        let add_kernel = kernel(&device, "add");
        let source = words(&device, "in", 0);
        let (middle, out) = (words(&device, "middle", 100), words(&device, "out", 100));
        let graph = stream.record_graph(|stream| {
            add(stream, &add_kernel, [&middle, &source], 5)?;
            add(stream, &add_kernel, [&out, &middle], 7)
        });
        let graph = graph.expect("both fit");
        assert_eq!(graph.len(), 2);
        stream.synchronize().expect("nothing was launched");
        let first = |buffer: &Buffer| buffer.download::<u32>().expect("written")[0];
        assert_eq!([first(&middle), first(&out)], [100, 100]);
        // Graph and stream have what they need, whoever else lets go of it.
        drop((add_kernel, middle));
        for start in [0u32, 1000] {
            let data: Vec<u32> = (start..start + 8).collect();
            source.write(0, &data).expect("it fits");
            for _ in 0..2 {
                stream.replay(&graph).expect("it is right");
            }
            stream.synchronize().expect("it is right");
            let expected: Vec<u32> = (start + 12..start + 20).collect();
            assert_eq!(out.download::<u32>().expect("written"), expected);
        }
        stream.replay(&graph).expect("it is right");
        drop(graph);
        stream.synchronize().expect("it is right");
    }
}

#[test]
fn a_recording_that_fails_leaves_the_stream_as_before() {
    for device in devices("a_recording_that_fails") {
        let stream = device.stream().expect("a stream");
        let add_kernel = kernel(&device, "add");
        let (source, out) = (words(&device, "in", 0), words(&device, "out", 100));
        let graph = stream.record_graph(|stream| {
            add(stream, &add_kernel, [&out, &source], 1)?;
            stream.launch(&add_kernel, line(1, 2048), &[])
        });
        says(graph, &["add", "2048 threads"]);
        let recorded = |what: &dyn Fn(&Stream) -> Result<(), DeviceError>, said: &str| {
            let graph = stream.record_graph(|stream| {
                add(stream, &add_kernel, [&out, &source], 2)?;
                what(stream)
            });
            let error = says(graph, &["recorded", said]);
            assert!(matches!(error, DeviceError::Recording(_)), "{error:?}");
        };
        let pinned = device.pinned(4).expect("memory");
        recorded(&|stream| stream.copy_in(&out, 0, &pinned), "copy");
        recorded(&|stream| stream.synchronize(), "be waited for");
        recorded(&|stream| stream.record().map(drop), "have an event");
        recorded(
            &|stream| stream.record_graph(|_| Ok(())).map(drop),
            "record a graph",
        );
        let empty = stream.record_graph(|_| Ok::<(), DeviceError>(()));
        let empty = empty.expect("nothing is wrong");
        assert!(empty.is_empty());
        recorded(&|stream| stream.replay(&empty), "replay another graph");
        stream.replay(&empty).expect("nothing is wrong");
        // Nothing of all that was launched, and what is launched now is.
        stream.synchronize().expect("it is right");
        assert_eq!(out.download::<u32>().expect("written")[0], 100);
        add(&stream, &add_kernel, [&out, &source], 3).expect("it is right");
        stream.synchronize().expect("it is right");
        assert_eq!(out.download::<u32>().expect("written")[0], 3);
    }
}

#[test]
fn a_graph_holds_its_buffers_and_belongs_to_its_device() {
    let options = mxlab_harness::device::EmulatorOptions {
        memory_bytes: 128,
        ..Default::default()
    };
    let device = Device::emulator_with(options);
    let stream = device.stream().expect("a stream");
    let (source, out) = (words(&device, "in", 0), words(&device, "out", 0));
    let add_kernel = kernel(&device, "add");
    let graph = stream.record_graph(|stream| add(stream, &add_kernel, [&out, &source], 1));
    let graph = graph.expect("it fits");
    drop((source, out));
    says(device.allocate("more", 128), &["64 of 128"]);
    let other = Device::emulator();
    let elsewhere = other.stream().expect("a stream");
    says(elsewhere.replay(&graph), &["graph", "another device"]);
    stream.replay(&graph).expect("it is right");
    drop(graph);
    device.allocate("more", 128).expect("all is free");
    // What a kernel does wrong is told when it runs.
    let missing = device.allocate("never", 32).expect("memory");
    let out = device.allocate("out", 32).expect("memory");
    let graph = stream.record_graph(|stream| add(stream, &add_kernel, [&out, &missing], 1));
    let graph = graph.expect("it fits");
    says(stream.replay(&graph), &["never written", "`never`"]);
    run(
        &device,
        "fixed_block",
        line(1, 64),
        &[Argument::Buffer(&out)],
    )
    .expect("it is as before");
}
