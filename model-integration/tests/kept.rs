//! Options of keys and values: a cache in pages has the bits of a sequence in one piece.

use mxlab::checkpoint::Checkpoint;
use mxlab::config::{FormatFlags, KvOptions, QuantConfig, load};
use mxlab::engine::Engine;
use mxlab::model::cpu::{Cache, Cpu, CpuEngine};
use mxlab::model::device::DeviceEngine;
use mxlab::model::device::input::Operands;
use mxlab::model::device::plan::Storage;
use mxlab::model::load::load as load_llama;
use mxlab::model::{Batch, Llama};
use mxlab_harness::device::Device;
use mxlab_kernels::cpu::PAGE;
use mxlab_kernels::format::FloatType;
use serde_json::json;

use crate::checkpoint::tiny::{TinyModel, write};

const VOCABULARY: usize = 16;
const POSITIONS: usize = 60;

/// Two query heads on one head of keys; with a window, if it is given.
fn model(window: Option<usize>) -> (tempfile::TempDir, Checkpoint) {
    let mut model = TinyModel::new(FloatType::F32);
    if let Some(window) = window {
        model.config["architectures"] = json!(["MistralForCausalLM"]);
        model.config["model_type"] = json!("mistral");
        model.config["sliding_window"] = json!(window);
    }
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), &model.files());
    let checkpoint = Checkpoint::open(dir.path()).expect("a model");
    (dir, checkpoint)
}

/// Blocks of two elements: a head has two of them.
fn packed(kv: KvOptions) -> QuantConfig {
    let flags = FormatFlags {
        kv: Some("fp4_e2m1".parse().expect("an element")),
        block_size: Some(2),
        rounding: Some("stochastic".parse().expect("a rounding")),
        ..FormatFlags::default()
    };
    let mut config = load("baseline", &flags).expect("a configuration");
    config.kv = kv;
    config
}

/// The same, where every row has a tensor scale.
fn scaled(kv: KvOptions) -> QuantConfig {
    let flags = FormatFlags {
        kv: Some("nvfp4".parse().expect("a format")),
        block_size: Some(2),
        ..FormatFlags::default()
    };
    let mut config = load("baseline", &flags).expect("a configuration");
    config.kv = kv;
    config
}

fn first(first: usize) -> KvOptions {
    KvOptions {
        first,
        ..KvOptions::default()
    }
}

fn recent(key_recent: usize) -> KvOptions {
    KvOptions {
        key_recent,
        ..KvOptions::default()
    }
}

/// Heads have four features.
fn every_option() -> Vec<KvOptions> {
    let mut options = [0, 1, 5, PAGE, 23].map(first).to_vec();
    for (exact, rotation) in [(0, "row"), (0, "2"), (0, "row:7"), (5, "4:1")] {
        options.push(KvOptions {
            first: exact,
            key_rotation: Some(rotation.parse().expect("a rotation")),
            ..KvOptions::default()
        });
    }
    options.extend([1, 4, PAGE, 27].map(recent));
    options.push(KvOptions {
        first: 3,
        key_recent: 5,
        key_rotation: Some("row:2".parse().expect("a rotation")),
    });
    options
}

fn tokens(seed: u32, length: usize) -> Vec<u32> {
    let token = |index: u32| (index * index + seed * (index + 3) + index / 5) % VOCABULARY as u32;
    (0..length as u32).map(token).collect()
}

/// The bits of the logits of every token.
fn logits(llama: &Llama<Cpu>, engine: &Cpu, batch: &Batch, cache: &mut Cache) -> Vec<u32> {
    let rows: Vec<u32> = (0..batch.tokens.len() as u32).collect();
    let logits = llama.logits(engine, batch, cache, &rows).expect("logits");
    logits.values().iter().map(|x| x.to_bits()).collect()
}

fn in_one_piece(llama: &Llama<Cpu>, engine: &Cpu, tokens: &[u32]) -> Vec<u32> {
    logits(llama, engine, &Batch::whole([tokens]), &mut Cache::none())
}

/// Runs a sequence from `past` on in pieces of these lengths, by turns.
fn in_pieces(
    (llama, engine, cache): (&Llama<Cpu>, &Cpu, &mut Cache),
    (slot, mut past): (usize, usize),
    tokens: &[u32],
    lengths: &[usize],
) -> Vec<u32> {
    let (mut got, mut lengths) = (Vec::new(), lengths.iter().cycle());
    while past < tokens.len() {
        let end = tokens.len().min(past + lengths.next().expect("a length"));
        let mut batch = Batch::default();
        batch.push(slot, past, &tokens[past..end]);
        got.extend(logits(llama, engine, &batch, cache));
        past = end;
    }
    got
}

