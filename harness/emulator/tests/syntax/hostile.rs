//! Text that was not written to be read: never a panic, never much time or memory.

use proptest::prelude::*;
use ptx_emulator::syntax::parse;

use super::{round_trip::assert_survives, samples::SAMPLES, with_body};

/// Whatever parses also survives being printed.
fn check(source: &str) {
    if let Ok(module) = parse(source) {
        assert_survives(module);
    }
}

const FRAGMENTS: [&str; 64] = [
    ".reg",
    ".b32",
    ".v4",
    ".shared",
    ".extern",
    ".align",
    ".param",
    ".func",
    ".entry",
    ".loc",
    ".pragma",
    ".section",
    ".file",
    ".ptr",
    "k",
    "%r1",
    "_",
    "a.x",
    "WARP_SZ",
    "call",
    "mov.u32",
    "ld.global",
    "@",
    "!",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ";",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<",
    ">",
    "<<",
    "==",
    "&&",
    "||",
    "|",
    "?",
    "=",
    "~",
    "0",
    "1",
    "8",
    "4294967296",
    "0xFFFFFFFFFFFFFFFF",
    "0f3F800000",
    "0d0000000000000001",
    "1.5",
    "0f",
    "0x",
    "\"x\"",
    "\n",
    " ",
    "/*",
    "//",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text(source in "\\PC{0,200}") {
        check(&source);
        check(&with_body(&source));
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_tokens(picks in proptest::collection::vec(0..FRAGMENTS.len(), 0..60)) {
        let source: Vec<&str> = picks.into_iter().map(|pick| FRAGMENTS[pick]).collect();
        check(&with_body(&source.join(" ")));
        check(&with_body(&source.concat()));
        check(&format!(".version 8.0 .target sm_90 {}", source.join(" ")));
    }

    /// Valid programs with pieces cut out, doubled, replaced and moved.
    #[test]
    fn mutated_samples(
        sample in 0..SAMPLES.len(),
        edits in proptest::collection::vec(
            (any::<u16>(), 0usize..30, any::<u16>(), 0..4, 0..FRAGMENTS.len()),
            1..4,
        ),
    ) {
        let mut text: Vec<char> = SAMPLES[sample].1.chars().collect();
        for (at, length, to, kind, fragment) in edits {
            let start = usize::from(at) % text.len();
            let end = (start + length).min(text.len());
            let piece: Vec<char> = text[start..end].to_vec();
            let to = usize::from(to) % text.len();
            match kind {
                0 => drop(text.drain(start..end)),
                1 => drop(text.splice(to..to, piece)),
                2 => drop(text.splice(start..end, FRAGMENTS[fragment].chars())),
                _ => drop(text.splice(start..start, FRAGMENTS[fragment].chars())),
            }
        }
        check(&text.into_iter().collect::<String>());
    }
}

/// Every prefix of a sample is an error or a shorter module.
#[test]
fn truncated_samples() {
    for (_, source) in SAMPLES {
        for (end, _) in source.char_indices() {
            check(&source[..end]);
        }
    }
}

/// Every construct that nests meets the limit instead of the end of the stack.
#[test]
fn nesting_is_limited() {
    for open in [
        "{",
        "mov.b32 a, (",
        "(",
        "-",
        "!",
        "1?",
        "0?1:",
        "(.u64)",
        "1||1&&1|1^1&1==1<1<<1+1*(",
        "[a+(",
        "~(",
        ".global .b32 a = {",
    ] {
        for prefix in ["", "mov.b32 a, ", "ld.b32 a, [", "call "] {
            let source = with_body(&format!("{prefix}{}", open.repeat(100_000)));
            assert!(parse(&source).is_err(), "{prefix}{open}");
        }
    }
    let braces = format!(".global .b32 a{} = {}", "[1]".repeat(500), "{".repeat(500));
    let error = parse(&with_body(&braces)).expect_err("too deep");
    assert_eq!(error.message, "nested deeper than 64 levels");
}

/// Long lines, long lists and long chains take linear time: quadratic would be minutes.
#[test]
fn large_sources() {
    let count = 200_000;
    let line = "add.u32 %r1, %r1, 1; ".repeat(count);
    let body = |text: &str| {
        parse(&with_body(text))
            .expect("valid PTX")
            .functions
            .remove(0)
            .body
    };
    assert_eq!(body(&line).map(|body| body.len()), Some(count));
    body(&format!("mov.u64 a, 0{};", "+1".repeat(count)));
    body(&format!(".reg .b32 a{};", ",a".repeat(count)));
    body(&"// comment\n/* comment */".repeat(count));
    let declarations: String = (0..20_000).map(|i| format!(".func f{i};\n")).collect();
    let module = parse(&format!(".version 8.0 .target sm_90 {declarations}")).expect("valid PTX");
    assert_survives(module);
}
