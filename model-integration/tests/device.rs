//! The device engine on the emulator, beside the CPU engine.

use mxlab::checkpoint::write::{NamedTensor, save_bf16};
use mxlab::checkpoint::{Checkpoint, layout, synthetic};
use mxlab::config::{FormatFlags, Override, Projection, QuantConfig, load, named};
use mxlab::embedded;
use mxlab::eval::model::{Engine, Request};
use mxlab::generate::model::{Room, Sampler};
use mxlab::llama::cpu::{self, Cpu, CpuEngine};
use mxlab::llama::device::input::Operands;
use mxlab::llama::device::plan::{Limits, Storage};
use mxlab::llama::device::{DeviceBackend, DeviceEngine, DeviceMatrix, Loaded};
use mxlab::llama::{Batch, Linear, Projections, load as load_llama};
use mxlab_harness::device::{Device, EmulatorOptions};
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType, ScaleFormat};
use mxlab_kernels::fragment::OperandType;
use mxlab_kernels::reference::Sampling;

fn checkpoint() -> Checkpoint {
    embedded::checkpoint().expect("the embedded model")
}

fn config(name: &str) -> QuantConfig {
    load(name, &FormatFlags::default()).expect(name)
}

fn engine() -> DeviceEngine {
    engine_of(checkpoint())
}

fn engine_of(checkpoint: Checkpoint) -> DeviceEngine {
    stored(checkpoint, Storage::Packed(Operands::Bf16))
}

fn stored(checkpoint: Checkpoint, storage: Storage) -> DeviceEngine {
    DeviceEngine::new(Device::emulator(), checkpoint, FloatType::F32, storage).expect("an engine")
}

/// Tokens of an example of the embedded task.
fn tokens(example: usize) -> Vec<u32> {
    let line = embedded::TASK.lines().nth(example).expect("an example");
    let line: serde_json::Value = serde_json::from_str(line).expect("json");
    let text = line["text"].as_str().expect("a text");
    let engine = engine();
    engine.tokenizer().encode(text, true).expect("tokens")
}

/// Logits of the last positions of a prefix of `prefill` tokens and of 8 steps after it, on a device: two
/// sequences of unequal length at a time, the second not looked at.
fn device_logits(
    engine: &DeviceEngine,
    config: &QuantConfig,
    tokens: &[u32],
    prefill: usize,
) -> Vec<Vec<f32>> {
    let limits = Limits::new(Device::emulator().properties(), 128, 256);
    let Loaded {
        backend,
        llama,
        mut cache,
        ..
    } = engine.model(config, limits, 128).expect("a model");
    cache.divide(2, 128).expect("room");
    let mut logits = Vec::new();
    for step in 0..=8 {
        let (past, new) = match step {
            0 => (0, &tokens[..prefill]),
            _ => (prefill + step - 1, &tokens[prefill + step - 1..][..1]),
        };
        let mut batch = Batch::default();
        batch.push(1, past, new);
        batch.push(0, step, &tokens[..1]);
        let rows = [new.len() as u32 - 1];
        let row = llama.logits(&backend, &batch, &mut cache, &rows);
        logits.push(backend.values(&row.expect("logits")).expect("values"));
    }
    logits
}

fn cpu_logits(
    checkpoint: &Checkpoint,
    config: &QuantConfig,
    tokens: &[u32],
    prefill: usize,
) -> Vec<Vec<f32>> {
    let engine = Cpu::new(FloatType::Bf16);
    let llama = load_llama::load(&engine, checkpoint, config, 128).expect("a model");
    let batch = Batch::whole([&tokens[..prefill + 8]]);
    let rows: Vec<u32> = (prefill - 1..prefill + 8).map(|row| row as u32).collect();
    let logits = llama.logits(&engine, &batch, &mut cpu::Cache::none(), &rows);
    logits.expect("logits").to_vec2().expect("rows")
}

