//! The device engine on the emulator, compared with the CPU engine.

mod architectures;
mod commands;
mod operands;
mod rotated;

use mxlab::checkpoint::{Checkpoint, synthetic};
use mxlab::config::{FormatFlags, QuantConfig, load, named};
use mxlab::description::parameters::{QKV, Role};
use mxlab::embedded;
use mxlab::engine::{Engine, Request, Room, Sampler};
use mxlab::model::cpu::{self, Cpu, CpuEngine};
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::{Limits, Storage};
use mxlab::model::device::{DeviceBackend, DeviceEngine, DeviceMatrix, DeviceVector, Loaded};
use mxlab::model::load::{self as load_llama, Arrangement, Member, Store};
use mxlab::model::{Backend, Batch, Linear, Mlp, Projections};
use mxlab_harness::device::{Device, EmulatorOptions};
use mxlab_kernels::format::FloatType;
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

/// Logits on a device: at the last position of a prefix of `prefill` tokens, and at 8 steps after
/// it. A second sequence of another length runs along and is ignored.
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
    cpu_logits_in(FloatType::Bf16, checkpoint, config, tokens, prefill)
}

fn cpu_logits_in(
    dtype: FloatType,
    checkpoint: &Checkpoint,
    config: &QuantConfig,
    tokens: &[u32],
    prefill: usize,
) -> Vec<Vec<f32>> {
    let engine = Cpu::new(dtype);
    let llama = load_llama::load(&engine, checkpoint, config, 128).expect("a model");
    let batch = Batch::whole([&tokens[..prefill + 8]]);
    let rows: Vec<u32> = (prefill - 1..prefill + 8).map(|row| row as u32).collect();
    let logits = llama.logits(&engine, &batch, &mut cpu::Cache::none(), &rows);
    let logits = logits.expect("logits");
    let rows = logits.values().chunks_exact(logits.features());
    rows.map(<[f32]>::to_vec).collect()
}

/// Root mean square difference of logits, over prefill and 8 steps, relative to the logits.
fn difference(checkpoint: Checkpoint, config: &QuantConfig, tokens: &[u32]) -> f64 {
    let theirs = cpu_logits(&checkpoint, config, tokens, 40);
    let ours = device_logits(&engine_of(checkpoint), config, tokens, 40);
    relative(&ours, &theirs)
}

/// Root mean square difference, relative to the second.
fn relative(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f64 {
    let pairs = || ours.iter().flatten().zip(theirs.iter().flatten());
    let square: f64 = pairs().map(|(_, y)| f64::from(y * y)).sum();
    let error: f64 = pairs().map(|(x, y)| f64::from((x - y) * (x - y))).sum();
    (error / square).sqrt()
}

/// Differences of bf16 sums in two orders. With activations, keys or values of few bits, some
/// elements round to the other side.
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

/// Heads of queries and keys rotated on the way to the cache. The cache of few bits that the CPU
/// engine has without the rotation is another one, farther away.
#[test]
fn rotated_keys_give_the_logits_of_the_cpu_engine() {
    let tokens = tokens(3);
    for (name, rotation) in [
        ("mx-kv", "row"),
        ("mx-kv", "16:7"),
        ("mx-linear-kv", "row:3"),
    ] {
        let plain = config(name);
        let mut config = plain.clone();
        config.kv.key_rotation = Some(rotation.parse().expect("a rotation"));
        let ours = device_logits(&engine(), &config, &tokens, 40);
        let of_cpu = |config| relative(&ours, &cpu_logits(&checkpoint(), config, &tokens, 40));
        let [difference, other] = [&config, &plain].map(of_cpu);
        eprintln!("{name}, keys rotated by {rotation}: {difference:.4}, without {other:.4}");
        assert!(
            difference <= bound(&config) && difference < other,
            "{name}, {rotation}: {difference}, {other}"
        );
    }
}

/// Rows of bf16 beside packed ones have the same products in the same order, whatever the format
/// makes of operands: all positions exact is no quantisation at all.
#[test]
fn exact_first_positions_are_those_of_the_unquantised_model() {
    let tokens = tokens(3);
    let keeping = |name: &str, first| {
        let mut config = config(name);
        config.kv.first = first;
        config
    };
    let ours = |config: &QuantConfig| device_logits(&engine(), config, &tokens, 40);
    assert_eq!(ours(&keeping("mx-kv", 48)), ours(&config("baseline")));
    for first in [1, 3, 20] {
        let (plain, config) = (config("mx-kv"), keeping("mx-kv", first));
        let ours = ours(&config);
        let of_cpu = |config| relative(&ours, &cpu_logits(&checkpoint(), config, &tokens, 40));
        let [difference, other] = [&config, &plain].map(of_cpu);
        eprintln!("{first} exact positions: {difference:.4}, without {other:.4}");
        assert!(
            difference <= bound(&config) && difference < other,
            "{first}: {difference}, {other}"
        );
    }
}

/// Packed weights, keys and values give exactly the logits of their bf16 values: the same products
/// are added in the same order.
#[test]
fn packed_gives_what_it_stands_for() {
    let tokens = tokens(5);
    for (name, rotation, first) in [
        ("mx-linear-kv", None, 0),
        ("fp4-e5m3", None, 3),
        ("mx-kv", Some("row:4"), 42),
        ("mxfp8", None, 0),
    ] {
        let mut config = config(name);
        config.kv.first = first;
        config.kv.key_rotation = rotation.map(|rotation| rotation.parse().expect("a rotation"));
        (config.head, config.head_activations) = (config.weights, config.activations);
        let logits = [Storage::Packed(Operands::Bf16), Storage::Fake]
            .map(|storage| device_logits(&stored(checkpoint(), storage), &config, &tokens, 40));
        let difference = relative(&logits[0], &logits[1]);
        eprintln!("{name}, packed and not: {difference:e}");
        assert_eq!(difference, 0.0, "{name}");
    }
}

/// Widths, heads and a vocabulary that fit no tile, and biases.
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
}

