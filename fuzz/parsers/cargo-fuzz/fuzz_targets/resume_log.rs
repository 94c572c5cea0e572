#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mxlab_parser_fuzz::evaluation::resume_log(data);
});
