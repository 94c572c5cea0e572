//! Configurations: the named ones, the effect of files and flags, and the errors of invalid ones.

use clap::Parser;
use mxlab::config::{FormatFlags, Projection, QuantConfig, load, named};
use mxlab_kernels::format::{BlockFormat, ElementFormat, Rounding, ScaleFormat};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    format: FormatFlags,
}

fn flags(line: &str) -> FormatFlags {
    let words = std::iter::once("test").chain(line.split_whitespace());
    Flags::try_parse_from(words).expect("flags").format
}

fn named(name: &str) -> QuantConfig {
    load(name, &FormatFlags::default()).expect(name)
}

fn config_file(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("my config.toml");
    std::fs::write(&path, text).expect("writable");
    let path = path.to_str().expect("UTF-8").to_owned();
    (directory, path)
}

fn load_text(text: &str, flags: &FormatFlags) -> anyhow::Result<QuantConfig> {
    let (_directory, path) = config_file(text);
    Ok(load(&path, flags)?)
}

fn mx(element: ElementFormat) -> BlockFormat {
    BlockFormat::new(element).build().expect("a format")
}

#[test]
fn the_named_configurations() {
    const FP4: ElementFormat = ElementFormat::FP4_E2M1;
    const FP6: ElementFormat = ElementFormat::FP6_E2M3;
    const FP8: ElementFormat = ElementFormat::FP8_E4M3;
    let (fp4, fp6, fp8) = (Some(mx(FP4)), Some(mx(FP6)), Some(mx(FP8)));
    let e5m3 = BlockFormat::new(FP4)
        .scale(ScaleFormat::UE5M3)
        .block_size(16);
    let e5m3 = Some(e5m3.build().expect("a format"));
    let nvfp4 = Some(BlockFormat::NVFP4);
    let expected = [
        ("baseline", None, None, None),
        ("stored-weights", None, None, None),
        ("mx-linear", fp4, fp6, None),
        ("mx-kv", None, None, fp4),
        ("mx-linear-kv", fp4, fp6, fp4),
        ("fp4-e5m3", e5m3, e5m3, e5m3),
        ("mxfp4-weights", fp4, None, None),
        ("mxfp6-activations", None, fp6, None),
        ("mxfp8", fp8, fp8, None),
        ("mxfp6", fp6, fp6, None),
        ("nvfp4", nvfp4, nvfp4, None),
    ];
    let all = named::all(&FormatFlags::default()).expect("well-formed");
    assert_eq!(all.len(), expected.len());
    for (config, (name, weights, activations, kv)) in all.iter().zip(expected) {
        assert_eq!(config.name, name);
        assert_eq!(config.weights, weights, "{name}");
        assert_eq!(config.activations, activations, "{name}");
        assert_eq!((config.keys, config.values), (kv, kv), "{name}");
        assert_eq!(config.is_unquantised(), name == "baseline");
        assert_eq!(config.stored_inputs, name != "stored-weights");
        assert_eq!(&named(name), config);
    }
}

#[test]
fn descriptions_say_what_is_shared_once() {
    for (name, description) in [
        ("baseline", "nothing quantised"),
        (
            "mx-linear",
            "W fp4_e2m1, A fp6_e2m3; e8m0 k32 floor/even ocp",
        ),
        (
            "fp4-e5m3",
            "W fp4_e2m1, A fp4_e2m1, K fp4_e2m1, V fp4_e2m1; ue5m3 k16 nearest/even ocp",
        ),
        (
            "nvfp4",
            "W fp4_e2m1, A fp4_e2m1; ue4m3+fp32 k16 nearest/even nvidia",
        ),
    ] {
        assert_eq!(named(name).describe(), description);
    }
    let mixed = load_text(
        "weights = { element = 'int4', block_size = 16 }\nkeys = 'fp8_e5m2'\n\
         [[override]]\nkv = 'none'",
        &FormatFlags::default(),
    );
    let description = mixed.expect("well-formed").describe();
    assert_eq!(
        description,
        "W int4 e8m0 k16 floor/even ocp; K fp8_e5m2 e8m0 k32 floor/even ocp; 1 override"
    );
}