#[test]
fn pages_have_the_bits_of_one_piece() {
    for window in [None, Some(7), Some(20)] {
        let (_dir, checkpoint) = model(window);
        for dtype in FloatType::ALL {
            let engine = Cpu::new(dtype);
            let mut seen = Vec::new();
            let mut configs: Vec<QuantConfig> = every_option().into_iter().map(packed).collect();
            configs.extend([scaled(first(0)), scaled(first(5))]);
            for config in configs {
                let llama = load_llama(&engine, &checkpoint, &config, 64).expect("a model");
                let kv = config.kv;
                let place = format!("{:?}, {kv:?}, window {window:?}, {dtype}", config.keys);
                let [a, b] = [tokens(1, POSITIONS), tokens(2, POSITIONS)];
                let [of_a, of_b] = [&a, &b].map(|all| in_one_piece(&llama, &engine, all));

                let pages = POSITIONS.div_ceil(PAGE) as u32;
                let mut cache = Cache::paged(&engine, &llama, 2, 2 * pages as usize).expect("room");
                cache.assign(0, 0..pages, 0);
                let run = (&llama, &engine, &mut cache);
                assert!(in_pieces(run, (0, 0), &a, &[1, 9, 30]) == of_a, "{place}");

                // A sequence that begins as the first does shares its pages.
                let mut other = a[..2 * PAGE].to_vec();
                other.extend(&b[2 * PAGE..]);
                cache.assign(1, [0, 1, pages, pages + 1], 2 * PAGE);
                if kv.key_recent > 1 {
                    // Pages have packed keys alone.
                    let mut batch = Batch::default();
                    batch.push(1, 2 * PAGE, &b[..1]);
                    let error = llama.logits(&engine, &batch, &mut cache, &[0]).err();
                    let error = error.expect("no exact keys").to_string();
                    let words = format!("exact keys of the {} positions", kv.key_recent - 1);
                    assert!(error.contains(&words), "{error}");
                } else {
                    let run = (&llama, &engine, &mut cache);
                    let got = in_pieces(run, (1, 2 * PAGE), &other, &[1, 2]);
                    let of_other = in_one_piece(&llama, &engine, &other);
                    assert!(got == of_other[2 * PAGE * VOCABULARY..], "shared, {place}");
                }

                // Pages in another order, whose rows had other positions.
                cache.assign(0, (0..pages).rev(), 0);
                let run = (&llama, &engine, &mut cache);
                assert!(in_pieces(run, (0, 0), &b, &[17]) == of_b, "reused, {place}");
                // A window may hide the difference.
                let is_seen = window.is_none_or(|window| kv.key_recent <= window);
                assert!(!is_seen || !seen.contains(&of_a), "{place}: no effect");
                seen.push(of_a);
            }
        }
    }
}

#[test]
fn exact_positions_are_those_of_the_unquantised_model() {
    let (_dir, checkpoint) = model(None);
    let engine = Cpu::new(FloatType::Bf16);
    let tokens = tokens(3, 20);
    let of_first = |positions| {
        let config = packed(first(positions));
        let llama = load_llama(&engine, &checkpoint, &config, 64).expect("a model");
        in_one_piece(&llama, &engine, &tokens)
    };
    let plain = QuantConfig::unquantised("baseline");
    let llama = load_llama(&engine, &checkpoint, &plain, 64).expect("a model");
    let plain = in_one_piece(&llama, &engine, &tokens);
    assert!(of_first(20) == plain);
    let some = of_first(7);
    let (exact, others) = (7 * VOCABULARY, 7 * VOCABULARY..);
    assert!(some[..exact] == plain[..exact]);
    assert!(some[others.clone()] != plain[others]);
}

#[test]
fn exact_rows_are_counted_while_they_are_kept() {
    let (_dir, checkpoint) = model(None);
    let engine = Cpu::new(FloatType::Bf16);
    let bytes = |kv| {
        let config = packed(kv);
        let llama = load_llama(&engine, &checkpoint, &config, 64).expect("a model");
        let mut cache = Cache::divided(&engine, &llama, 1, 64).expect("room");
        let before = cache.bytes();
        let run = (&llama, &engine, &mut cache);
        in_pieces(run, (0, 0), &tokens(1, POSITIONS), &[7]);
        cache.bytes() - before
    };
    assert_eq!(bytes(first(0)), 0);
    // Keys and values of two layers, one head of four 16-bit values.
    assert_eq!(bytes(first(5)), 5 * 2 * 2 * 4 * 2);
    // Keys alone, of the positions before the next query.
    assert_eq!(bytes(recent(5)), 4 * 2 * 4 * 2);
}

#[test]
fn bits_of_a_cached_value_are_a_mean_over_sequences() {
    let (_dir, checkpoint) = model(None);
    let engine = CpuEngine::new(checkpoint, Some(FloatType::Bf16), None).expect("an engine");
    let bits = |kv, lengths: &[u64]| {
        let footprint = engine.footprint(&packed(kv));
        footprint.expect("bytes").kv_bits(lengths.iter().copied())
    };
    // A row of four values: two bytes of codes, two of scales.
    assert_eq!(bits(first(0), &[10, 3]), Some(8.0));
    assert_eq!(
        bits(first(5), &[10, 3]),
        Some((8.0 * 16.0 + 5.0 * 8.0) / 13.0)
    );
    // Keys of four and three positions of 16 bits, everything else of 8.
    assert_eq!(
        bits(recent(4), &[10, 3]),
        Some((7.0 * 12.0 + 6.0 * 8.0) / 13.0)
    );
    // The first positions are none of the recent ones: five and four of ten, five and two of seven.
    let both = KvOptions {
        first: 5,
        ..recent(4)
    };
    assert_eq!(
        bits(both, &[10, 7]),
        Some((10.0 * 16.0 + 6.0 * 12.0 + 8.0) / 17.0)
    );
    assert_eq!(bits(first(5), &[]), None);
    let plain = engine.footprint(&QuantConfig::unquantised("baseline"));
    assert_eq!(plain.expect("bytes").kv_bits([7].into_iter()), Some(16.0));
}

