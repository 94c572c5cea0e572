#![no_main]

libfuzzer_sys::fuzz_target!(
    // Panics of the tokenizers crate become errors: only one that escapes may end the process.
    init: drop(std::panic::take_hook()),
    |data: &[u8]| {
        mxlab_parser_fuzz::checkpoint::tokenizer_json(data);
    }
);