#[test]
fn files_inherit_and_override() {
    let config = load_text(
        r#"
        default = { scale_bits = 6, rounding = "away", block_size = 64 }
        weights = "fp4_e2m1"
        activations = { element = "fp6_e3m2", scale = "ue5m3", block_size = 16 }
        kv = "fp8_e4m3"
        values = "none"

        [[override]]
        layers = "0-1,5"
        projections = ["down", "o"]
        weights = { block_size = 8 }

        [[override]]
        layers = 5
        weights = "none"
        keys = "int8"
        "#,
        &FormatFlags::default(),
    )
    .expect("well-formed");
    assert_eq!(config.name, "my_config");

    let e6m0 = ScaleFormat::E8M0 { bits: 6 };
    let away = |element| BlockFormat::new(element).rounding(Rounding::Away);
    let fp4 = |k| {
        let format = away(ElementFormat::FP4_E2M1).scale(e6m0).block_size(k);
        Some(format.build().expect("a format"))
    };
    // Another scale does not inherit the default's bits; it inherits the rest.
    let fp6 = away(ElementFormat::FP6_E3M2)
        .scale(ScaleFormat::UE5M3)
        .block_size(16);
    let fp6 = Some(fp6.build().expect("a format"));
    let kv = |element| {
        let format = away(element).scale(e6m0).block_size(64);
        Some(format.build().expect("a format"))
    };
    assert_eq!(config.for_projection(2, Projection::Down), (fp4(64), fp6));
    assert_eq!(config.for_projection(1, Projection::Down), (fp4(8), fp6));
    assert_eq!(config.for_projection(1, Projection::Up), (fp4(64), fp6));
    assert_eq!(config.for_projection(5, Projection::O), (None, fp6));
    assert_eq!(config.for_kv(0), (kv(ElementFormat::FP8_E4M3), None));
    assert_eq!(config.for_kv(5), (kv(ElementFormat::INT8), None));

    assert!(config.check_layers(6).is_ok());
    let error = config
        .check_layers(5)
        .expect_err("layer 5 is the sixth")
        .to_string();
    assert!(
        error.contains("override 1: field `layers`") && error.contains("not 5"),
        "{error}"
    );
}

#[test]
fn flags_make_a_configuration_of_their_own() {
    let line = "--weights fp4_e2m1 --activations fp6_e2m3 --kv fp4_e2m1 --values fp8_e4m3 \
                --scale-bits 6 --block-size 16 --rounding away --scale-rule ceil";
    let config = flags(line).config().expect("fits");
    let format = |element| {
        let format = BlockFormat::new(element).scale(ScaleFormat::E8M0 { bits: 6 });
        let format = format.block_size(16).rounding(Rounding::Away);
        Some(
            format
                .rule("ceil".parse().expect("a rule"))
                .build()
                .expect("a format"),
        )
    };
    assert_eq!(config.weights, format(ElementFormat::FP4_E2M1));
    assert_eq!(config.activations, format(ElementFormat::FP6_E2M3));
    assert_eq!(config.keys, format(ElementFormat::FP4_E2M1));
    assert_eq!(config.values, format(ElementFormat::FP8_E4M3));
    assert_eq!(
        config.name,
        "w-fp4_e2m1+a-fp6_e2m3+kv-fp4_e2m1+v-fp8_e4m3+s6+k16+ceil+round-away"
    );
    assert!(flags("").is_empty() && !flags("--dialect ocp").is_empty());

    // `--scale-bits` may repeat a scale's own width.
    let line = "--weights fp4_e2m1 --activations fp6_e2m3 --kv fp4_e2m1 --scale ue5m3 \
                --block-size 16 --scale-bits 8 --rounding even --dialect ocp";
    let config = flags(line).config().expect("fits");
    assert!(
        config
            .formats()
            .all(|f| f.scale() == ScaleFormat::UE5M3 && f.block_size() == 16)
    );
}

