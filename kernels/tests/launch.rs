//! Launchers: which variant they pick, and what they refuse.

use mxlab_harness::device::{Buffer, Device, Stream};
use mxlab_kernels::family::block::{Addressing, BlockLauncher, BlockOperation, MAX_BLOCKS};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, ScaleFormat};
use mxlab_kernels::kernel::{Call, Slice};
use mxlab_kernels::reference;

struct Bench {
    device: Device,
    stream: Stream,
    src: Buffer,
    codes: Buffer,
    scales: Buffer,
    x: Vec<f32>,
}

const ROWS: usize = 3;
const COLS: usize = 64;

fn bench() -> Bench {
    let device = Device::emulator();
    let x: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 - 90.0) / 7.0).collect();
    Bench {
        stream: device.stream().unwrap(),
        src: device.upload("src", &x).unwrap(),
        codes: device.upload("codes", &[0u8; ROWS * COLS]).unwrap(),
        scales: device.upload("scales", &[0u8; ROWS * COLS]).unwrap(),
        device,
        x,
    }
}

impl Bench {
    fn launcher(&self, format: BlockFormat) -> BlockLauncher {
        BlockLauncher::new(
            &self.device,
            BlockOperation::Quantize,
            format,
            FloatType::F32,
        )
        .unwrap()
    }

    fn call(&self) -> Call<'_> {
        Call::new()
            .size("rows", ROWS)
            .size("cols", COLS)
            .size("src_stride", COLS)
            .buffer("src", Slice::whole(&self.src))
            .buffer("codes", Slice::whole(&self.codes))
            .buffer("scales", Slice::whole(&self.scales))
    }
}

/// Bytes of a buffer from an offset on.
fn from(buffer: &Buffer, offset: usize) -> Slice<'_> {
    Slice { buffer, offset }
}

fn mxfp4() -> BlockFormat {
    BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap()
}

#[test]
fn vectors_are_used_where_shape_stride_and_alignment_allow() {
    let bench = bench();
    let launcher = bench.launcher(mxfp4());
    let pick = |call: Call| launcher.pick(&call).addressing();
    assert_eq!(pick(bench.call()), Addressing::Aligned);
    assert_eq!(pick(bench.call().size("cols", 63)), Addressing::Ragged);
    assert_eq!(pick(bench.call().size("cols", 48)), Addressing::Ragged);
    let stride = bench.call().size("src_stride", 65);
    assert_eq!(pick(stride.clone()), Addressing::Ragged);
    // One row has no stride.
    assert_eq!(pick(stride.size("rows", 1)), Addressing::Aligned);
    let beside = bench.call().buffer("src", from(&bench.src, 4));
    assert_eq!(pick(beside), Addressing::Ragged);
    let odd = bench.call().buffer("codes", from(&bench.codes, 4));
    assert_eq!(pick(odd), Addressing::Ragged);
}

#[test]
fn both_variants_give_the_same() {
    let bench = bench();
    let launcher = bench.launcher(mxfp4());
    let expected = reference::quantize(&bench.x, ROWS, COLS, &mxfp4(), FloatType::F32).unwrap();
    for codes_offset in [0, 3] {
        let call = bench
            .call()
            .buffer("codes", from(&bench.codes, codes_offset));
        launcher.launch(&bench.stream, &call).unwrap();
        let codes: Vec<u8> = bench.codes.download().unwrap();
        let scales: Vec<u8> = bench.scales.download().unwrap();
        assert_eq!(
            &codes[codes_offset..][..expected.codes().len()],
            expected.codes()
        );
        assert_eq!(&scales[..expected.scales().len()], expected.scales());
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let bench = bench();
    let nvfp4 = BlockFormat::new(ElementFormat::FP4_E2M1)
        .scale(ScaleFormat::UE4M3)
        .tensor_scale(true)
        .block_size(16)
        .build()
        .unwrap();
    let refusal = |format, call: Call| {
        let launched = bench.launcher(format).launch(&bench.stream, &call);
        launched.unwrap_err().to_string()
    };
    let check = |call: Call, expected: &str| {
        let message = refusal(mxfp4(), call);
        assert!(message.contains(expected), "{message}");
    };
    let nothing = Call::new().size("rows", ROWS).size("cols", COLS);
    check(nothing.size("src_stride", COLS), "no codes given");
    let scale = refusal(nvfp4, bench.call());
    assert!(scale.ends_with("no tensor_scale given"), "{scale}");
    check(
        bench.call().size("rows", ROWS + 1),
        "src needs bytes 0..1024, its buffer has 768",
    );
    check(
        bench
            .call()
            .buffer("codes", from(&bench.codes, ROWS * COLS)),
        "codes needs bytes 192..288",
    );
    check(
        bench.call().size("src_stride", COLS - 1),
        "src_stride is 63; expected at least cols, which is 64",
    );
    check(
        bench.call().buffer("src", from(&bench.src, 2)),
        "src is not aligned to 4 bytes",
    );
    check(
        bench.call().size("cols", 1 << 40),
        "expected less than 2^32",
    );
}

#[test]
fn a_tensor_without_elements_needs_no_launch() {
    let bench = bench();
    let empty = bench.call().size("rows", 0);
    let launched = bench.launcher(mxfp4()).launch(&bench.stream, &empty);
    launched.unwrap();
    assert!(bench.stream.statistics().is_none());
    let odd = mxfp4().to_builder().block_size(48).build().unwrap();
    let none = BlockLauncher::new(&bench.device, BlockOperation::Scale, odd, FloatType::F32);
    assert!(none.is_err_and(|error| error.to_string().contains("block size is 48")));
}

#[test]
fn the_scale_of_a_tensor_larger_than_the_grid_sees_all_of_it() {
    let (rows, cols) = (3, 1 << 20);
    let device = Device::emulator();
    let stream = device.stream().unwrap();
    let (family, format) = (BlockOperation::TensorScale, BlockFormat::NVFP4);
    let launcher = BlockLauncher::new(&device, family, format, FloatType::F32).unwrap();
    let tensor_scale = device.upload("tensor_scale", &[0.0f32]).unwrap();
    let workspace = device.upload("workspace", &[0u32; 2]).unwrap();
    // In the grid's first step, at the start of its second one, and last of all.
    for at in [7, 1024 * 256 * 8, rows * cols - 1] {
        let mut x = vec![0.5f32; rows * cols];
        x[at] = -3.0;
        let src = device.upload("src", &x).unwrap();
        let call = Call::new()
            .size("rows", rows)
            .size("cols", cols)
            .size("src_stride", cols)
            .size("max_blocks", MAX_BLOCKS)
            .buffer("src", Slice::whole(&src))
            .buffer("tensor_scale", Slice::whole(&tensor_scale))
            .buffer("workspace", Slice::whole(&workspace));
        launcher.launch(&stream, &call).unwrap();
        let expected = reference::tensor_scale(&x, &format);
        assert_eq!(tensor_scale.download::<f32>().unwrap(), [expected]);
        // Ready for the next launch.
        assert_eq!(workspace.download::<u32>().unwrap(), [0, 0]);
    }
}
