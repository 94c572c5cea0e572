//! The embedded model on the CPU engine, and its files.

use std::collections::HashSet;

use mxlab::checkpoint::Checkpoint;
use mxlab::config::{FormatFlags, QuantConfig, load};
use mxlab::corpus::heldout;
use mxlab::embedded;
use mxlab::engine::{Engine, Request};
use mxlab::model::cpu::{Cache, Cpu, CpuEngine, Matrix};
use mxlab::model::{Batch, Llama, Mlp, Projections};
use mxlab::train::{Recipe, train};
use mxlab_kernels::cpu::PAGE;
use mxlab_kernels::format::{BlockFormat, ElementFormat, FloatType};

fn checkpoint() -> Checkpoint {
    embedded::checkpoint().expect("the embedded model")
}

fn config(name: &str) -> QuantConfig {
    load(name, &FormatFlags::default()).expect(name)
}

/// Stochastic rounding of inputs and caches, whose seed must not depend on the batch.
fn stochastic() -> QuantConfig {
    let mut config = config("mx-linear-kv");
    config.head_activations = config.activations;
    for format in [
        &mut config.activations,
        &mut config.keys,
        &mut config.values,
        &mut config.head_activations,
    ] {
        let builder = format.expect("a format").to_builder();
        let rounding = "stochastic".parse().expect("a rounding");
        *format = Some(builder.rounding(rounding).build().expect("a format"));
    }
    config
}

#[test]
fn scores_do_not_depend_on_the_batch_or_the_threads() {
    for dtype in [FloatType::Bf16, FloatType::F32] {
        let engine = CpuEngine::new(checkpoint(), Some(dtype), None).expect("an engine");
        let mut requests: Vec<Request> = embedded::TASK
            .lines()
            .take(7)
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("json");
                let text = line["text"].as_str().expect("a text");
                let tokens = engine.tokenizer().encode(text, true).expect("tokens");
                Request { tokens, targets: 1 }
            })
            .collect();
        requests.sort_by_key(|request| std::cmp::Reverse(request.tokens.len()));
        for config in [config("baseline"), config("nvfp4"), stochastic()] {
            let score = |batch: usize, threads: usize| -> Vec<u64> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("threads").install(|| {
                    let mut model = engine.load(&config).expect("a model");
                    let batches = requests.chunks(batch);
                    batches
                        .flat_map(|batch| model.score(batch).expect("scores"))
                        .map(|score| score.loglikelihood.to_bits())
                        .collect()
                })
            };
            let alone = score(1, 1);
            assert!(alone.iter().collect::<HashSet<_>>().len() == alone.len());
            for (batch, threads) in [(1, 3), (3, 1), (3, 2), (7, 2)] {
                assert_eq!(
                    score(batch, threads),
                    alone,
                    "{} in {dtype}: batches of {batch} on {threads} threads",
                    config.name
                );
            }
        }
    }
}

/// The logits of every token of a batch, row after row.
fn logits(llama: &Llama<Cpu>, engine: &Cpu, batch: &Batch, cache: &mut Cache) -> Vec<f32> {
    let rows: Vec<u32> = (0..batch.tokens.len() as u32).collect();
    let logits = llama.logits(engine, batch, cache, &rows);
    logits.expect("logits").values().to_vec()
}

/// The unquantised model with caches in a format.
fn cached(format: BlockFormat) -> QuantConfig {
    let mut config = config("baseline");
    (config.keys, config.values) = (Some(format), Some(format));
    config.name = format!("cache in {format}");
    config
}

