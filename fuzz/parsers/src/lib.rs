//! One function for every format that the project reads. It takes any bytes, gives them to the real
//! reader and says whether that took them. It fails only by panicking: a reader must return, `Ok`
//! or `Err`, in bounded time and memory, and what is printed must be read back as the same.
//!
//! [`TARGETS`] lists them. `cargo test -p mxlab-parser-fuzz` runs each on valid examples and on
//! some thousand mutations of them; coverage-guided, with libFuzzer:
//!
//! ```text
//! cargo run --release -p mxlab-parser-fuzz --example corpus -- fuzz/parsers/cargo-fuzz/corpus
//! cargo fuzz run -s none --fuzz-dir fuzz/parsers/cargo-fuzz ptx
//! ```
//!
//! An input that failed goes to `regressions/<target>/`, which the tests run as well.
//!
//! | module | what is read |
//! |---|---|
//! | [`emulator`] | PTX |
//! | [`checkpoint`] | models: config.json, tokenizer.json, safetensors, the index, GGUF |
//! | [`evaluation`] | task files, configurations, records, the log of an interrupted run |
//! | [`kernels`] | regressions, golden vectors, names on the command line |
//! | [`mutate`] | mutations for the tests |

pub mod checkpoint;
pub mod emulator;
pub mod evaluation;
#[path = "../../../model-integration/tests/gguf/writer.rs"]
#[allow(dead_code, reason = "tests write more kinds of metadata")]
mod gguf_writer;
pub mod kernels;
pub mod mutate;
mod scratch;

/// A reader, and valid inputs that mutations start from.
pub struct Target {
    /// The name of the function, and of its fuzz target.
    pub name: &'static str,
    /// Reads any bytes and says whether the reader takes them; panics where it breaks a promise.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that the reader accepts.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($module:ident: $($name:ident $seeds:ident),*;)*) => {
        &[$($(Target {
            name: stringify!($name),
            run: $module::$name,
            seeds: $module::$seeds,
        }),*),*]
    };
}

/// Every target.
pub const TARGETS: &[Target] = targets! {
    emulator: ptx ptx_seeds, emulated_ptx ptx_seeds;
    checkpoint:
        config_json config_seeds,
        quantization_config quantization_seeds,
        tokenizer_json tokenizer_seeds,
        tokenizer_config_json tokenizer_config_seeds,
        special_tokens_map_json special_tokens_map_seeds,
        generation_config_json generation_config_seeds,
        safetensors safetensors_seeds,
        gguf gguf_seeds,
        weights_index weights_index_seeds;
    evaluation:
        task_jsonl task_seeds,
        configuration_toml configuration_seeds,
        eval_record record_seeds,
        resume_log resume_log_seeds;
    kernels:
        regression regression_seeds,
        equivalents equivalents_seeds,
        golden golden_seeds,
        names name_seeds;
};

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or where its reader breaks a promise.
pub fn run(name: &str, data: &[u8]) -> bool {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target {name}")).run)(data)
}