#[test]
fn options_that_do_not_fit_are_refused_by_name() {
    let refused = |engine: &dyn Engine, kv, words: &str| {
        let error = engine.check(&packed(kv)).expect_err(words);
        let message = format!("{error:#}");
        assert!(message.contains(words), "{message}");
    };
    let cpu = |kv, words: &str| {
        let engine = CpuEngine::new(model(None).1, None, None).expect("an engine");
        refused(&engine, kv, words);
    };
    let rotated = |rotation: &str| KvOptions {
        key_rotation: Some(rotation.parse().expect("a rotation")),
        ..KvOptions::default()
    };
    cpu(
        first(64),
        "`kv_first`: 64 positions are all that the model has, 64",
    );
    cpu(
        recent(99),
        "`key_recent`: 99 positions are all that the model has, 64",
    );
    cpu(
        rotated("8"),
        "`key_rotation`: 8: of a head, rows of 4 columns are no whole blocks of 8",
    );
    let storage = Storage::Packed(Operands::Bf16);
    let engine = DeviceEngine::new(Device::emulator(), model(None).1, FloatType::F32, storage);
    let engine = engine.expect("an engine");
    let all = "`kv_first`: 64 positions are all that the model has, 64";
    refused(&engine, first(64), all);
    refused(&engine, recent(1), "`key_recent`: the kernels of the cache");
    for rotation in ["4", "row:2"] {
        let words = "in blocks of 4 features; expected 8, 16, 32, 64 or 128";
        refused(&engine, rotated(rotation), words);
        refused(&engine, rotated(rotation), "`key_rotation`");
    }
}

/// Scores keep their values but for the roundings of the rotation; a rotation without a format of
/// keys does nothing.
#[test]
fn rotated_queries_and_keys_have_the_products_they_had() {
    let (_dir, checkpoint) = model(None);
    let engine = Cpu::new(FloatType::F32);
    let tokens = tokens(3, 20);
    let of = |keys: &str, values: &str, rotation: Option<&str>| {
        let flags = FormatFlags {
            keys: Some(keys.parse().expect("an element")),
            values: Some(values.parse().expect("an element")),
            key_rotation: rotation.map(|rotation| rotation.parse().expect("a rotation")),
            ..FormatFlags::default()
        };
        let config = load("baseline", &flags).expect("a configuration");
        let llama = load_llama(&engine, &checkpoint, &config, 64).expect("a model");
        let bits = in_one_piece(&llama, &engine, &tokens);
        bits.into_iter().map(f32::from_bits).collect::<Vec<f32>>()
    };
    // All positions are kept exactly.
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    let mut exact = packed(first(20));
    let plain = {
        let llama = load_llama(&engine, &checkpoint, &exact, 64).expect("a model");
        in_one_piece(&llama, &engine, &tokens)
    };
    exact.kv.key_rotation = Some("row:3".parse().expect("a rotation"));
    let llama = load_llama(&engine, &checkpoint, &exact, 64).expect("a model");
    let rotated = in_one_piece(&llama, &engine, &tokens);
    assert!(rotated != plain);
    let floats = |bits: &[u32]| -> Vec<f32> { bits.iter().map(|&x| f32::from_bits(x)).collect() };
    assert!(close(&floats(&rotated), &floats(&plain)));
    let values_alone = of("none", "fp4_e2m1", None);
    assert!(of("none", "fp4_e2m1", Some("row")) == values_alone);
    assert!(of("fp4_e2m1", "none", Some("row")) != of("fp4_e2m1", "none", None));
}

/// The oldest query that sees a packed key comes after the recent ones.
#[test]
fn recent_keys_are_those_of_the_unquantised_model() {
    let (_dir, checkpoint) = model(None);
    let engine = Cpu::new(FloatType::Bf16);
    let tokens = tokens(3, 20);
    let keys_alone = |key_recent| {
        let mut config = packed(recent(key_recent));
        config.values = None;
        let llama = load_llama(&engine, &checkpoint, &config, 64).expect("a model");
        in_one_piece(&llama, &engine, &tokens)
    };
    let plain = QuantConfig::unquantised("baseline");
    let llama = load_llama(&engine, &checkpoint, &plain, 64).expect("a model");
    let plain = in_one_piece(&llama, &engine, &tokens);
    assert!(keys_alone(20) == plain);
    let some = keys_alone(6);
    let (exact, others) = (6 * VOCABULARY, 6 * VOCABULARY..7 * VOCABULARY);
    assert!(some[..exact] == plain[..exact]);
    assert!(some[others.clone()] != plain[others]);
}