#[test]
fn decoding_from_the_cache_gives_the_bits_of_one_pass() {
    const VOCABULARY: usize = 896;
    let tokenizer = checkpoint().tokenizer().expect("a tokenizer");
    let sequences: Vec<Vec<u32>> = embedded::TASK
        .lines()
        .take(3)
        .map(|line| tokenizer.encode(line, true).expect("tokens"))
        .collect();
    // E8M0 scales; no whole bytes; tensor scales and scales that are fractions.
    let mut configs = vec![config("baseline"), config("mx-linear-kv"), stochastic()];
    let elements = [ElementFormat::FP6_E2M3, ElementFormat::INT8];
    let plain = |element| BlockFormat::new(element).build().expect("a format");
    configs.extend(elements.map(|element| cached(plain(element))));
    configs.push(cached(config("nvfp4").activations.expect("a format")));
    for dtype in [FloatType::Bf16, FloatType::F16, FloatType::F32] {
        let engine = Cpu::new(dtype);
        for config in &configs {
            let llama =
                mxlab::model::load::load(&engine, &checkpoint(), config, 512).expect("a model");
            let whole = Batch::whole(sequences.iter().map(Vec::as_slice));
            let mut expected = logits(&llama, &engine, &whole, &mut Cache::none()).into_iter();
            let expected: Vec<Vec<f32>> = sequences
                .iter()
                .map(|tokens| expected.by_ref().take(tokens.len() * VOCABULARY).collect())
                .collect();

            // Prompts of unequal length, then pieces; sequences end one after another.
            let slots = [2, 0, 1];
            let capacity = sequences.iter().map(Vec::len).max().expect("sequences");
            let capacity = capacity.next_multiple_of(PAGE);
            let mut cache = Cache::divided(&engine, &llama, 3, capacity).expect("a cache");
            let mut past = [0; 3];
            let mut piece = [1, 9, 70];
            while past
                .iter()
                .zip(&sequences)
                .any(|(&past, all)| past < all.len())
            {
                let mut batch = Batch::default();
                let mut pieces = Vec::new();
                for (index, tokens) in sequences.iter().enumerate() {
                    let end = tokens.len().min(past[index] + piece[index]);
                    if past[index] < end {
                        batch.push(slots[index], past[index], &tokens[past[index]..end]);
                        pieces.push((index, past[index]..end));
                    }
                    past[index] = end;
                }
                let mut got = logits(&llama, &engine, &batch, &mut cache).into_iter();
                for (index, range) in pieces {
                    for position in range {
                        let row: Vec<f32> = got.by_ref().take(VOCABULARY).collect();
                        let expected = &expected[index][position * VOCABULARY..][..VOCABULARY];
                        assert!(
                            row.iter()
                                .map(|x| x.to_bits())
                                .eq(expected.iter().map(|x| x.to_bits())),
                            "{} in {dtype}: position {position} of sequence {index}",
                            config.name
                        );
                    }
                }
                piece = [1, 1, 2];
            }

            let cached = sequences[1].len();
            for (past, length, expected) in [
                (
                    cached,
                    capacity + 1 - cached,
                    format!("holds {capacity} of each"),
                ),
                (cached + 1, 1, format!("holds {cached} of it")),
            ] {
                let mut over = Batch::default();
                over.push(0, past, &vec![1; length]);
                let error = llama.logits(&engine, &over, &mut cache, &[0]).err();
                let error = error.expect("no room").to_string();
                assert!(error.contains(&expected), "{error}");
            }
        }
    }
}

#[test]
fn footprints_are_the_bytes_that_a_loaded_model_holds() {
    let engine = CpuEngine::new(checkpoint(), None, None).expect("an engine");
    for name in ["baseline", "mx-linear", "fp4-e5m3", "mxfp8", "nvfp4"] {
        let config = config(name);
        let model = mxlab::model::load::load(&Cpu::new(FloatType::Bf16), &checkpoint(), &config, 8)
            .expect(name);
        let matrix = |matrix: &Matrix| matrix.bytes();
        let mut bytes = matrix(&model.embedding) + model.head.as_ref().map_or(0, matrix);
        // Norms are widened on loading but count as stored, with two bytes per element.
        bytes += 2 * model.norm.gain.len();
        for layer in &model.layers {
            let norms = [&layer.input_norm, &layer.mlp_norm].into_iter().flatten();
            bytes += norms.map(|norm| 2 * norm.gain.len()).sum::<usize>();
            let Mlp::Gated { gate_up, down } = &layer.mlp else {
                panic!("a gate");
            };
            let (Projections::Separate(qkv), Projections::Separate(gate_up)) =
                (&layer.qkv, gate_up)
            else {
                panic!("this engine has no stacks");
            };
            for linear in qkv.iter().chain(gate_up).chain([&layer.o, down]) {
                bytes += matrix(&linear.weight);
            }
        }
        let footprint = engine.footprint(&config).expect(name);
        assert_eq!(footprint.weight_bytes, bytes as u64, "{name}");
    }
}

#[test]
fn the_task_is_what_the_generator_writes_and_needs_the_whole_story() {
    let count = embedded::TASK.lines().count();
    assert!(count >= 1000);
    assert_eq!(
        embedded::TASK,
        heldout::write(Recipe::default().seed, count)
    );
    let mut stories = HashSet::new();
    for line in embedded::TASK.lines() {
        assert!(stories.insert(line), "twice: {line}");
        let line: serde_json::Value = serde_json::from_str(line).expect("json");
        let text = line["text"].as_str().expect("a text");
        let words: Vec<&str> = text
            .split([' ', '.', ','])
            .filter(|w| !w.is_empty())
            .collect();
        let (last, before) = words.split_last().expect("words");
        let places: Vec<usize> = (0..before.len()).filter(|&i| before[i] == *last).collect();
        assert_eq!(places.len(), 1, "{text}");
        assert!(
            before.len() - places[0] >= heldout::LEAST_DISTANCE,
            "{text}"
        );
    }
}

#[test]
fn training_depends_on_the_seed_alone() {
    let train = |seed: u64, threads: usize| {
        let directory = tempfile::tempdir().expect("a directory");
        let recipe = Recipe {
            seed,
            steps: 2,
            tokens: 600,
            threads,
            ..Recipe::default()
        };
        train(&recipe, directory.path()).expect("a training");
        ["config.json", "tokenizer.json", "model.safetensors"]
            .map(|file| std::fs::read(directory.path().join(file)).expect(file))
    };
    let [config, tokenizer, weights] = train(Recipe::default().seed, 1);
    assert!(
        [config.clone(), tokenizer.clone(), weights.clone()] == train(Recipe::default().seed, 2)
    );
    assert!(weights != train(7, 2)[2]);
    assert!(config == include_bytes!("../embedded/config.json"));
    assert!(tokenizer == include_bytes!("../embedded/tokenizer.json"));
}
