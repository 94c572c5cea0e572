//! Stored layouts as the packages that define them read them: every weight, and inputs.

use std::fs;
use std::path::Path;
use std::process::Command;

use mxlab::checkpoint::{Checkpoint, TensorFile, synthetic};
use mxlab::model::cpu::Input;
use mxlab_kernels::format::FloatType;
use not_run::not_run;
use serde_json::Value;

/// Values, and how many of them differ from those of the package.
#[derive(Default)]
struct Compared {
    values: usize,
    differ: usize,
    /// The greatest difference in units of the last place.
    ulps: u32,
    first: Option<String>,
}

impl Compared {
    fn add(&mut self, what: &str, ours: &[f32], theirs: &[f32]) {
        assert_eq!(ours.len(), theirs.len(), "{what}");
        self.values += ours.len();
        for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            // The packages differ among themselves in the sign of a zero.
            let is_zero = *ours == 0.0 && *theirs == 0.0;
            if ours.to_bits() == theirs.to_bits() || is_zero {
                continue;
            }
            self.differ += 1;
            self.ulps = self.ulps.max(ours.to_bits().abs_diff(theirs.to_bits()));
            let text = || format!("{what}, element {index}: {ours:e} here, {theirs:e} there");
            self.first.get_or_insert_with(text);
        }
    }
}

fn weights(folder: &Path) -> Compared {
    let [stored, dense] = ["stored", "dense"].map(|part| {
        let path = folder.join(part);
        Checkpoint::open(&path).unwrap_or_else(|error| panic!("{error}"))
    });
    let mut compared = Compared::default();
    for parameter in dense.parameters().stored() {
        let [ours, theirs] = [&stored, &dense].map(|checkpoint| super::read(checkpoint, parameter));
        compared.add(&parameter.name, &ours, &theirs);
    }
    compared
}

fn inputs(folder: &Path) -> Compared {
    let checkpoint = Checkpoint::open(&folder.join("stored")).expect("a model");
    let name = "model.layers.0.self_attn.q_proj.weight";
    let mut parameters = checkpoint.parameters().stored();
    let weight = parameters.find(|parameter| parameter.name == name);
    let stored = checkpoint
        .stored_input(weight.expect(name))
        .expect("a scheme");
    let input = Input::stored(stored.expect("inputs are quantised"));
    let file = TensorFile::open(&folder.join("inputs.safetensors")).expect("rows");
    let read = |name: &str| {
        let tensor = file
            .tensors()
            .find(|tensor| tensor.name() == name)
            .expect(name);
        let (view, _) = tensor.floats().expect("finite").expect("floats");
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        (values, view.shape()[1])
    };
    let ((mut x, cols), (y, _)) = (read("x"), read("y"));
    let mut compared = Compared::default();
    for (row, (x, y)) in x.chunks_mut(cols).zip(y.chunks(cols)).enumerate() {
        input.apply(FloatType::F32, x).expect("a format");
        compared.add(&format!("row {row}"), x, y);
    }
    compared
}

/// Layouts of compressed-tensors, ModelOpt, Quark, AutoAWQ, AutoGPTQ, bitsandbytes and FP8 by
/// blocks have the values that the packages read. `MXLAB_PYTHON` names a Python with these
/// packages; `tests/peers/stored_layouts.py` says which.
#[test]
fn stored_layouts_have_the_values_of_their_packages() {
    let Some(python) = std::env::var_os("MXLAB_PYTHON") else {
        not_run("stored layouts beside their packages", "MXLAB_PYTHON");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let tokenizer = folder.path().join("tokenizer.json");
    let like = synthetic::open("tiny").expect("a model");
    fs::write(&tokenizer, like.tokenizer_json()).expect("writable");
    let out = folder.path().join("out");
    let script = format!(
        "{}/tests/peers/stored_layouts.py",
        env!("CARGO_MANIFEST_DIR")
    );
    let output = Command::new(&python)
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args([&out, &tokenizer])
        .arg(like.config().vocab_size.to_string())
        .output()
        .expect("a Python");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let listed = fs::read(out.join("layouts.json")).expect("a list");
    let listed: serde_json::Map<String, Value> = serde_json::from_slice(&listed).expect("JSON");
    let (mut compared, mut failures) = (0, Vec::new());
    for (name, layout) in &listed {
        if let Some(reason) = layout["absent"].as_str() {
            not_run(&format!("stored layouts of {name}"), reason);
            continue;
        }
        let text = |field: &str| layout[field].as_str().unwrap_or_default();
        let folder = out.join(name);
        let found = weights(&folder);
        let mut line = format!(
            "{name}: written by {}, judged by {}; {} codes, {} scales, {} of {} values differ",
            text("writer"),
            text("judge"),
            layout["codes"],
            layout["scales"],
            found.differ,
            found.values,
        );
        failures.extend(found.first.map(|first| format!("{name}: {first}")));
        if layout["inputs"] == true {
            let found = inputs(&folder);
            line += &format!("; {} of {} inputs differ", found.differ, found.values);
            let why = text("why");
            if found.differ > 0 && !why.is_empty() {
                line += &format!(" by up to {} ulp ({why})", found.ulps);
            }
            if u64::from(found.ulps) > layout["ulps"].as_u64().unwrap_or(0) {
                failures.extend(found.first.map(|first| format!("{name}, inputs: {first}")));
            }
        }
        println!("{line}");
        compared += 1;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 0, "no package is there");
}