/// In a stack, a projection without a bias equals one with a zero bias.
#[test]
fn some_projections_of_a_stack_have_a_bias() {
    let tiny = || synthetic::open("tiny").expect("a model");
    let engine = engine_of(tiny());
    let limits = Limits::new(Device::emulator().properties(), 16, 32);
    let loaded = engine.model(&config("baseline"), limits, 16);
    let Loaded { backend, llama, .. } = loaded.expect("a model");
    let (checkpoint, input) = (tiny(), backend.input(None, None));
    let product = |biases: [Option<f32>; 3]| {
        let members = QKV.into_iter().zip(biases).map(|(projection, bias)| {
            let role = Role::Projection(projection);
            let weight = checkpoint.parameters().weight(Some(0), role);
            let weight = checkpoint.tensor(weight).expect("a weight");
            let bias = bias.map(|value| vec![value; weight.shape()[0]]);
            Member { weight, bias }
        });
        let stack = backend.stack(members.collect(), Arrangement::InOrder, None, &input);
        let stack = stack.expect("weights").expect("whole tiles");
        let x = backend.embed(&llama.embedding, &[5, 7]).expect("tokens");
        let products = backend.linear_stack::<3>(&x, &stack).expect("products");
        products.map(|product| backend.values(&product).expect("values"))
    };
    let [query, key, value] = product([None; 3]);
    let biased = product([Some(0.5), None, Some(2.0)]);
    assert_eq!(biased[1], key);
    assert_ne!(biased[0], query);
    assert_ne!(biased[2], value);
    assert_eq!(biased, product([Some(0.5), Some(0.0), Some(2.0)]));
}

/// Bytes of a matrix and its bias.
fn linear(linear: &Linear<DeviceBackend>) -> usize {
    let bias = linear.bias.as_ref().map_or(0, DeviceVector::bytes);
    DeviceMatrix::bytes(&linear.weight) + bias
}

/// Bytes of projections with a common input.
fn projections<const N: usize>(projections: &Projections<DeviceBackend, N>) -> usize {
    match projections {
        Projections::Separate(linears) => linears.iter().map(linear).sum(),
        Projections::Fused { stack, .. } => stack.bytes(),
    }
}

/// The engine allocates what its plan says.
#[test]
fn the_plan_is_what_is_allocated() {
    let named = ["baseline", "mx-linear-kv", "nvfp4", "mxfp6"];
    let bf16 = named.map(|name| (config(name), Operands::Bf16));
    let bytes = operands::with_bytes().map(|(config, _)| (config, Operands::Bytes));
    let mut exact = config("mx-kv");
    exact.kv.first = 2;
    let exact = [(exact, Operands::Bf16)];
    for (config, operands) in bf16.into_iter().chain(exact).chain(bytes) {
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
            let norms = [&layer.input_norm, &layer.mlp_norm].into_iter().flatten();
            let norms: usize = norms.map(|norm| norm.gain.bytes()).sum();
            let Mlp::Gated { gate_up, down } = &layer.mlp else {
                panic!("a gate");
            };
            let others = linear(&layer.o) + linear(down);
            norms + projections(&layer.qkv) + projections(gate_up) + others
        });
        let head = llama.head.as_ref().map_or(0, DeviceMatrix::bytes);
        let weights =
            layers.sum::<usize>() + llama.embedding.bytes() + llama.norm.gain.bytes() + head;
        assert_eq!(weights, plan.weights, "{name}");
        assert_eq!(cache.bytes(), plan.cache, "{name}");
        let exact = limits.exact(&config.kv).rows;
        // Keys and values of ten layers, one head of 64 features.
        assert_eq!(plan.exact_position > 0, exact > 0, "{name}");
        let beside = exact * 10 * 2 * 64 * 2;
        assert_eq!(cache.bytes(), 192 * plan.position + beside, "{name}");
        let footprint = engine.footprint(&config).expect("a footprint");
        assert_eq!(footprint.weight_bytes, weights as u64, "{name}");
        assert_eq!(footprint.kv_bytes_per_token, plan.position as u64, "{name}");
        // The most tokens of the plan, and a step.
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
    for first in [0, 3] {
        let mut config = config("mx-linear-kv");
        config.kv.first = first;
        let mut model = engine.load(&config).expect("a model");
        let together = model.score(&requests).expect("scores");
        for (request, together) in requests.iter().zip(together) {
            let alone = model.score(std::slice::from_ref(request)).expect("a score")[0];
            let difference = (alone.loglikelihood - together.loglikelihood).abs();
            // Regimes add in different orders.
            assert!(difference < 0.2, "{first}: {alone:?} {together:?}");
        }
    }
}

/// A sequence longer than a batch passes through the model in pieces, steps are launched as a
/// recorded graph, and sequences leave when they end.
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
        // From the start again: no state of the earlier generation remains.
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
