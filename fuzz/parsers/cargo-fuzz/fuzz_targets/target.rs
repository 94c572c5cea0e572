//! Every target: the binary's name says which.
#![no_main]

const NAME: &str = env!("CARGO_BIN_NAME");

libfuzzer_sys::fuzz_target!(
    // Panics of the tokenizers crate become errors: only one that escapes may end the process.
    init: if NAME == "tokenizer_json" {
        drop(std::panic::take_hook());
    },
    |data: &[u8]| {
        mxlab_parser_fuzz::run(NAME, data);
    }
);
