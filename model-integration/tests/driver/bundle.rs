//! Writes folders of images, and refuses damaged ones.

use not_run::not_run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mxlab_harness::device::{Images, ImagesError};
use serde_json::Value;

use super::sample::{SCALES, assembler, assert_one_line, edited, entries, made, source, stderr};

/// `mxlab` with these arguments, separated by spaces.
fn mxlab(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(line.split(' ')).output().expect("runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The files of modules, in the order of their names.
pub fn modules(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a folder");
    let files = files.map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.to_string_lossy().ends_with(".cubin.lzma"))
        .collect();
    files.sort();
    files
}

/// Kernels of two families and some modules.
const KERNELS: &str =
    "--kernel scale_fp4_e2m1_e8m0_floor_ocp_*_k16_* --kernel round_fp4_e2m1_e8m0_*_k*_*";

#[test]
fn a_bundle_goes_on_where_it_was_and_makes_what_is_damaged_anew() {
    let test = "a_bundle_goes_on";
    if assembler(test).is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display();
    let make = format!("bundle --chip sm_90 --output {path} {KERNELS}");
    let made = mxlab(&make);
    assert!(made.status.success(), "{}", stderr(&made));
    let files = modules(folder.path());
    let count = files.len();
    assert!(count >= 3, "{count} modules");
    assert!(
        stdout(&made).contains(&format!("in {count} modules (0 kept)")),
        "{}",
        stdout(&made)
    );
    let before: Vec<Vec<u8>> = files
        .iter()
        .map(|file| fs::read(file).expect("a file"))
        .collect();

    // One file cut off, one missing, one unknown to the index; the rest is kept.
    fs::write(&files[0], &before[0][..before[0].len() / 2]).expect("writable");
    fs::remove_file(&files[1]).expect("removable");
    let stray = folder.path().join(format!("{}.cubin.lzma", "0".repeat(64)));
    fs::write(&stray, "stray").expect("writable");
    let check = format!("bundle --check {path} {KERNELS}");
    assert_one_line(&mxlab(&check), &["bytes, expected", "it was cut or edited"]);
    let made = mxlab(&make);
    assert!(made.status.success(), "{}", stderr(&made));
    let kept = format!("in {count} modules ({} kept)", count - 2);
    assert!(stdout(&made).contains(&kept), "{}", stdout(&made));
    assert_eq!(modules(folder.path()), files);
    let after = files.iter().map(|file| fs::read(file).expect("a file"));
    assert!(
        after.eq(before),
        "ptxas and packing give the same bytes again"
    );

    let whole = mxlab(&check);
    assert!(
        whole.status.success(),
        "{}{}",
        stdout(&whole),
        stderr(&whole)
    );
    // In a family without images, each kernel is named.
    let lacking = mxlab(&format!("bundle --check {path} --kernel sample*"));
    assert_eq!(lacking.status.code(), Some(1), "{}", stderr(&lacking));
    let table = stdout(&lacking);
    assert!(
        table.contains("  sample") && table.contains("0 of 1 kernels"),
        "{table}"
    );
}

/// The folder of an interrupted run is usable.
#[test]
fn what_an_interrupted_run_left_can_be_used() {
    let test = "what_an_interrupted_run_left";
    let Some(assembler) = assembler(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let entries = entries(SCALES);
    let order = mxlab_harness::bundle::Order {
        chip: "90".parse().expect("a chip"),
        folder: folder.path().to_owned(),
        jobs: 1,
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    // Modules of one kernel, a family each. The third is the last one begun.
    let sources = entries.iter().enumerate().map(|(n, entry)| {
        stop.store(n == 3, std::sync::atomic::Ordering::Relaxed);
        let family = n.to_string();
        mxlab_harness::bundle::Source {
            family,
            ..source(&**entry)
        }
    });
    let summary = mxlab_harness::bundle::bundle(sources, &order, &assembler, &stop, &|_| {});
    let summary = summary.expect("a bundle");
    assert!(summary.is_interrupted);
    assert!((1..entries.len()).contains(&summary.kernels), "{summary:?}");
    let images = Images::open(folder.path()).expect("images");
    assert_eq!(images.kernels(), summary.kernels);
    assert!(!images.is_complete());
    assert!(images.module_of(&entries[0].ptx()).is_some());
}

/// An edited comment changes the text but not the module, which is kept under the new hash.
#[test]
fn a_comment_that_changes_keeps_the_module_and_an_edit_does_not() {
    let test = "a_comment_that_changes";
    let Some(assembler) = assembler(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut sources: Vec<_> = entries(SCALES)
        .iter()
        .map(|entry| source(&**entry))
        .collect();
    made(folder.path(), &assembler, sources.clone());
    sources[1].ptx.insert_str(0, "// another comment\n");
    let summary = made(folder.path(), &assembler, sources.clone());
    assert_eq!((summary.modules, summary.kept), (1, 1));
    let images = Images::open(folder.path()).expect("images");
    assert_eq!(images.module_of(&sources[1].ptx), Some(0));
    sources[1] = edited(sources[1].clone());
    assert_eq!(images.module_of(&sources[1].ptx), None);
    let summary = made(folder.path(), &assembler, sources.clone());
    assert_eq!((summary.modules, summary.kept), (1, 0));
    let images = Images::open(folder.path()).expect("images");
    assert_eq!(images.module_of(&sources[1].ptx), Some(0));
    assert_eq!(
        modules(folder.path()).len(),
        1,
        "the module before is removed"
    );
}

#[test]
fn a_kernel_that_ptxas_refuses_is_named_and_the_others_are_made() {
    let test = "a_kernel_that_ptxas_refuses";
    let Some(assembler) = assembler(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut sources: Vec<_> = entries(SCALES)
        .iter()
        .map(|entry| source(&**entry))
        .collect();
    let body = sources[2].ptx.find("{\n").expect("a body") + 2;
    sources[2].ptx.insert_str(body, "    mov.u33 %r0, 1;\n");
    let summary = made(folder.path(), &assembler, sources.clone());
    assert_eq!(summary.kernels, sources.len() - 1);
    let failures: Vec<String> = summary.failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        failures[0].contains(&sources[2].id) && failures[0].contains(".u33"),
        "{failures:?}"
    );
    let images = Images::open(folder.path()).expect("images");
    let has = |n: usize| images.module_of(&sources[n].ptx).is_some();
    assert!(!has(2) && has(1) && has(3) && !images.is_complete());
}

/// Anything but a folder of images is refused in one line, before anything is loaded or
/// overwritten.
#[test]
fn a_damaged_or_foreign_folder_is_refused() {
    let test = "a_damaged_or_foreign_folder";
    let Some(assembler) = assembler(test) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let index = path.join("index.json");
    made(path, &assembler, vec![source(&*entries(SCALES)[0])]);
    let module = modules(path).remove(0);
    let (text, bytes) = (
        fs::read_to_string(&index).expect("text"),
        fs::read(&module).expect("bytes"),
    );
    let generate = format!(
        "generate --device emulator --prompt a --images {}",
        path.display()
    );
    let refused = |words: &[&str]| assert_one_line(&mxlab(&generate), words);
    let changed = |field: &[&str], value: Value| {
        let mut json: Value = serde_json::from_str(&text).expect("JSON");
        let mut at = &mut json;
        for name in field {
            at = match name.parse::<usize>() {
                Ok(n) => &mut at[n],
                Err(_) => &mut at[*name],
            };
        }
        *at = value;
        fs::write(&index, json.to_string()).expect("writable");
    };
    fs::write(&index, &text[..text.len() / 2]).expect("writable");
    refused(&["index.json", "is no index of images", "EOF"]);
    fs::write(&index, "{\"lines\": 3}").expect("writable");
    refused(&["is no index of images", "missing field `kind`"]);
    changed(&["kind"], "verify".into());
    refused(&[
        "holds `verify` of version 1",
        "expected `mxlab-images` of version 1",
    ]);
    // It is not written to, either.
    let make = format!(
        "bundle --chip sm_90 --output {} --kernel {SCALES}",
        path.display()
    );
    assert_one_line(
        &mxlab(&make),
        &["nothing was written to the folder", "`verify`"],
    );
    changed(&["schema_version"], 2.into());
    refused(&[
        "holds `mxlab-images` of version 2",
        "expected `mxlab-images` of version 1",
    ]);
    changed(&["modules", "0", "file"], "../../etc/passwd".into());
    refused(&["`../../etc/passwd` is not the name of an image"]);
    changed(&["modules", "0", "kernels", "0"], "12".into());
    refused(&["`12` is no hash of PTX"]);
    changed(&["modules", "0", "arch"], "sm_80".into());
    refused(&["is for sm_80", "expected one that runs on sm_90"]);
    changed(&["modules", "0", "image_bytes"], 100.into());
    // The head of the index does not cover the packed modules; loading checks them.
    assert!(Images::open(path).is_ok_and(|images| images.image(0).is_err()));
    fs::write(&index, &text).expect("writable");
    fs::write(&module, &bytes[..bytes.len() - 1]).expect("writable");
    refused(&[&format!(
        "has {} bytes, expected {}",
        bytes.len() - 1,
        bytes.len()
    )]);
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    fs::write(&module, &other).expect("writable");
    refused(&["has SHA-256", "it was edited"]);
    fs::remove_file(&module).expect("removable");
    refused(&["No such file", "run `mxlab bundle` again"]);
    fs::remove_file(&index).expect("removable");
    refused(&["no images in", "mxlab bundle --chip"]);
    assert!(matches!(
        Images::open(path),
        Err(ImagesError::NoIndex { .. })
    ));
}

/// A full disk ends the run with one line, and earlier modules are complete.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_keeps_what_was_made() {
    let test = "a_full_disk";
    if assembler(test).is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk(folder.path());
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32k", "tmpfs"])
        .arg(disk.0)
        .output();
    match mounted {
        Ok(output) if output.status.success() => {}
        failed => {
            std::mem::forget(disk);
            not_run(test, &format!("a tmpfs that can be mounted ({failed:?})"));
            return;
        }
    }
    // The first module fits; the one of 40 products does not.
    let path = disk.0.display();
    let kernels = "--kernel scale_fp4_e2m1_e8m0_floor_* --kernel matmul_*_fp4_e2m1_*";
    let output = mxlab(&format!(
        "bundle --chip sm_90 --jobs 1 --every 7 --output {path} {kernels}"
    ));
    assert_one_line(&output, &["No space left on device", "bundle in"]);
    let images = Images::open(disk.0).expect("images as far as they came");
    assert!(images.kernels() > 0 && !images.is_complete());
}

/// A file system that is unmounted on drop.
#[cfg(target_os = "linux")]
struct Disk<'p>(&'p Path);

#[cfg(target_os = "linux")]
impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).output();
    }
}

#[test]
fn a_failed_run_names_the_cause() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = format!(
        "bundle --output {} --kernel {SCALES} --chip",
        folder.path().display()
    );
    let run = |chip: &str, ptxas: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        let command = command.args(make.split(' ')).arg(chip).env("PTXAS", ptxas);
        command.output().expect("runs")
    };
    let output = run("sm_90", "/no/such/ptxas");
    assert_one_line(
        &output,
        &["no ptxas", "PTXAS names `/no/such/ptxas`", "pip install"],
    );
    // It runs, but is not ptxas.
    assert_one_line(&run("sm_90", "/bin/false"), &["ptxas", "no release"]);
    for (chip, words) in [
        ("sm_90a", "expected sm_90"),
        ("sm_75", "none of the kernels runs"),
    ] {
        let output = run(chip, "/no/such/ptxas");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    assert!(modules(folder.path()).is_empty());
}
