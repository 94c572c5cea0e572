//! The errors of invalid configurations.

use super::*;

#[test]
fn malformed_files_are_named_with_line_and_field() {
    let cases = [
        (
            "weights = 'fp5'",
            "line 1",
            "unknown format `fp5`; known: fp4_e2m1",
        ),
        ("\nkeys = 'FP4'", "line 2", "or `none`"),
        ("weigths = 'fp4_e2m1'", "line 1", "unknown field `weigths`"),
        ("weights = 4", "line 1", "the name of a format"),
        ("weights = ['fp4_e2m1']", "line 1", "the name of a format"),
        (
            "weights = 'fp4_e2m1'\nweights = 'int8'",
            "line 2",
            "duplicate key",
        ),
        ("weights =", "line 1", "weights ="),
        ("weights 'fp4_e2m1'", "line 1", "weights"),
        ("[weights\n", "line 1", "weights"),
        ("kv = 'q4_0'", "line 1", "q4_0 is a format of weights"),
        (
            "weights = 'int8'\nkv_first = 1",
            "line 2",
            "`kv_first`: no format of keys or values; expected `kv`",
        ),
        ("kv = 'int8'\nkv_first = -1", "line 2", "kv_first = -1"),
        (
            "values = 'int8'\n\nkey_rotation = 'row'",
            "line 3",
            "`key_rotation`: no format of keys; expected `kv`",
        ),
        (
            "values = 'int8'\nkey_recent = 2",
            "line 2",
            "`key_recent`: no format of keys",
        ),
        (
            "kv = 'int8'\nkey_rotation = '24'",
            "line 2",
            "a power of two",
        ),
        (
            "weights = 'int8'\nrotated = ['down']",
            "line 2",
            "`rotated`: no rotation; expected `rotation`",
        ),
        (
            "rotation = '32'\nrotated = []",
            "line 2",
            "`rotated`: names no projection",
        ),
        (
            "head = 'q8_0'\nhead_activations = 'q8_0'",
            "line 2",
            "`head_activations`: q8_0 is a format of weights",
        ),
        (
            "weights = { block_size = 16 }",
            "line 1",
            "`weights`: field `element`: missing",
        ),
        ("\n\nkv = {}", "line 3", "`kv`: field `element`: missing"),
        (
            "weights = { elem = 'int8' }",
            "line 1",
            "unknown field `elem`",
        ),
        (
            "[weights]\nelement = 'int8'\nscale = 'e9m9'",
            "line 3",
            "unknown scale format `e9m9`",
        ),
        (
            "[weights]\nelement = 'int8'\nrounding = 'up'",
            "line 3",
            "unknown rounding `up`",
        ),
        (
            "[weights]\nelement = 'int8'\nrule = 'best'",
            "line 3",
            "unknown scale rule `best`",
        ),
        (
            "[weights]\nelement = 'int8'\ndialect = 'amd'",
            "line 3",
            "unknown dialect `amd`",
        ),
        (
            "[weights]\nelement = 'int8'\nblock_size = 0",
            "line 1",
            "block size is 0",
        ),
        (
            "[weights]\nelement = 'int8'\nblock_size = -1",
            "line 3",
            "block_size = -1",
        ),
        (
            "[weights]\nelement = 'int8'\nblock_size = 1.5",
            "line 3",
            "block_size = 1.5",
        ),
        (
            "[weights]\nelement = 'int8'\nblock_size = '16'",
            "line 3",
            "block_size = '16'",
        ),
        (
            "[weights]\nelement = 'int8'\nscale_bits = 9",
            "line 1",
            "field `scale_bits`: 9",
        ),
        (
            "[weights]\nelement = 'int8'\nscale_bits = 300",
            "line 3",
            "scale_bits = 300",
        ),
        (
            "default = { scale = 'ue5m3', scale_bits = 6 }\n\nvalues = 'int8'",
            "line 3",
            "`scale_bits`: 6, but ue5m3 has 8 bits",
        ),
        (
            "default = { element = 'fp4_e2m1' }\nweights = { block_size = 16 }",
            "`default`",
            "does not belong here",
        ),
        ("default = { block_size = 16 }", "quantises nothing", "kv"),
        ("", "quantises nothing", "\"none\""),
        (
            "weights = { element = 'nf4', rule = 'even' }",
            "line 1",
            "with a mantissa",
        ),
        (
            "weights = { element = 'nf4', rule = 'nearest' }",
            "line 1",
            "does not fit",
        ),
        (
            "weights = { element = 'int8', tensor_scale = true }",
            "line 1",
            "no tensor scale",
        ),
        (
            "weights = { element = 'int8', dialect = 'ggml' }",
            "line 1",
            "dialect `ggml`",
        ),
        ("default = 'e8m0'", "line 1", "default = 'e8m0'"),
        ("override = 1", "line 1", "override = 1"),
        ("[[override]]", "line 1", "`override`: changes nothing"),
        (
            "\n[[override]]\nlayers = '0'",
            "line 2",
            "`override`: changes nothing",
        ),
        (
            "[[override]]\nlayers = '3-1'\nkv = 'int8'",
            "line 2",
            "invalid layers `3-1`; expected a list such as",
        ),
        (
            "[[override]]\nlayers = 'a'\nkv = 'int8'",
            "line 2",
            "invalid layers `a`; expected a list such as",
        ),
        (
            "[[override]]\nlayers = ''\nkv = 'int8'",
            "line 2",
            "invalid layers ``; expected a list such as",
        ),
        (
            "[[override]]\nlayers = -1\nkv = 'int8'",
            "line 2",
            "invalid layers `-1`; expected a list such as",
        ),
        (
            "[[override]]\nlayer = 1\nkv = 'int8'",
            "line 2",
            "unknown field `layer`",
        ),
        (
            "[[override]]\nprojections = ['x']\nweights = 'int8'",
            "line 2",
            "unknown variant `x`",
        ),
        (
            "[[override]]\nprojections = []\nweights = 'int8'",
            "line 1",
            "`projections` is empty",
        ),
        (
            "[[override]]\nprojections = ['q']\nkv = 'int8'",
            "line 1",
            "belong to a layer",
        ),
        (
            "[[override]]\nlayers = 0\nweights = {}",
            "line 3",
            "`weights`: field `element`: missing",
        ),
    ];
    for (text, line, expected) in cases {
        let error = load_text(text, &FormatFlags::default())
            .expect_err(text)
            .to_string();
        for part in ["my config.toml`", line, expected] {
            assert!(
                error.contains(part),
                "{text:?} should say {part:?}: {error}"
            );
        }
    }
}

#[test]
fn unknown_names_say_which_exist() {
    let error = load("mxfp5", &FormatFlags::default())
        .expect_err("unknown")
        .to_string();
    assert!(
        error.contains("baseline, stored-weights, mx-linear, mx-kv"),
        "{error}"
    );
    let error = load("gone.toml", &FormatFlags::default())
        .expect_err("missing")
        .to_string();
    assert!(error.contains("cannot read `gone.toml`"), "{error}");
    let error = flags("--weights nf4 --scale-rule even")
        .config()
        .expect_err("no mantissa");
    assert!(
        error.to_string().contains("command line: `weights`"),
        "{error}"
    );
    for wrong in [
        "--weights fp5",
        "--scale e9m9",
        "--scale-bits 1",
        "--scale-bits 9",
        "--block-size 0",
        "--block-size x",
        "--scale-rule best",
        "--rounding up",
        "--dialect amd",
    ] {
        let words = std::iter::once("test").chain(wrong.split_whitespace());
        assert!(Flags::try_parse_from(words).is_err(), "{wrong}");
    }
}