/// The root of the mean square of the differences of logits, prefill and 8 steps of decoding, over that of the logits.
fn difference(checkpoint: Checkpoint, config: &QuantConfig, tokens: &[u32]) -> f64 {
    let theirs = cpu_logits(&checkpoint, config, tokens, 40);
    let ours = device_logits(&engine_of(checkpoint), config, tokens, 40);
    relative(&ours, &theirs)
}

/// The root of the mean square of the differences over that of the second.
fn relative(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f64 {
    let pairs = || ours.iter().flatten().zip(theirs.iter().flatten());
    let square: f64 = pairs().map(|(_, y)| f64::from(y * y)).sum();
    let error: f64 = pairs().map(|(x, y)| f64::from((x - y) * (x - y))).sum();
    (error / square).sqrt()
}

/// What bf16 sums in two orders differ by; where activations, keys or values are rounded to few bits, some round to
/// the other side.
fn bound(config: &QuantConfig) -> f64 {
    match config.activations.is_some() || config.keys.is_some() {
        true => 0.1,
        false => 0.01,
    }
}

#[test]
fn logits_are_those_of_the_cpu_engine_in_every_configuration() {
    let tokens = tokens(3);
    for config in named::all(&FormatFlags::default()).expect("configurations") {
        let difference = difference(checkpoint(), &config, &tokens);
        eprintln!("{}: {difference:.4}", config.name);
        assert!(
            difference <= bound(&config),
            "{}: {difference}",
            config.name
        );
    }
}

/// Packed weights, keys and values give the logits of the bf16 that they stand for, to the bit: the same products are
/// added in the same order.
#[test]
fn packed_gives_what_it_stands_for() {
    let tokens = tokens(5);
    for name in ["mx-linear-kv", "fp4-e5m3", "mxfp8"] {
        let config = config(name);
        let logits = [Storage::Packed(Operands::Bf16), Storage::Fake]
            .map(|storage| device_logits(&stored(checkpoint(), storage), &config, &tokens, 40));
        let difference = relative(&logits[0], &logits[1]);
        eprintln!("{name}, packed and not: {difference:e}");
        assert_eq!(difference, 0.0, "{name}");
    }
}

/// Configurations with formats that become operands of 8 bits, by `operand` in every projection; in the last one v has weights, and
/// so an input, of its own.
fn with_bytes() -> [(QuantConfig, OperandType); 4] {
    let format = |element, scale, k| {
        let format = BlockFormat::new(element).scale(scale).block_size(k);
        format.build().expect("a format")
    };
    let mut ints = config("baseline");
    ints.name = "int4, int8".to_owned();
    ints.weights = Some(format(ElementFormat::INT4, ScaleFormat::Fp16, 64));
    ints.activations = Some(format(ElementFormat::INT8, ScaleFormat::E8M0, 64));
    let mut mixed = config("mx-linear");
    mixed.name = "mx-linear, v int8".to_owned();
    let of_v = Override {
        layers: None,
        projections: Some(vec![Projection::V]),
        weights: Some(Some(format(ElementFormat::INT8, ScaleFormat::E8M0, 32))),
        activations: None,
        keys: None,
        values: None,
    };
    mixed.overrides.push(of_v);
    [
        (config("mx-linear-kv"), OperandType::E4m3),
        (config("mxfp8"), OperandType::E4m3),
        (ints, OperandType::S8),
        (mixed, OperandType::E4m3),
    ]
}

/// Weights and activations as operands of 8 bits: under scales that are powers of two the same products, whose sums are in
/// other orders.
#[test]
fn logits_of_8_bit_operands_are_those_of_the_cpu_engine() {
    let tokens = tokens(3);
    for (config, operand) in with_bytes() {
        let engine = stored(checkpoint(), Storage::Packed(Operands::Bytes));
        let limits = Limits::new(Device::emulator().properties(), 8, 16);
        let loaded = engine.model(&config, limits, 16).expect("a model");
        for layer in &loaded.llama.layers {
            assert_eq!(layer.o.input.operand, operand, "{}", config.name);
            assert_eq!(layer.down.input.operand, operand, "{}", config.name);
            let name = &config.name;
            match &layer.qkv {
                Projections::Together { input, .. } => assert_eq!(input.operand, operand, "{name}"),
                Projections::Apart([q, k, v]) => {
                    assert!(!config.overrides.is_empty(), "{name}");
                    let inputs = [q, k, v].map(|linear| linear.input.operand);
                    assert_eq!(inputs, [operand, operand, OperandType::S8], "{name}");
                }
            }
            match &layer.gate_up {
                Projections::Together { input, .. } => assert_eq!(input.operand, operand, "{name}"),
                Projections::Apart(_) => panic!("{name}: gate and up are apart"),
            }
        }
        let theirs = cpu_logits(&checkpoint(), &config, &tokens, 40);
        let ours = device_logits(&engine, &config, &tokens, 40);
        let bf16 = device_logits(&engine_of(checkpoint()), &config, &tokens, 40);
        let difference = relative(&ours, &theirs);
        let name = &config.name;
        eprintln!(
            "{name}, 8 bits: {difference:.4}, bf16: {:.4}",
            relative(&bf16, &theirs)
        );
        assert!(difference <= bound(&config), "{name}: {difference}");
        assert!(relative(&ours, &bf16) <= 0.01, "{name}");
    }
}

/// Under other scales bf16 operands are rounded and those of 8 bits are not; and a prompt that takes the tiles of prefill.
#[test]
fn long_prompts_and_other_scales_take_8_bit_operands() {
    let requests: Vec<Request> = (0..6)
        .map(|example| Request {
            tokens: tokens(example),
            targets: 2,
        })
        .collect();
    assert!(
        requests
            .iter()
            .map(|request| request.tokens.len())
            .sum::<usize>()
            > 200
    );
    let [.., (mut fp16, _), _] = with_bytes();
    fp16.activations = fp16.weights.map(|weights| {
        let format = BlockFormat::new(ElementFormat::INT8).scale(weights.scale());
        format
            .block_size(weights.block_size())
            .build()
            .expect("a format")
    });
    let power = config("mxfp8");
    for (config, bound) in [(power, 0.01), (fp16, 0.2)] {
        let scores = [Operands::Bf16, Operands::Bytes].map(|operands| {
            let engine = stored(checkpoint(), Storage::Packed(operands));
            let footprint = engine.footprint(&config).expect("a footprint");
            let all = 7 * checkpoint().config().num_hidden_layers;
            let of_bytes = footprint.operands.map(|counts| counts.s8 + counts.e4m3);
            assert_eq!(of_bytes, (operands == Operands::Bytes).then_some(all));
            let mut model = engine.load(&config).expect("a model");
            model.score(&requests).expect("scores")
        });
        let pairs = scores[0].iter().zip(&scores[1]);
        let worst = pairs
            .map(|(bf16, bytes)| (bf16.loglikelihood - bytes.loglikelihood).abs())
            .fold(0.0, f64::max);
        eprintln!(
            "{}: log-likelihoods by 8 bits within {worst:.4}",
            config.name
        );
        assert!(worst <= bound, "{}: {worst}", config.name);
    }
}

/// Widths, heads and a vocabulary that are no multiples of anything, and biases.
#[test]
fn odd_sizes_work() {
    let tokens: Vec<u32> = (0..48).map(|i| i * 11 % 517).collect();
    for name in ["baseline", "mx-linear-kv", "nvfp4"] {
        let config = config(name);
        let odd = synthetic::open("odd").expect("a model");
        let difference = difference(odd, &config, &tokens);
        eprintln!("odd, {name}: {difference:.4}");
        assert!(difference <= bound(&config), "{name}: {difference}");
    }
    for (config, _) in with_bytes() {
        let odd = || synthetic::open("odd").expect("a model");
        let theirs = cpu_logits(&odd(), &config, &tokens, 40);
        let engine = stored(odd(), Storage::Packed(Operands::Bytes));
        let difference = relative(&device_logits(&engine, &config, &tokens, 40), &theirs);
        let name = &config.name;
        eprintln!("odd, {name}, 8 bits: {difference:.4}");
        assert!(difference <= bound(&config), "{name}: {difference}");
    }
}

/// Bytes of a matrix and its bias.
fn linear(linear: &Linear<DeviceBackend>) -> usize {
    let bias = linear.bias.as_ref().map_or(0, |bias| {
        let bias: &mxlab_harness::device::Buffer = bias;
        bias.bytes()
    });
    DeviceMatrix::bytes(&linear.weight) + bias
}

/// Bytes of those that share an input.
fn projections<const N: usize>(projections: &Projections<DeviceBackend, N>) -> usize {
    match projections {
        Projections::Apart(linears) => linears.iter().map(linear).sum(),
        Projections::Together { stack, .. } => stack.bytes(),
    }
}

/// What the engine says it takes is what it allocates.
#[test]
fn the_plan_is_what_is_allocated() {
    let named = ["baseline", "mx-linear-kv", "nvfp4", "mxfp6"];
    let bf16 = named.map(|name| (config(name), Operands::Bf16));
    let bytes = with_bytes().map(|(config, _)| (config, Operands::Bytes));
    for (config, operands) in bf16.into_iter().chain(bytes) {
        let engine = stored(checkpoint(), Storage::Packed(operands));
        let name = &config.name;
        let limits = Limits::new(Device::emulator().properties(), 64, 192);
        let plan = engine.plan(&config, &limits, 96).expect("a plan");
        let mut loaded = engine.model(&config, limits, 96).expect("a model");
        let Loaded {
            backend,
            llama,
            cache,
            ..
        } = &mut loaded;
        let layers = llama.layers.iter().map(|layer| {
            let norms = layer.input_norm.bytes() + layer.post_attention_norm.bytes();
            let others = linear(&layer.o) + linear(&layer.down);
            norms + projections(&layer.qkv) + projections(&layer.gate_up) + others
        });
        let head = llama.head.as_ref().map_or(0, DeviceMatrix::bytes);
        let weights = layers.sum::<usize>() + llama.embedding.bytes() + llama.norm.bytes() + head;
        assert_eq!(weights, plan.weights, "{name}");
        assert_eq!(cache.bytes(), plan.cache, "{name}");
        assert_eq!(cache.bytes(), 192 * plan.position, "{name}");
        let footprint = engine.footprint(&config).expect("a footprint");
        assert_eq!(footprint.weight_bytes, weights as u64, "{name}");
        assert_eq!(footprint.kv_bytes_per_token, plan.position as u64, "{name}");
        // The most tokens that the plan is for, and a step.
        cache.divide(2, 96).expect("room");
        let tokens = tokens(0);
        for (past, count) in [(0, 64), (64, 1)] {
            let mut batch = Batch::default();
            batch.push(1, past, &tokens[past..past + count]);
            let rows: Vec<u32> = (0..count as u32).collect();
            let logits = llama.logits(backend, &batch, cache, &rows).expect("logits");
            drop(logits);
        }
        assert!(backend.bytes() <= plan.activations, "{name}");
        let spare = plan.activations - backend.bytes();
        assert!(
            spare <= plan.activations / 4,
            "{name}: {spare} of {plan:?} are never used"
        );
    }
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let engine = engine();
    let mut requests: Vec<Request> = (0..3)
        .map(|example| Request {
            tokens: tokens(example),
            targets: 2,
        })
        .collect();
    requests.sort_by_key(|request| std::cmp::Reverse(request.tokens.len()));
    let mut model = engine.load(&config("mx-linear-kv")).expect("a model");
    let together = model.score(&requests).expect("scores");
    for (request, together) in requests.iter().zip(together) {
        let alone = model.score(std::slice::from_ref(request)).expect("a score")[0];
        let difference = (alone.loglikelihood - together.loglikelihood).abs();
        // Regimes add in other orders.
        assert!(difference < 0.2, "{alone:?} {together:?}");
    }
}

/// A sequence goes through the model in pieces where it is longer than a batch, steps are launched as a recorded
/// graph, and sequences leave as they end.
#[test]
fn generation_goes_on_where_the_prompt_ends() {
    let engine = engine();
    let cpu = CpuEngine::new(checkpoint(), Some(FloatType::Bf16), None).expect("an engine");
    let prompts = vec![tokens(0)[..30].to_vec(), tokens(1)[..12].to_vec()];
    let room = Room {
        sequences: 2,
        tokens: 40,
    };
    let sampler = Sampler {
        sampling: Sampling::GREEDY,
        seed: 0,
    };
    let other = Sampler {
        sampling: Sampling {
            temperature: 5.0,
            ..Sampling::GREEDY
        },
        seed: 1,
    };
    let config = config("baseline");
    let generate = |engine: &dyn Engine| {
        let mut generator = engine.generator(&config, room).expect("a generator");
        // From the start again: nothing of a generation before is left.
        for sampler in [other, sampler] {
            generator.start(&prompts, &sampler).expect("tokens");
            generator.step(&[0, 1]).expect("tokens");
        }
        let mut chosen = vec![generator.start(&prompts, &sampler).expect("tokens")];
        for step in 0..6 {
            let running: &[usize] = if step < 4 { &[0, 1] } else { &[1] };
            chosen.push(generator.step(running).expect("tokens"));
        }
        chosen
    };
    assert_eq!(generate(&engine), generate(&cpu));
}

#[test]
fn what_does_not_fit_is_said_with_the_sizes() {
    let small = Device::emulator_with(EmulatorOptions {
        memory_bytes: 6 << 20,
        ..EmulatorOptions::default()
    });
    let engine = DeviceEngine::new(
        small,
        checkpoint(),
        FloatType::F32,
        Storage::Packed(Operands::Bf16),
    )
    .expect("an engine");
    let error = engine.load(&config("baseline")).err().expect("an error");
    let message = format!("{error:#}");
    assert!(message.contains("weights 6 MiB"), "{message}");
    assert!(message.contains("6 MiB are free"), "{message}");

    let loaded = engine.model(
        &config("mx-linear"),
        Limits::new(Device::emulator().properties(), 8, 16),
        16,
    );
    let mut cache = loaded.expect("a small one fits").cache;
    let message = cache.divide(2, 9).expect_err("no room").to_string();
    assert!(message.contains('9') && message.contains('8'), "{message}");
}

/// `mxlab` with these arguments.
fn mxlab(arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments).output().expect("mxlab runs")
}

