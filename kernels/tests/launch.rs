//! Launchers: which variant they pick, and what they refuse.

use mxlab_harness::device::{Buffer, Device, Stream};
use mxlab_kernels::family::block::{Addressing, BlockLauncher, BlockOperands, BlockOperation};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, ScaleFormat};
use mxlab_kernels::launch::{Dense, Slice};
use mxlab_kernels::reference;

struct Bench {
    device: Device,
    stream: Stream,
    src: Buffer,
    codes: Buffer,
    scales: Buffer,
    tensor_scale: Buffer,
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
        tensor_scale: device.upload("tensor_scale", &[1.0f32]).unwrap(),
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

    fn operands(&self) -> BlockOperands<'_> {
        let whole = |buffer| Slice { buffer, offset: 0 };
        BlockOperands {
            rows: ROWS,
            cols: COLS,
            src: Some(Dense {
                first: whole(&self.src),
                stride: COLS,
            }),
            codes: Some(whole(&self.codes)),
            scales: Some(whole(&self.scales)),
            tensor_scale: Some(&self.tensor_scale),
            ..BlockOperands::default()
        }
    }
}

fn mxfp4() -> BlockFormat {
    BlockFormat::new(ElementFormat::FP4_E2M1).build().unwrap()
}

#[test]
fn vectors_are_used_where_shape_stride_and_alignment_allow() {
    let bench = bench();
    let launcher = bench.launcher(mxfp4());
    let access = |change: &dyn Fn(&mut BlockOperands)| {
        let mut operands = bench.operands();
        change(&mut operands);
        launcher.pick(&operands).addressing()
    };
    assert_eq!(access(&|_| {}), Addressing::Aligned);
    assert_eq!(access(&|o| o.cols = 63), Addressing::Ragged);
    assert_eq!(access(&|o| o.cols = 48), Addressing::Ragged);
    let stride = |o: &mut BlockOperands| o.src.as_mut().unwrap().stride = 65;
    assert_eq!(access(&stride), Addressing::Ragged);
    // One row has no stride.
    let one = |o: &mut BlockOperands| (stride(o), o.rows = 1).1;
    assert_eq!(access(&one), Addressing::Aligned);
    let beside = |o: &mut BlockOperands| o.src.as_mut().unwrap().first.offset = 4;
    assert_eq!(access(&beside), Addressing::Ragged);
    let odd = |o: &mut BlockOperands| o.codes.as_mut().unwrap().offset = 4;
    assert_eq!(access(&odd), Addressing::Ragged);
}

#[test]
fn both_variants_give_the_same() {
    let bench = bench();
    let launcher = bench.launcher(mxfp4());
    let expected = reference::quantize(&bench.x, ROWS, COLS, &mxfp4(), FloatType::F32).unwrap();
    for codes_offset in [0, 3] {
        let mut operands = bench.operands();
        operands.codes.as_mut().unwrap().offset = codes_offset;
        launcher.launch(&bench.stream, &operands).unwrap();
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
    let refusal = |format, change: &dyn Fn(&mut BlockOperands)| {
        let mut operands = bench.operands();
        change(&mut operands);
        let launched = bench.launcher(format).launch(&bench.stream, &operands);
        launched.unwrap_err().to_string()
    };
    let missing = refusal(mxfp4(), &|o| o.src = None);
    assert!(missing.ends_with("no src given"), "{missing}");
    let scale = refusal(nvfp4, &|o| o.tensor_scale = None);
    assert!(scale.ends_with("no tensor_scale given"), "{scale}");
    let short = refusal(mxfp4(), &|o| o.rows = ROWS + 1);
    assert!(
        short.contains("src needs bytes 0..1024, its buffer has 768"),
        "{short}"
    );
    let beyond = refusal(mxfp4(), &|o| o.codes.as_mut().unwrap().offset = ROWS * COLS);
    assert!(beyond.contains("codes needs bytes 192..288"), "{beyond}");
    let narrow = refusal(mxfp4(), &|o| o.src.as_mut().unwrap().stride = COLS - 1);
    assert!(narrow.contains("less than cols"), "{narrow}");
    let misaligned = refusal(mxfp4(), &|o| o.src.as_mut().unwrap().first.offset = 2);
    assert!(
        misaligned.contains("src is not aligned to 4 bytes"),
        "{misaligned}"
    );
    let huge = refusal(mxfp4(), &|o| o.cols = 1 << 40);
    assert!(huge.contains("too large"), "{huge}");
}

#[test]
fn a_tensor_without_elements_needs_no_launch() {
    let bench = bench();
    let operands = BlockOperands {
        rows: 0,
        ..bench.operands()
    };
    bench
        .launcher(mxfp4())
        .launch(&bench.stream, &operands)
        .unwrap();
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
        let operands = BlockOperands {
            rows,
            cols,
            src: Some(Dense {
                first: Slice {
                    buffer: &src,
                    offset: 0,
                },
                stride: cols,
            }),
            tensor_scale: Some(&tensor_scale),
            workspace: Some(&workspace),
            ..BlockOperands::default()
        };
        launcher.launch(&stream, &operands).unwrap();
        let expected = reference::tensor_scale(&x, &format);
        assert_eq!(tensor_scale.download::<f32>().unwrap(), [expected]);
        // Ready for the next launch.
        assert_eq!(workspace.download::<u32>().unwrap(), [0, 0]);
    }
}
