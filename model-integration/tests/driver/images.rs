//! Kernels loaded from images, and kernels loaded from PTX.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use mxlab_harness::assemble::Assembler;
use mxlab_harness::device::{
    Code, Device, DeviceChoice, DeviceError, DeviceOptions, Images, ImagesError, NoImage,
};
use mxlab_kernels::registry::{Entry, kernels};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::sample::{SCALES, assembler, assert_one_line, edited, made, source, stderr};
use super::stub_driver::StubDriver;

/// A short generation, which loads some kernels of most families.
const GENERATE: [&str; 9] = [
    "generate",
    "--prompt",
    "a",
    "--max-tokens",
    "2",
    "--config",
    "mx-linear-kv",
    "--device",
    "cuda",
];

/// The kernels of that generation.
fn kernels_of_a_model(driver: &StubDriver) -> Vec<Box<dyn Entry>> {
    let output = driver.mxlab(&GENERATE).output().expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let log = driver.log();
    let loaded = log
        .iter()
        .filter_map(|line| line.strip_prefix("kernel ")?.strip_suffix(" ptx"));
    let loaded: Vec<&str> = loaded.collect();
    let entries = kernels().filter(|entry| loaded.contains(&&*entry.id()));
    let entries: Vec<_> = entries.collect();
    assert_eq!(entries.len(), loaded.len(), "{loaded:?}");
    assert!(entries.len() > 10, "{loaded:?}");
    entries
}

/// A folder with images of all of `entries`; the first was edited afterwards.
fn bundle_before_an_edit(assembler: &Assembler, folder: &Path, entries: &[Box<dyn Entry>]) {
    let mut sources: Vec<_> = entries.iter().map(|entry| source(&**entry)).collect();
    sources[0] = edited(sources[0].clone());
    let summary = made(folder, assembler, sources);
    assert_eq!(summary.kernels, entries.len());
    assert!(summary.failures.is_empty(), "{:?}", summary.failures);
}

/// Generates with images; returns the output and the counts in the record.
fn generate(driver: &StubDriver, folder: &Path, stub: (&str, &str)) -> (String, Value) {
    let record = folder.join("record.json");
    let mut command = driver.mxlab(&GENERATE);
    command
        .arg("--images")
        .arg(folder)
        .arg("--output-path")
        .arg(&record);
    let output = command.env(stub.0, stub.1).output().expect("runs");
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&record).expect("a record");
    let record: Value = serde_json::from_str(&text).expect("JSON");
    (said, record["kernel_loads"].clone())
}

/// Number of lines of a log that begin with `what`.
fn count(log: &[String], what: &str) -> u64 {
    log.iter().filter(|line| line.starts_with(what)).count() as u64
}

#[test]
fn unedited_kernels_are_images_and_an_edited_one_is_text() {
    let test = "unedited_kernels_are_images";
    let (Some(driver), Some(assembler)) = (StubDriver::build(test, &[]), assembler(test)) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let entries = kernels_of_a_model(&driver);
    let all = entries.len() as u64;
    bundle_before_an_edit(&assembler, folder.path(), &entries);

    let (said, loads) = generate(&driver, folder.path(), ("STUB_SM", "90"));
    let log = driver.log();
    for (n, entry) in entries.iter().enumerate() {
        let id = entry.id();
        let [elf, ptx] = ["elf", "ptx"].map(|code| log.contains(&format!("kernel {id} {code}")));
        // The stub finds kernels in loaded code only, so the image has this one.
        assert_eq!((elf, ptx), (n > 0, n == 0), "{id}: {log:?}");
    }
    assert_eq!(count(&log, "load ptx"), 1, "{log:?}");
    assert_eq!(
        (&loads["images"], &loads["not_in_images"]),
        (&(all - 1).into(), &1.into())
    );
    let told = format!(
        "kernels: {} from images, 1 from PTX (1 not in the images)",
        all - 1
    );
    assert!(said.contains(&told), "{said}");

    // Consecutive kernels of one module load it once.
    let images = Images::open(folder.path()).expect("images");
    assert!(
        images.modules() < entries.len(),
        "{} modules",
        images.modules()
    );
    assert!(count(&log, "load elf") < all - 1, "{log:?}");
}

