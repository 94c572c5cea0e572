//! Every target on its seeds, on inputs that once failed, and on mutations of the seeds.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mxlab_parser_fuzz::mutate::mutate;
use mxlab_parser_fuzz::{TARGETS, Target};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

mod memory;

/// Mutations of each target.
const MUTATIONS: u64 = 5000;
/// Time for one input: far more than any takes, however busy the machine.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that reading one input may take. PTX may ask for 256 MiB of initialised variables.
const MEMORY_LIMIT: usize = 2 << 30;

fn crate_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs an input, and keeps it where it can be found if it breaks a promise. Whether it is taken.
fn run(target: &Target, input: &[u8], what: &str) -> bool {
    let (start, before) = (Instant::now(), memory::reset_peak());
    let outcome = catch_unwind(|| (target.run)(input));
    let (taken, used) = (start.elapsed(), memory::peak().saturating_sub(before));
    if let Ok(is_taken) = outcome
        && taken < TIME_LIMIT
        && used < MEMORY_LIMIT
    {
        return is_taken;
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.input", target.name));
    fs::write(&path, input).expect("a temporary file");
    let name = target.name;
    let kind = if outcome.is_err() {
        "panicked"
    } else {
        "took too much"
    };
    panic!(
        "{name} {kind} on {what}: {taken:?}, {used} bytes; the input is {}",
        path.display()
    );
}

fn run_all(name: &str) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("a target");
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    for (number, seed) in seeds.iter().enumerate() {
        let is_taken = run(target, seed, &format!("seed {number}"));
        assert!(is_taken, "{name}: seed {number} is not valid");
    }
    for kept in files(&crate_root().join("regressions").join(name)) {
        run(
            target,
            &fs::read(&kept).expect("a kept input"),
            &kept.display().to_string(),
        );
    }
    let taken = (0..MUTATIONS).filter(|&number| {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        run(
            target,
            &mutate(&seeds, &mut rng),
            &format!("mutation {number}"),
        )
    });
    println!(
        "{name}: {} of {MUTATIONS} mutations are taken",
        taken.count()
    );
}

/// The files of a folder, none if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run_all(stringify!($name));
        })*

        /// Each target has a test here, a fuzz target, and no regressions of unknown targets are
        /// kept.
        #[test]
        fn every_target_is_run() {
            let listed: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(listed, BTreeSet::from([$(stringify!($name)),*]));
            let manifest = include_str!("../cargo-fuzz/Cargo.toml");
            let binaries = manifest.split("[[bin]]\nname = \"").skip(1);
            let binaries = binaries.filter_map(|bin| bin.split('"').next());
            let binaries: BTreeSet<&str> = binaries.collect();
            assert_eq!(binaries, listed);
            for kept in files(&crate_root().join("regressions")) {
                let name = kept.file_name().expect("a name").to_string_lossy().into_owned();
                assert!(listed.contains(name.as_str()), "{name}");
            }
        }
    };
}

targets!(
    ptx,
    emulated_ptx,
    config_json,
    quantization_config,
    tokenizer_json,
    tokenizer_config_json,
    special_tokens_map_json,
    generation_config_json,
    safetensors,
    gguf,
    weights_index,
    task_jsonl,
    configuration_toml,
    eval_record,
    resume_log,
    regression,
    equivalents,
    golden,
    names,
);
