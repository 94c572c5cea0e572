//! Configurations: the named ones, the effect of files and flags, and the errors of invalid ones.

mod errors;

use clap::Parser;
use mxlab::config::{FormatFlags, Projection, QuantConfig, load, named};
use mxlab_kernels::format::{
    BlockFormat, ElementFormat, GgmlFormat, MatrixFormat, Rounding, ScaleFormat,
};

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

/// The formats of a configuration without those of ggml.
fn blocks(config: &QuantConfig) -> impl Iterator<Item = BlockFormat> {
    config
        .formats()
        .map(|format| format.block().expect("a block format"))
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
        assert_eq!(config.weights, weights.map(Into::into), "{name}");
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
    assert_eq!(
        config.for_projection(2, Projection::Down),
        (fp4(64).map(Into::into), fp6)
    );
    assert_eq!(
        config.for_projection(1, Projection::Down),
        (fp4(8).map(Into::into), fp6)
    );
    assert_eq!(
        config.for_projection(1, Projection::Up),
        (fp4(64).map(Into::into), fp6)
    );
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

/// The head's input is an operand like the others.
#[test]
fn the_heads_input_inherits_and_takes_flags() {
    let text = "default = { block_size = 64 }\nweights = 'fp4_e2m1'\nhead = 'q8_0'\n\
                head_activations = { element = 'int8', rounding = 'away' }";
    let config = load_text(text, &FormatFlags::default()).expect("fits");
    let int8 = BlockFormat::new(ElementFormat::INT8).rounding(Rounding::Away);
    let format = |k| int8.block_size(k).build().expect("a format");
    assert_eq!(config.head_activations, Some(format(64)));
    assert_eq!(config.operands(), "W4H8.5HA8");
    let json = serde_json::to_string(&config).expect("JSON");
    assert_eq!(
        serde_json::from_str::<QuantConfig>(&json).expect("as written"),
        config
    );

    let changed = load_text(text, &flags("--head-activations fp8_e4m3 --block-size 16"));
    let changed = changed.expect("fits");
    assert_eq!(changed.name, "my_config+head-a-fp8_e4m3+k16");
    let fp8 = BlockFormat::new(ElementFormat::FP8_E4M3).rounding(Rounding::Away);
    let fp8 = fp8.block_size(16).build().expect("a format");
    assert_eq!(changed.head_activations, Some(fp8));
    let changed = load("mxfp4-weights", &flags("--head-activations int8")).expect("fits");
    assert_eq!(changed.name, "mxfp4-weights+head-a-int8");
    assert_eq!(
        changed.describe(),
        "W fp4_e2m1, head input int8; e8m0 k32 floor/even ocp"
    );
    let none = load_text(text, &flags("--head-activations none")).expect("fits");
    assert_eq!(none.head_activations, None);

    let random = flags("--head-activations int8 --rounding stochastic:3").config();
    let random = random.expect("fits").with_seed(4);
    assert!(blocks(&random).all(|f| f.rounding() == Rounding::Stochastic { seed: 7 }));
    assert_eq!(blocks(&random).count(), 1);
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
    assert_eq!(
        config.weights,
        format(ElementFormat::FP4_E2M1).map(Into::into)
    );
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
    assert!(blocks(&config).all(|f| f.scale() == ScaleFormat::UE5M3 && f.block_size() == 16));
}

#[test]
fn flags_replace_their_part_of_every_operand() {
    let changed = load("mx-linear-kv", &flags("--scale ue5m3 --block-size 16")).expect("fits");
    assert_eq!(changed.name, "mx-linear-kv+ue5m3+k16");
    for format in blocks(&changed) {
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
    assert!(blocks(&changed).all(|format| !format.has_tensor_scale()));

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
    assert!(blocks(&changed).all(|format| format.block_size() == 8));
    assert_eq!(changed.name, "my_config+k8");

    // An element flag also replaces the element of overrides, except of those with `none`.
    let text = "weights = 'fp4_e2m1'\n[[override]]\nlayers = 0\nweights = { block_size = 16 }\n\
                [[override]]\nlayers = 1\nweights = 'none'\n\
                [[override]]\nlayers = 2\nweights = 'int8'";
    let changed = load_text(text, &flags("--weights fp8_e4m3")).expect("fits");
    let weights = |config: &QuantConfig, layer| {
        let (weights, _) = config.for_projection(layer, Projection::Q);
        let format = weights?.block()?;
        Some((format.element(), format.block_size()))
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
    assert!(blocks(&moved).all(|f| f.rounding() == Rounding::Stochastic { seed: 7 }));
    assert_eq!(config.clone().with_seed(0), config);
    assert_eq!(named("mxfp8").with_seed(4), named("mxfp8"));
}

/// Several formats of weights are several configurations, and a format as a whole has a name.
#[test]
fn formats_of_weights_have_names() {
    let each = flags("--weights q4_0,Q4_K,mxfp4,nvfp4 --fallback ggml").each();
    let configs = each.iter().map(|flags| flags.config().expect("fits"));
    let configs: Vec<QuantConfig> = configs.collect();
    let names: Vec<&str> = configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names, ["w-q4_0", "w-q4_k+fallback", "w-mxfp4", "w-nvfp4"]);
    let weights: Vec<_> = configs
        .iter()
        .map(|config| config.weights.expect("set"))
        .collect();
    assert_eq!(weights[0], MatrixFormat::Ggml(GgmlFormat::Q4_0));
    assert_eq!(weights[1], MatrixFormat::Ggml(GgmlFormat::Q4K));
    assert_eq!(weights[2], mx(ElementFormat::FP4_E2M1).into());
    assert_eq!(weights[3], BlockFormat::NVFP4.into());

    // Flags of block formats are those of the other operands.
    let changed = load("mx-linear", &flags("--weights q8_0 --scale ue5m3")).expect("fits");
    assert_eq!(changed.weights, Some(MatrixFormat::Ggml(GgmlFormat::Q8_0)));
    let scale = changed.activations.map(|format| format.scale());
    assert_eq!(scale, Some(ScaleFormat::UE5M3));

    let text = "weights = 'q4_k'\nhead = 'q8_0'\nfallback = 'ggml'\n\
                [[override]]\nlayers = 1\nweights = 'nvfp4'";
    let config = load_text(text, &FormatFlags::default()).expect("fits");
    let of = |layer| {
        config
            .for_projection(layer, Projection::Down)
            .0
            .expect("a format")
    };
    assert_eq!(of(0), MatrixFormat::Ggml(GgmlFormat::Q4K));
    assert_eq!(of(1), BlockFormat::NVFP4.into());
    assert_eq!(config.head, Some(MatrixFormat::Ggml(GgmlFormat::Q8_0)));
    assert_eq!(config.operands(), "W4.5H8.5*");
    let json = serde_json::to_string(&config).expect("JSON");
    assert_eq!(
        serde_json::from_str::<QuantConfig>(&json).expect("a configuration"),
        config
    );
}

#[test]
fn options_of_keys_and_values_need_a_format_of_them() {
    let first = flags("--kv-first 2");
    for (name, expected) in [
        ("mx-kv", 2),
        ("mx-linear-kv", 2),
        ("baseline", 0),
        ("mxfp8", 0),
    ] {
        let config = load(name, &first).expect(name);
        assert_eq!(config.kv.first, expected, "{name}");
        assert_eq!(config.name == name, expected == 0, "{}", config.name);
    }
    let alone = flags("--keys int4 --kv-first 1")
        .config()
        .expect("a configuration");
    assert_eq!(alone.name, "k-int4+first-1");
    assert_eq!(
        alone.describe(),
        "K int4; e8m0 k32 floor/even ocp; KV exact at the first position"
    );
    let rotated = flags("--key-rotation row:7");
    for (name, is_rotated) in [("mx-kv", true), ("baseline", false)] {
        let config = load(name, &rotated).expect(name);
        assert_eq!(config.kv.key_rotation.is_some(), is_rotated, "{name}");
    }
    let both = load("mx-kv", &flags("--key-rotation row:7 --kv-first 2")).expect("well-formed");
    assert_eq!(both.name, "mx-kv+k-rotation-row-7+first-2");
    assert_eq!(
        both.describe(),
        "K fp4_e2m1, V fp4_e2m1; e8m0 k32 floor/even ocp; K rotated by row:7; KV exact at the \
         first 2 positions"
    );
    let recent = load("mx-kv", &flags("--key-recent 4")).expect("well-formed");
    assert_eq!(recent.name, "mx-kv+k-recent-4");
    assert!(
        recent
            .describe()
            .ends_with("; K exact at the last 4 positions")
    );
    let other = load("mxfp8", &flags("--key-recent 4")).expect("well-formed");
    assert_eq!(other.kv.key_recent, 0);
    let file = "kv_first = 3\n[[override]]\nlayers = '1'\nvalues = 'fp8_e4m3'";
    let file = load_text(file, &FormatFlags::default()).expect("well-formed");
    assert_eq!(file.kv.first, 3);
    let record = serde_json::to_value(&file).expect("JSON");
    assert_eq!(record["kv"], serde_json::json!({"first": 3}));
    let record_of_both = serde_json::to_value(&both).expect("JSON");
    assert_eq!(
        record_of_both["kv"],
        serde_json::json!({"first": 2, "key_rotation": "row:7"})
    );
    assert_eq!(
        serde_json::from_value::<QuantConfig>(record).expect("the same"),
        file
    );
    // As it was before there were any.
    let plain = serde_json::to_value(named("mx-kv")).expect("JSON");
    assert!(plain.get("kv").is_none(), "{plain}");
    assert_eq!(file.without_cache().kv, named("baseline").kv);
}