/// The command line as a user types it: evaluation and generation by kernels give what the CPU gives.
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
        let line = format!("generate --device emulator --config mxfp8 --operands {operands} --prompt The --max-tokens 8");
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
    // Formats that no kernel takes: of caches, and below four bits wherever they are.
    for (flags, reasons) in [
        ("--kv int4 --scale fp32", ["fp32", "cache"]),
        ("--weights int3", ["int3", "for the CPU"]),
        ("--activations fp3_e1m1", ["fp3_e1m1", "for the CPU"]),
        ("--kv ternary", ["ternary", "for the CPU"]),
        ("--kv int2 --fake-quantize", ["int2", "for the CPU"]),
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

/// A model whose products overflow is told by the part that did, on the CPU and by kernels.
#[test]
fn what_is_not_finite_is_named() {
    let checkpoint = checkpoint();
    let shapes: Vec<(String, Vec<usize>)> = layout::tensors(checkpoint.config()).collect();
    let values = shapes.iter().map(|(name, shape)| {
        let view = checkpoint.tensor(name, shape).expect("a tensor");
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        if name == "model.layers.4.mlp.up_proj.weight" {
            values.iter_mut().for_each(|x| *x = 3e38f32.copysign(*x));
        }
        values
    });
    let values: Vec<Vec<f32>> = values.collect();
    let tensors = shapes.iter().zip(&values);
    let tensors: Vec<NamedTensor> = tensors
        .map(|((name, shape), values)| NamedTensor {
            name,
            shape,
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
