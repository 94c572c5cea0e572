//! What the kernels' own commands read: regressions, golden vectors, lists, names.

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::LazyLock;

use mxlab::config::{LayerSet, OperandSpec};
use mxlab::eval::plan::Limit;
use mxlab_fuzz::campaign::problem_of;
use mxlab_fuzz::mutation::Equivalents;
use mxlab_fuzz::regression::Regression;
use mxlab_harness::device::{Device, DeviceChoice};
use mxlab_kernels::cpu::Isa;
use mxlab_kernels::family::block::{BlockOperation, BlockVariant};
use mxlab_kernels::format::{Dialect, ElementFormat, FloatType, Rounding, ScaleFormat, ScaleRule};
use mxlab_kernels::golden::verify_dir;
use mxlab_kernels::kernel::Kernel;
use mxlab_kernels::registry::{Entry, verify};

use crate::scratch::Scratch;

/// Every kernel by its id.
static KERNELS: LazyLock<HashMap<String, BlockVariant>> = LazyLock::new(|| {
    BlockVariant::all()
        .map(|variant| (variant.id().to_string(), variant))
        .collect()
});

/// Elements of a problem that is run.
const MAX_ELEMENTS: u64 = 4096;

/// A kept problem: it is written as it was read, and replaying it, on the emulator, says whether
/// the kernel is right or why that cannot be said.
pub fn regression(data: &[u8]) -> bool {
    thread_local!(static SCRATCH: Scratch = Scratch::new());
    let path = SCRATCH.with(|scratch| scratch.write("regression.json", data));
    let Ok(regression) = Regression::read(&path) else {
        return false;
    };
    let written = serde_json::to_vec(&regression).expect("plain data");
    let again: Regression = serde_json::from_slice(&written).expect("what was written");
    assert_eq!(again, regression);
    let Some(variant) = KERNELS.get(&regression.kernel) else {
        return false;
    };
    let problem = &regression.problem;
    if variant.elements(problem) > MAX_ELEMENTS {
        return variant.reference(problem).is_ok();
    }
    let device = Device::emulator();
    let runner = variant
        .load(&device, &variant.ptx())
        .expect("a kernel of the registry");
    let stream = device.stream().expect("the emulator has streams");
    verify(variant, &*runner, &stream, problem).is_ok()
}

/// A list of equivalent mutants.
pub fn equivalents(data: &[u8]) -> bool {
    Equivalents::parse(&String::from_utf8_lossy(data)).is_ok()
}

/// Names of golden files, one for each reader behind them.
const GOLDEN_FILES: [&str; 4] = [
    "codes.json",
    "mx_fp4_e2m1.safetensors",
    "def_fp4_ue5m3.safetensors",
    "convert.safetensors",
];

/// A file of golden vectors. The first byte says which.
pub fn golden(data: &[u8]) -> bool {
    thread_local!(static FOLDERS: [Scratch; 4] = std::array::from_fn(|_| Scratch::new()));
    let Some((which, content)) = data.split_first() else {
        return false;
    };
    let which = usize::from(*which) % GOLDEN_FILES.len();
    FOLDERS.with(|folders| {
        folders[which].write(GOLDEN_FILES[which], content);
        verify_dir(folders[which].path(), &[Isa::Portable], None).is_ok()
    })
}

/// A name on the command line; what is printed names the same.
pub fn names(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let limit = text.parse::<Limit>().ok();
    if let Some(limit) = limit {
        assert!((1..=5).contains(&limit.of(5)), "{limit:?}");
    }
    let taken = [
        name::<ElementFormat>(&text),
        name::<ScaleFormat>(&text),
        name::<ScaleRule>(&text),
        name::<Rounding>(&text),
        name::<Dialect>(&text),
        name::<FloatType>(&text),
        name::<OperandSpec>(&text),
        name::<DeviceChoice>(&text),
        name::<LayerSet>(&text),
        limit.is_some(),
    ];
    taken.contains(&true)
}

fn name<T: FromStr + Display + PartialEq + Debug>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else {
        return false;
    };
    let printed = value.to_string();
    let again = printed.parse::<T>().ok();
    assert_eq!(again, Some(value), "{text} is printed as {printed}");
    true
}

/// A problem of each family.
pub fn regression_seeds() -> Vec<Vec<u8>> {
    let regression = |operation| {
        let variant = BlockVariant::all()
            .filter(|variant| variant.operation() == operation)
            .nth(41)?;
        let regression = Regression {
            kernel: variant.id().into(),
            was: "codes[0] is 0x1, by the reference 0x0".to_owned(),
            problem: problem_of(&variant, 7, 48),
        };
        serde_json::to_vec(&regression).ok()
    };
    BlockOperation::ALL
        .into_iter()
        .filter_map(regression)
        .collect()
}

/// The list that ships.
pub fn equivalents_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../src/mutation/equivalent.toml").to_vec()]
}

/// A small file of each kind.
pub fn golden_seeds() -> Vec<Vec<u8>> {
    let codes = br#"{"formats": {"fp4_e2m1": {"values": [0, 0.5, 1, 1.5, 2, 3, 4, 6, "NaN", "-Inf",
        -1, -1.5, -2, -3, -4, -6], "rne_boundaries": [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5]},
        "e2m0": {"values": [1, 2, 4, "Inf"]}, "other": {}}}"#;
    let f32s = |count: usize| vec![0x3f; 4 * count];
    let mx = [
        ("in.few.f32", "F32", vec![2, 8], f32s(16)),
        ("out.few.Tf32.b4.s8.even", "F32", vec![2, 8], f32s(16)),
        ("scale.few.f32.b4", "U8", vec![2, 2], vec![127; 4]),
        ("code.few.f32.b4", "U8", vec![2, 8], vec![1; 16]),
    ];
    let def = [
        ("in.few.f32", "F32", vec![1, 4], f32s(4)),
        ("out.few.f32.b4.min", "F32", vec![1, 4], f32s(4)),
        ("scale.few.f32.b4.flush", "U8", vec![1, 1], vec![3]),
    ];
    let convert = [
        ("elem.fp4_e2m1.in", "F32", vec![4], f32s(4)),
        ("elem.fp4_e2m1.rne_sat", "U8", vec![4], vec![1; 4]),
        ("scale.ue4m3.in", "F32", vec![4], f32s(4)),
        ("scale.ue4m3.rne_nan", "U8", vec![4], vec![1; 4]),
    ];
    let mut seeds = vec![
        codes.to_vec(),
        archive(&mx),
        archive(&def),
        archive(&convert),
    ];
    for (which, seed) in (0..).zip(&mut seeds) {
        seed.insert(0, which);
    }
    seeds
}

/// A safetensors file of tensors: name, type, shape, bytes.
fn archive(tensors: &[(&str, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        data.extend(bytes);
        let tensor = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert((*name).to_owned(), tensor);
    }
    let header = serde_json::Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), &data].concat()
}

/// A name of each kind.
pub fn name_seeds() -> Vec<Vec<u8>> {
    let names = [
        "fp4_e2m1",
        "int8",
        "e8m0",
        "e5m0",
        "ue5m3",
        "fp16",
        "rceil",
        "stochastic:4294967295",
        "toward-zero",
        "microxcaling-torch",
        "bfloat16",
        "none",
        "cuda:0",
        "auto",
        "0-3,7",
        "0.5",
        "100",
    ];
    names.map(|name| name.as_bytes().to_vec()).to_vec()
}
