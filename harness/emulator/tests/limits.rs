//! What a module declares must fit a machine; what does not is named with its place, before any
//! memory is taken for it.

use ptx_emulator::launch::{Kernels, LoadError};

fn refusal(module: &str) -> String {
    let source = format!(".version 8.0\n.target sm_80\n{module}");
    match Kernels::load(&source) {
        Err(LoadError::Program(error)) => error.to_string(),
        other => panic!("{module}: {other:?}"),
    }
}

#[test]
fn declarations_that_do_not_fit_are_named() {
    for (module, expected) in [
        (
            ".const .b8 a[65536];\n.const .b8 b;\n.entry k() {}",
            "4:12: 65537 bytes of constant memory, at most 65536 are possible",
        ),
        (
            ".const .b64 a[134217728];\n.entry k() {}",
            "3:13: 1073741824 bytes of constant memory, at most 65536 are possible",
        ),
        (
            ".entry k(.param .b8 a[32760], .param .u64 b) {}",
            "3:43: 32768 bytes of parameters, at most 32764 are possible",
        ),
        (
            ".entry k() { .shared .b8 a[232449]; }",
            "3:8: 232449 bytes of shared memory, at most 232448 are possible",
        ),
        (
            ".entry k() { .local .b8 a[524289]; }",
            "3:8: 524289 bytes of local memory, at most 524288 are possible",
        ),
        (
            ".entry k() { .reg .b32 a<65536>, b; }",
            "3:8: 65537 registers and constants of a class, at most 65536 are possible",
        ),
    ] {
        assert_eq!(refusal(module), expected, "{module}");
    }
}