#[test]
fn flags_replace_their_part_of_every_operand() {
    let changed = load("mx-linear-kv", &flags("--scale ue5m3 --block-size 16")).expect("fits");
    assert_eq!(changed.name, "mx-linear-kv+ue5m3+k16");
    for format in changed.formats() {
        assert_eq!(
            (format.scale(), format.block_size()),
            (ScaleFormat::UE5M3, 16)
        );
    }
    assert_eq!(
        changed.activations.map(|f| f.element()),
        Some(ElementFormat::FP6_E2M3)
    );

    // NVFP4's tensor scale belongs to its scale format.
    let changed = load("nvfp4", &flags("--scale e8m0")).expect("fits");
    assert!(changed.formats().all(|format| !format.has_tensor_scale()));

    let changed = load("mx-linear-kv", &flags("--weights none --keys int8")).expect("fits");
    assert_eq!(changed.weights, None);
    assert_eq!(changed.keys, Some(mx(ElementFormat::INT8)));
    assert_eq!(changed.values, Some(mx(ElementFormat::FP4_E2M1)));

    // A configuration that the flags do not change keeps its name.
    assert_eq!(
        load("baseline", &flags("--block-size 16"))
            .expect("fits")
            .name,
        "baseline"
    );
    assert_eq!(
        load("mxfp8", &flags("--block-size 32")).expect("fits").name,
        "mxfp8"
    );

    let text = "weights = 'fp4_e2m1'\n[[override]]\nlayers = 0\nweights = 'int8'";
    let changed = load_text(text, &flags("--block-size 8")).expect("fits");
    assert!(changed.formats().all(|format| format.block_size() == 8));
    assert_eq!(changed.name, "my_config+k8");

    // An element flag also replaces the element of overrides, except of those with `none`.
    let text = "weights = 'fp4_e2m1'\n[[override]]\nlayers = 0\nweights = { block_size = 16 }\n\
                [[override]]\nlayers = 1\nweights = 'none'\n\
                [[override]]\nlayers = 2\nweights = 'int8'";
    let changed = load_text(text, &flags("--weights fp8_e4m3")).expect("fits");
    let weights = |config: &QuantConfig, layer| {
        let (weights, _) = config.for_projection(layer, Projection::Q);
        weights.map(|format| (format.element(), format.block_size()))
    };
    assert_eq!(weights(&changed, 0), Some((ElementFormat::FP8_E4M3, 16)));
    assert_eq!(weights(&changed, 1), None);
    assert_eq!(weights(&changed, 2), Some((ElementFormat::FP8_E4M3, 32)));
    assert_eq!(weights(&changed, 3), Some((ElementFormat::FP8_E4M3, 32)));
    let changed = load_text(text, &flags("--weights none --block-size 64")).expect("fits");
    assert_eq!(
        [0, 1, 2, 3].map(|layer| weights(&changed, layer)),
        [None; 4]
    );
}

#[test]
fn the_seed_chooses_the_stream_of_stochastic_rounding() {
    let config = flags("--weights int4 --kv int8 --rounding stochastic:3")
        .config()
        .expect("fits");
    let moved = config.clone().with_seed(4);
    assert!(
        moved
            .formats()
            .all(|f| f.rounding() == Rounding::Stochastic { seed: 7 })
    );
    assert_eq!(config.clone().with_seed(0), config);
    assert_eq!(named("mxfp8").with_seed(4), named("mxfp8"));
}

#[test]
fn malformed_files_are_named_with_line_and_field() {
    let cases = [
        (
            "weights = 'fp5'",
            "line 1",
            "unknown element format `fp5`; known: fp4_e2m1",
        ),
        ("\nkeys = 'FP4'", "line 2", "or `none`"),
        ("weigths = 'fp4_e2m1'", "line 1", "unknown field `weigths`"),
        ("weights = 4", "line 1", "the name of an element format"),
        (
            "weights = ['fp4_e2m1']",
            "line 1",
            "the name of an element format",
        ),
        (
            "weights = 'fp4_e2m1'\nweights = 'int8'",
            "line 2",
            "duplicate key",
        ),
        ("weights =", "line 1", "weights ="),
        ("weights 'fp4_e2m1'", "line 1", "weights"),
        ("[weights\n", "line 1", "weights"),
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
            "no mantissa",
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
