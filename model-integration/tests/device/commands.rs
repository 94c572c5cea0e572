//! The device engine from the command line.

use mxlab::checkpoint::write::{NamedTensor, save_bf16};

use super::checkpoint;

/// `mxlab` with these arguments.
fn mxlab(arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).output().expect("mxlab runs")
}

/// From the command line, evaluation and generation with kernels give the CPU's results.
#[test]
fn commands_give_on_the_emulator_what_they_give_on_the_cpu() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["cpu", "emulator"].map(|device| {
        let path = folder.path().join(device);
        let path = path.to_str().expect("a path").to_owned();
        let output = mxlab(&[
            "eval",
            "--device",
            device,
            "--limit",
            "2",
            "--config",
            "baseline,mx-linear-kv",
            "--output-path",
            &path,
        ]);
        assert!(output.status.success(), "{output:?}");
        let table = String::from_utf8(output.stdout).expect("text");
        assert!(table.contains("mx-linear-kv  W4A6KV4"), "{table}");
        path
    });
    let compared = mxlab(&["compare", &paths[0], &paths[1], "--at-least", "100"]);
    assert!(compared.status.success(), "{compared:?}");

    // A run is not resumed on another device.
    let other = mxlab(&[
        "eval",
        "--limit",
        "2",
        "--config",
        "baseline,mx-linear-kv",
        "--output-path",
        &paths[1],
    ]);
    assert!(!other.status.success());
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(message.contains("device"), "{message}");

    let [cpu, emulator] = ["cpu", "emulator"].map(|device| {
        let prompts = ["--prompt", "Tom had a red", "--prompt", "The"];
        let output = mxlab(
            &[
                &["generate", "--device", device, "--max-tokens", "8"],
                &prompts[..],
            ]
            .concat(),
        );
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    });
    assert_eq!(emulator, cpu);
    let [bf16, bytes] = ["bf16", "8-bit"].map(|operands| {
        let line = format!(
            "generate --device emulator --config mxfp8 --operands {operands} \
            --prompt The --max-tokens 8"
        );
        let output = mxlab(&line.split_whitespace().collect::<Vec<_>>());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    });
    assert_eq!(bytes, bf16);

    for wrong in [
        "--device emulator --dtype float32",
        "--operands 8-bit",
        "--amx --device emulator",
        "--amx --dtype float32",
        "--device emulator --operands 8-bit --fake-quantize",
    ] {
        let line = format!("eval {wrong}");
        let refused = mxlab(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(refused.status.code(), Some(2), "{wrong}: {refused:?}");
    }
    // Formats without kernels: some of caches, and all below four bits.
    for (flags, reasons) in [
        ("--kv int4 --scale fp32", ["fp32", "cache"]),
        ("--weights int3", ["int3", "use the CPU"]),
        ("--activations fp3_e1m1", ["fp3_e1m1", "use the CPU"]),
        ("--kv ternary", ["ternary", "use the CPU"]),
        ("--kv int2 --fake-quantize", ["int2", "use the CPU"]),
        (
            "--operands 8-bit --config fp4-e5m3",
            ["no projection", "sm_"],
        ),
    ] {
        let line = format!("generate --device emulator --prompt a {flags}");
        let refused = mxlab(&line.split_whitespace().collect::<Vec<_>>());
        assert!(!refused.status.success(), "{flags}");
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        let is_said = reasons.iter().all(|reason| message.contains(reason));
        assert!(is_said, "{flags}: {message}");
    }
}

/// A model with overflowing products fails with the part's name, on the CPU and with kernels.
#[test]
fn what_is_not_finite_is_named() {
    let checkpoint = checkpoint();
    let parameters = || checkpoint.parameters().stored();
    let values = parameters().map(|parameter| {
        let view = checkpoint.tensor(parameter).expect("a tensor");
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        if parameter.name == "model.layers.4.mlp.up_proj.weight" {
            values.iter_mut().for_each(|x| *x = 3e38f32.copysign(*x));
        }
        values
    });
    let values: Vec<Vec<f32>> = values.collect();
    let tensors: Vec<NamedTensor> = parameters()
        .zip(&values)
        .map(|(parameter, values)| NamedTensor {
            name: &parameter.name,
            shape: &parameter.shape,
            values,
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let embedded = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("embedded");
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(embedded.join(file), folder.path().join(file)).expect("a file");
    }
    save_bf16(&folder.path().join("model.safetensors"), &tensors).expect("weights");
    let model = folder.path().to_str().expect("a path");
    for device in ["cpu", "emulator"] {
        let output = mxlab(&[
            "generate", "--model", model, "--device", device, "--prompt", "The",
        ]);
        assert!(!output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let names = ["model.layers.4.mlp.up_proj", "feature"];
        assert!(names.iter().all(|name| message.contains(name)), "{message}");

        let record = folder.path().join(format!("record-{device}"));
        let path = record.to_str().expect("a path");
        let output = mxlab(&[
            "eval",
            "--model",
            model,
            "--device",
            device,
            "--config",
            "baseline",
            "--limit",
            "2",
            "--output-path",
            path,
        ]);
        assert!(!output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let names = ["example ", "model.layers.4.mlp.up_proj", "feature"];
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
        assert!(!record.join("results_baseline.json").exists());
    }
}