#[test]
fn a_driver_or_a_chip_that_does_not_take_them_gets_text() {
    let test = "a_driver_or_a_chip_that_does_not_take_them";
    let (Some(driver), Some(assembler)) = (StubDriver::build(test, &[]), assembler(test)) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let entries = kernels_of_a_model(&driver);
    let all = entries.len() as u64;
    bundle_before_an_edit(&assembler, folder.path(), &entries);
    for (stub, cause, words) in [
        (
            ("STUB_VERSION", "12040"),
            "old_driver",
            ["driver older", "CUDA 12.4"],
        ),
        (("STUB_SM", "80"), "other_chip", ["another chip", "sm_80"]),
    ] {
        let (said, loads) = generate(&driver, folder.path(), stub);
        let log = driver.log();
        assert_eq!(
            (count(&log, "load elf"), count(&log, "load ptx")),
            (0, all),
            "{cause}"
        );
        assert_eq!(
            (&loads["images"], &loads[cause]),
            (&0.into(), &all.into()),
            "{loads}"
        );
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    let (said, loads) = generate(&driver, folder.path(), ("STUB_REFUSE", "209"));
    let log = driver.log();
    for entry in &entries {
        assert!(
            log.contains(&format!("kernel {} ptx", entry.id())),
            "{log:?}"
        );
    }
    assert_eq!(
        (&loads["images"], &loads["refused"]),
        (&0.into(), &(all - 1).into())
    );
    let images = Images::open(folder.path()).expect("images");
    let tried = entries
        .iter()
        .filter_map(|entry| images.module_of(&entry.ptx()));
    let tried: BTreeSet<usize> = tried.collect();
    assert_eq!(
        count(&log, "load elf"),
        tried.len() as u64,
        "a module is refused once: {log:?}"
    );
    let words = [
        "image refused",
        "CUDA_ERROR_NO_BINARY_FOR_GPU",
        "the stub was told to",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn an_index_that_names_a_kernel_of_another_module_is_no_image() {
    let test = "an_index_that_names_a_kernel_of_another_module";
    let (Some(driver), Some(assembler)) = (StubDriver::build(test, &[]), assembler(test)) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let entries = kernels_of_a_model(&driver);
    // A module of one kernel, whose index claims all of them.
    made(folder, &assembler, vec![source(&*entries[0])]);
    let path = folder.join("index.json");
    let text = std::fs::read_to_string(&path).expect("an index");
    let mut index: Value = serde_json::from_str(&text).expect("JSON");
    let hashes = entries.iter().map(|entry| hash(&entry.ptx()));
    index["modules"][0]["kernels"] = hashes.collect::<Vec<_>>().into();
    std::fs::write(&path, index.to_string()).expect("writable");
    let (said, loads) = generate(&driver, folder, ("STUB_SM", "90"));
    // The first requested kernel that is missing reveals the wrong index.
    let [images, refused] =
        ["images", "refused"].map(|cause| loads[cause].as_u64().expect("a count"));
    assert_eq!(images + refused, entries.len() as u64, "{loads}");
    assert!(images <= 1 && refused > 0, "{loads}");
    assert!(said.contains("CUDA_ERROR_NOT_FOUND"), "{said}");
}

/// The first half of the SHA-256 of a text, as in an index.
fn hash(ptx: &str) -> String {
    let digest = Sha256::digest(ptx.as_bytes());
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The emulator runs the PTX, and counts the kernels that a GPU would load from images.
#[test]
fn the_emulator_looks_texts_up() {
    let test = "the_emulator_looks_texts_up";
    let folder = tempfile::tempdir().expect("a folder");
    let entries = super::sample::entries(SCALES);
    let Some(assembler) = assembler(test) else {
        return;
    };
    bundle_before_an_edit(&assembler, folder.path(), &entries);
    let images = Arc::new(Images::open(folder.path()).expect("images"));
    let options = DeviceOptions {
        images: Some(images.clone()),
        ..DeviceOptions::default()
    };
    let device = Device::open_with(DeviceChoice::Emulator, options).expect("the emulator");
    assert_eq!(device.code_of_last_load(), None);
    for (n, entry) in entries.iter().enumerate() {
        let ptx = entry.ptx();
        let expected = match n {
            0 => Code::Ptx {
                why: NoImage::NotInImages,
            },
            _ => Code::Image,
        };
        let module = device.load(&entry.id(), &ptx).expect("PTX");
        assert_eq!(module.code(), &expected, "{}", entry.id());
        let kernel = module.kernel(&entry.id()).expect("a kernel");
        assert_eq!(kernel.code(), &expected);
        assert_eq!(device.code_of_last_load(), Some(expected));
        assert_eq!(images.module_of(&ptx), (n > 0).then_some(0));
    }
    let loads = device.loads();
    assert_eq!(
        (loads.images, loads.not_in_images),
        (entries.len() as u64 - 1, 1)
    );
    let plain = Device::emulator();
    let module = plain.load("k", &entries[1].ptx()).expect("PTX");
    let why = NoImage::NoImages;
    assert_eq!(module.code(), &Code::Ptx { why });

    // A file that changes after opening is not loaded, and not counted as refused.
    let options = DeviceOptions {
        images: Some(images),
        ..DeviceOptions::default()
    };
    let device = Device::open_with(DeviceChoice::Emulator, options).expect("the emulator");
    for file in super::bundle::modules(folder.path()) {
        std::fs::write(file, "changed").expect("writable");
    }
    match device.load("k", &entries[1].ptx()) {
        Err(DeviceError::Images(ImagesError::Length { found: 7, .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn images_are_for_kernels_on_devices() {
    for line in [
        "eval --limit 1 --images DIR",
        "bench --device cpu --images DIR",
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mxlab"));
        let output = command.args(line.split(' ')).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(
            stderr(&output).contains("--images needs PTX kernels"),
            "{}",
            stderr(&output)
        );
    }
    let line = "generate --device emulator --prompt a --images no-such-folder";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mxlab"));
    let output = command.args(line.split(' ')).output().expect("runs");
    assert_one_line(
        &output,
        &["no images in `no-such-folder`", "mxlab bundle --chip"],
    );
}
