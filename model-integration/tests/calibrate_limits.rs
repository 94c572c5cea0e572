//! `mxlab calibrate` where memory, disk or time end, and with inputs that have no codes to choose.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, safetensors};
use not_run::not_run;

const SIZES: [&str; 4] = ["--sequences", "64", "--length", "64"];

fn command(model: &str, output: &Path, others: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["calibrate", model]).arg(output);
    command.args(["--weights", "mxfp4", "--text", "embedded"]);
    command.args(SIZES).args(others);
    command
}

fn run(model: &str, output: &Path, others: &[&str]) -> Output {
    command(model, output, others).output().expect("runs")
}

fn message(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The weights that a run writes, which leaves nothing beside them.
fn weights(output: &Path, others: &[&str]) -> Vec<u8> {
    let done = run("embedded", output, others);
    assert!(done.status.success(), "{others:?}: {}", message(&done));
    assert!(!beside(output).exists(), "{others:?}");
    fs::read(output.join("model.safetensors")).expect("a model")
}

fn beside(output: &Path) -> PathBuf {
    output.with_extension("calibration")
}

#[test]
fn estimates_come_first_and_a_dry_run_is_all_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("model");
    let message = message(&run("embedded", &output, &[]));
    for part in [
        "this takes about",
        "to run the layers",
        "to round",
        "memory: ",
        "disk: ",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }

    let before = fs::read_dir(folder.path()).expect("a folder").count();
    for model in ["embedded", "synthetic:tiny"] {
        let dry = run(model, &folder.path().join("dry"), &["--dry-run"]);
        let text = String::from_utf8_lossy(&dry.stdout).into_owned();
        assert!(
            dry.status.success() && text.starts_with("this takes about"),
            "{text}"
        );
    }
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        before
    );
}

#[test]
fn inputs_in_a_file_change_no_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = weights(&folder.path().join("memory"), &[]);
    let file = weights(&folder.path().join("file"), &["--hidden-memory", "0"]);
    assert!(file == first);
    // A mebibyte is less than the inputs take, and sequences differ in what they hold.
    let file = weights(
        &folder.path().join("less"),
        &["--hidden-memory", "1", "--threads", "1"],
    );
    assert!(file == first);
}

/// A run that is killed again and again gets on, and ends with the same bytes.
#[test]
fn kills_at_any_moment_lose_no_finished_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let begin = Instant::now();
    let first = weights(&folder.path().join("first"), &["--text", "self"]);
    let whole = begin.elapsed();
    let output = folder.path().join("killed");
    let mut finished = 0;
    for kill in 1..=12 {
        let mut child = command(
            "embedded",
            &output,
            &["--text", "self", "--hidden-memory", "0"],
        );
        let child = child.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().expect("runs");
        let wait = whole.mul_f64(0.08 * f64::from(kill));
        std::thread::sleep(wait.max(Duration::from_millis(1)));
        child.kill().expect("killed");
        child.wait().expect("ended");
        // It came to the end, or as far as to remove its layers.
        if output.exists() {
            break;
        }
        let kept = fs::read_dir(beside(&output)).map_or(0, |entries| {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            names
                .filter(|name| name.starts_with("layer-") && name.ends_with("safetensors"))
                .count()
        });
        assert!(
            kept >= finished,
            "kill {kill}: {kept} of {finished} layers are left"
        );
        finished = kept;
    }
    assert!(finished > 0, "no kill came after a layer");
    assert!(weights(&output, &["--text", "self", "--overwrite"]) == first);
}

/// A file system that is unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn new(test: &str, folder: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            failed => {
                not_run(test, &format!("a tmpfs that can be mounted ({failed:?})"));
                None
            }
        }
    }

    fn resize(&self, size: &str) {
        let mount = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(&self.0)
            .output();
        assert!(mount.is_ok_and(|output| output.status.success()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// A disk that is full for the inputs of a layer, for layers, or for the model: the error says so,
/// and with more room the same command goes on.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = weights(&folder.path().join("first"), &[]);
    let place = folder.path().join("disk");
    fs::create_dir(&place).expect("made");
    let Some(disk) = Disk::new("a_full_disk_of_calibrate", &place, "512k") else {
        return;
    };
    let output = place.join("model");
    let file = ["--hidden-memory", "0"];
    let full = run("embedded", &output, &file);
    for part in [
        "warning: disk space is short",
        "cannot keep the inputs of a layer, 2 MiB",
        "make room",
        "No space left on device",
    ] {
        assert!(message(&full).contains(part), "{part}: {}", message(&full));
    }
    let full = run("embedded", &output, &[]);
    assert!(
        message(&full).contains("No space left on device"),
        "{}",
        message(&full)
    );
    let layers = || {
        let entries = fs::read_dir(beside(&output)).expect("layers");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
        names
            .filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("layer-")))
            .count()
    };
    let kept = layers();
    assert!((1..10).contains(&kept), "{kept} layers");
    disk.resize("1700k");
    let full = run("embedded", &output, &[]);
    assert!(
        message(&full).contains("No space left on device"),
        "{}",
        message(&full)
    );
    assert!(!output.exists(), "a part of a model");
    assert_eq!(layers(), 10);
    disk.resize("64m");
    assert!(weights(&output, &[]) == first);
}

/// The embedded model in floats, with one tensor changed.
fn edited(folder: &Path, name: &str, edit: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>) {
    let dense = Command::new(env!("CARGO_BIN_EXE_mxlab"))
        .args(["convert", "embedded"])
        .arg(folder)
        .args(["--to", "dense"])
        .output();
    assert!(dense.is_ok_and(|output| output.status.success()));
    let path = folder.join("model.safetensors");
    let mut tensors = safetensors::load(&path, &Device::Cpu).expect("tensors");
    let changed = edit(&tensors[name]).expect("a tensor");
    tensors.insert(name.to_owned(), changed);
    safetensors::save(&tensors, &path).expect("written");
}

/// Inputs that overflow have no sums: the run ends with the weight.
#[test]
fn inputs_that_are_not_finite_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, output) = (folder.path().join("floats"), folder.path().join("out"));
    edited(
        &model,
        "model.layers.3.post_attention_layernorm.weight",
        |gain| gain.affine(1e20, 0.0),
    );
    let model = model.to_str().expect("UTF-8");
    let failed = run(model, &output, &["--dtype", "float32"]);
    let message = message(&failed);
    assert_eq!(failed.status.code(), Some(1), "{message}");
    let expected = ["model.layers.3.mlp.down_proj", "not finite"];
    assert!(
        expected.iter().all(|part| message.contains(part)),
        "{message}"
    );
    assert!(!output.exists());
}

/// A channel that is always zero has no direction in H: damping gives it one.
#[test]
fn channels_that_are_always_zero_are_calibrated() {
    let folder = tempfile::tempdir().expect("a folder");
    let (model, output) = (folder.path().join("floats"), folder.path().join("out"));
    edited(&model, "model.layers.2.input_layernorm.weight", |gain| {
        let channel = Tensor::arange(0u32, 128, &Device::Cpu)?;
        gain.broadcast_mul(&channel.ne(5u32)?.to_dtype(gain.dtype())?)
    });
    let model = model.to_str().expect("UTF-8");
    let failed = run(model, &output, &["--damping", "0"]);
    let message = message(&failed);
    for part in [
        "model.layers.2.self_attn.q_proj",
        "not positive definite",
        "more --damping",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    fs::remove_dir_all(beside(&output)).expect("removed");
    let done = run(model, &output, &[]);
    assert!(done.status.success(), "{}", self::message(&done));
}
