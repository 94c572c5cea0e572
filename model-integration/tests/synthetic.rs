//! Models of real shapes with random weights.

use std::process::{Command, Output};

use mxlab::checkpoint::{Checkpoint, synthetic};
use mxlab::embedded;

fn run(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command
        .args(line.split_whitespace())
        .output()
        .expect("runs")
}

/// The numbers of parameters are those that transformers 5.24 counts.
#[test]
fn shapes_are_those_of_the_models() {
    for (name, parameters) in [
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.2-3b", 3_212_749_824),
        ("llama-3.1-8b", 8_030_261_248),
        ("smollm2-135m", 134_515_008),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen3-0.6b", 596_049_920),
        ("qwen3-8b", 8_190_735_360),
        ("mistral-7b", 7_241_732_096),
        ("phi-4-mini", 3_836_021_760),
        ("smollm3-3b", 3_075_098_624),
        ("gemma-2-2b", 2_614_341_888),
        ("gemma-3-1b", 999_885_952),
        ("olmo-2-1b", 1_484_916_736),
        ("starcoder2-3b", 3_030_371_328),
        ("granite-3.3-2b", 2_533_539_840),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen3-30b-a3b", 30_532_122_624),
        ("gpt-oss-20b", 20_914_757_184),
    ] {
        let checkpoint = synthetic::open(name).expect(name);
        assert_eq!(checkpoint.parameters().elements(), parameters, "{name}");
    }
}

#[test]
fn weights_are_normal_and_chosen_by_the_seed() {
    let tensors = |name: &str| -> Vec<(String, Vec<f32>)> {
        let checkpoint = synthetic::open(name).expect(name);
        (checkpoint.parameters().stored())
            .map(|parameter| {
                let view = checkpoint.tensor(parameter).expect("a tensor");
                let mut values = vec![0.0; view.len()];
                view.read_f32(0..view.len(), &mut values);
                (parameter.name.clone(), values)
            })
            .collect()
    };
    let tiny = synthetic::open("tiny").expect("a model");
    let (first, other) = (tensors("tiny:1"), tensors("tiny:2"));
    assert_eq!(first, tensors("tiny:1"));
    let deviations = tiny.parameters().stored().map(|of| of.first_deviation);
    for (((name, values), (_, others)), deviation) in first.iter().zip(&other).zip(deviations) {
        let Some(deviation) = deviation else {
            assert!(values.iter().all(|&x| x == 1.0), "{name}");
            continue;
        };
        assert_ne!(values, others, "{name}");
        // Within six standard errors; rounding to bf16 moves single values by at most 0.4 %.
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let square = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 6.0 * deviation / n.sqrt(), "{name}: {mean}");
        let ratio = square.sqrt() / deviation;
        assert!(
            (ratio - 1.0).abs() < 6.0 / (2.0 * n).sqrt(),
            "{name}: {ratio}"
        );
    }
    let same = |a: usize, b: usize| {
        first[a]
            .1
            .iter()
            .zip(&first[b].1)
            .filter(|(a, b)| a == b)
            .count()
    };
    let up_and_gate = ["up", "gate"].map(|part| {
        let is_part = |(name, _): &(String, _)| name.contains("layers.0") && name.contains(part);
        first.iter().position(is_part).expect("a projection")
    });
    assert!(same(up_and_gate[0], up_and_gate[1]) < first[up_and_gate[0]].1.len() / 50);

    let fingerprint = |name: &str| synthetic::open(name).expect(name).fingerprint();
    assert_eq!(fingerprint("tiny:1"), fingerprint("tiny:1"));
    assert_ne!(fingerprint("tiny:1"), fingerprint("tiny:2"));
    assert_eq!(fingerprint("tiny:0"), fingerprint("tiny"));
}

#[test]
fn they_evaluate_and_generate() {
    let output = run("eval --model synthetic:tiny --limit 3 --format csv");
    assert!(output.status.success());
    let line =
        "generate --model synthetic:tiny:3 --prompt-tokens 5,300 --max-tokens 7 --ignore-eos";
    let output = run(line);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let ids = |line: &str| {
        line.split(' ')
            .filter(|id| id.parse::<u32>().is_ok())
            .count()
    };
    assert_eq!(
        text.lines().map(ids).collect::<Vec<_>>(),
        [7, 0, 7],
        "{text}"
    );
}

#[test]
fn unknown_ones_are_refused_with_those_that_there_are() {
    for name in [
        "nope",
        "",
        "tiny:",
        "tiny:-1",
        "tiny:4294967296",
        "tiny:1:2",
    ] {
        let output = run(&format!(
            "generate --prompt-tokens 5 --model synthetic:{name}"
        ));
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        let expected =
            format!("synthetic:{name}: unknown model or seed; expected llama-3.2-1b, llama-3.2-3b");
        assert!(error.contains(&expected), "{error}");
        assert!(output.stdout.is_empty(), "{name}");
    }
}

/// Random weights are found in a model of files, too, and trained ones are not taken for such.
#[test]
fn random_weights_are_told_from_trained_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("tiny");
    let line = format!("convert synthetic:tiny:3 {} --to dense", place.display());
    assert!(run(&line).status.success());
    let drawn = Checkpoint::open(&place).expect("a model");
    assert!(drawn.has_random_weights());
    let trained = embedded::checkpoint().expect("a model");
    assert!(!trained.has_random_weights());
}
