//! Models by name, from a local hub.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mxlab::checkpoint::hub::HubOptions;
use mxlab_kernels::format::FloatType;
use serde_json::json;
use tempfile::tempdir;

use crate::checkpoint::local_hub::{Asked, Fault, Hub};
use crate::checkpoint::tiny::{Files, TinyModel, json_bytes, use_model};

fn refusal(options: &HubOptions, name: &str) -> String {
    options.resolve(name).unwrap_err().to_string()
}

#[test]
fn a_model_is_downloaded_once_and_then_needs_no_network() {
    let model = TinyModel::new(FloatType::Bf16);
    for (files, downloads) in [(model.files(), 4), (model.sharded_files(), 6)] {
        let cache = tempdir().unwrap();
        let hub = Hub::start(files.clone(), Fault::None);
        let options = hub.options(&cache.path().join("hub"));
        let dir = options.resolve("org/tiny").unwrap();
        use_model(&dir).unwrap();
        for (name, content) in &files {
            assert_eq!(&fs::read(dir.join(name)).unwrap(), content, "{name}");
        }
        let full = |(url, _): &Asked| files.keys().any(|f| url.ends_with(f));
        // The crate requests each file twice; the length check requests it once.
        assert_eq!(
            hub.requests()
                .iter()
                .filter(|request| full(request))
                .count()
                / 3,
            downloads
        );

        let before = hub.requests().len();
        assert_eq!(options.resolve("org/tiny").unwrap(), dir);
        assert_eq!(
            hub.requests().len(),
            before,
            "the second time, nothing is asked"
        );
        drop(hub);
        assert_eq!(options.resolve("org/tiny").unwrap(), dir);
        let offline = HubOptions {
            offline: true,
            ..options
        };
        assert_eq!(offline.resolve("org/tiny").unwrap(), dir);
    }
}

#[test]
fn optional_files_may_be_absent() {
    let mut files = TinyModel::new(FloatType::Bf16).files();
    files.remove("tokenizer_config.json");
    let cache = tempdir().unwrap();
    let hub = Hub::start(files, Fault::None);
    let options = hub.options(cache.path());
    use_model(&options.resolve("org/tiny@v1.0").unwrap()).unwrap();
    let before = hub.requests().len();
    options.resolve("org/tiny@v1.0").unwrap();
    assert_eq!(hub.requests().len(), before, "not asked for again either");
}

#[test]
fn the_token_is_sent_and_a_refusal_names_it() {
    let cache = tempdir().unwrap();
    let hub = Hub::start(TinyModel::new(FloatType::Bf16).files(), Fault::None);
    let options = HubOptions {
        token: Some("hf_secret".to_owned()),
        ..hub.options(cache.path())
    };
    options.resolve("org/tiny").unwrap();
    assert!(!hub.requests().is_empty());
    for (url, token) in hub.requests() {
        assert_eq!(token.as_deref(), Some("Bearer hf_secret"), "{url}");
    }

    for status in [401, 403] {
        let hub = Hub::start(Files::new(), Fault::Status(status));
        let cache = tempdir().unwrap();
        let anonymous = hub.options(cache.path());
        let message = refusal(&anonymous, "org/tiny");
        for part in ["org/tiny", &status.to_string(), "set HF_TOKEN"] {
            assert!(message.contains(part), "{message}");
        }
        let known = HubOptions {
            token: Some("hf_secret".to_owned()),
            ..anonymous
        };
        let message = refusal(&known, "org/tiny");
        assert!(
            message.contains("(HF_TOKEN) does not grant access"),
            "{message}"
        );
        assert!(!message.contains("hf_secret"), "{message}");
    }
}

#[test]
fn failures_name_repository_and_file() {
    let files = || TinyModel::new(FloatType::Bf16).files();
    let without = |name: &str| {
        let mut files = files();
        files.remove(name);
        files
    };
    let mut escaping = without("model.safetensors");
    let index = json!({"weight_map": {"model.norm.weight": "../../../x.safetensors"}});
    escaping.insert(
        "model.safetensors.index.json".to_owned(),
        json_bytes(&index),
    );
    let mut missing_shard = TinyModel::new(FloatType::Bf16).sharded_files();
    missing_shard.remove("model-00002-of-00002.safetensors");

    for (files, fault, name, expect) in [
        (
            files(),
            Fault::None,
            "org/other",
            ["org/other", "`config.json`", "404"],
        ),
        (
            files(),
            Fault::None,
            "org/tiny@v2.0",
            ["org/tiny@v2.0", "`config.json`", "revision"],
        ),
        (
            without("config.json"),
            Fault::None,
            "org/tiny",
            ["org/tiny", "`config.json`", "404"],
        ),
        (
            without("tokenizer.json"),
            Fault::None,
            "org/tiny",
            ["org/tiny", "`tokenizer.json`", "404"],
        ),
        (
            without("model.safetensors"),
            Fault::None,
            "org/tiny",
            ["org/tiny", "neither model.safetensors nor", "index.json"],
        ),
        (
            missing_shard,
            Fault::None,
            "org/tiny",
            ["org/tiny", "`model-00002-of-00002.safetensors`", "404"],
        ),
        (
            escaping,
            Fault::None,
            "org/tiny",
            [
                "index.json",
                "../../../x.safetensors",
                "inside the model directory",
            ],
        ),
        (
            files(),
            Fault::Status(500),
            "org/tiny",
            ["org/tiny", "`config.json`", "500"],
        ),
        (
            files(),
            Fault::Status(304),
            "org/tiny",
            ["org/tiny", "`config.json`", "etag"],
        ),
        (
            files(),
            Fault::Cut,
            "org/tiny",
            ["org/tiny", "`model.safetensors`", "failed"],
        ),
        (
            files(),
            Fault::Short,
            "org/tiny",
            ["org/tiny", "`model.safetensors` has", "announced"],
        ),
        (
            files(),
            Fault::Moving,
            "org/tiny",
            ["org/tiny", "revision changed", "try again"],
        ),
    ] {
        let cache = tempdir().unwrap();
        let hub = Hub::start(files, fault);
        let options = hub.options(cache.path());
        let message = refusal(&options, name);
        assert!(
            expect.iter().all(|part| message.contains(part)),
            "{expect:?}: {message}"
        );
        // A failed download must not pass for a model afterwards.
        drop(hub);
        let offline = HubOptions {
            offline: true,
            ..options
        };
        let message = refusal(&offline, name);
        let is_index = message.contains("inside the model directory");
        assert!(is_index || message.contains("HF_HUB_OFFLINE"), "{message}");
    }
}

#[test]
fn a_broken_download_is_resumed_or_repeated() {
    let files = TinyModel::new(FloatType::Bf16).files();
    for fault in [Fault::Cut, Fault::Short] {
        let cache = tempdir().unwrap();
        let broken = Hub::start(files.clone(), fault);
        broken
            .options(cache.path())
            .resolve("org/tiny")
            .unwrap_err();
        drop(broken);
        let hub = Hub::start(files.clone(), Fault::None);
        let dir = hub.options(cache.path()).resolve("org/tiny").unwrap();
        let weights = fs::read(dir.join("model.safetensors")).unwrap();
        assert_eq!(weights, files["model.safetensors"]);
    }
}

#[test]
fn offline_and_not_cached_names_the_file_and_the_cache() {
    let cache = tempdir().unwrap();
    let hub = Hub::start(TinyModel::new(FloatType::Bf16).files(), Fault::None);
    let options = HubOptions {
        offline: true,
        ..hub.options(cache.path())
    };
    let message = refusal(&options, "org/tiny");
    let place = cache.path().display().to_string();
    for part in ["org/tiny", "`config.json`", "HF_HUB_OFFLINE", &place] {
        assert!(message.contains(part), "{message}");
    }
    assert!(hub.requests().is_empty());
    let unreachable = HubOptions {
        endpoint: "http://127.0.0.1:1".to_owned(),
        ..hub.options(cache.path())
    };
    let message = refusal(&unreachable, "org/tiny");
    assert!(message.contains("http://127.0.0.1:1 failed"), "{message}");
}

#[test]
fn paths_and_names_are_told_apart() {
    let cache = tempdir().unwrap();
    let hub = Hub::start(Files::new(), Fault::None);
    let options = hub.options(cache.path());
    let dir = tempdir().unwrap();
    let local = dir.path().to_str().unwrap();
    assert_eq!(options.resolve(local).unwrap(), dir.path());

    let absent = format!("{local}/absent");
    for path in [
        absent.as_str(),
        "./org/tiny",
        "../tiny",
        "tiny",
        "a/b/c",
        "models/tiny.gguf",
        "org/",
        "~/tiny",
        "or g/tiny",
        "",
    ] {
        assert!(
            refusal(&options, path).contains("no such directory"),
            "{path}"
        );
    }
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(refusal(&options, file.to_str().unwrap()).contains("not a directory"));
    assert!(refusal(&options, "org/tiny@..").contains("not a hub name"));
    assert!(hub.requests().is_empty());
    let homeless = HubOptions {
        cache: None,
        ..options
    };
    assert!(refusal(&homeless, "org/tiny").contains("HF_HOME"));
}

#[test]
fn dataset_files_come_from_the_same_hub() {
    let cache = tempdir().unwrap();
    let hub = Hub::start(Files::new(), Fault::None);
    let options = hub.options(cache.path());
    let file = options.dataset_file("org/task", "data/test.jsonl").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"{\"text\": \"the cat\"}\n");
    let offline = HubOptions {
        offline: true,
        ..options.clone()
    };
    assert_eq!(
        offline.dataset_file("org/task", "data/test.jsonl").unwrap(),
        file
    );
    for (options, path, expect) in [
        (&options, "data/train.jsonl", "404"),
        (&offline, "data/train.jsonl", "HF_HUB_OFFLINE"),
        (&options, "../test.jsonl", "not a file of a repository"),
        (&options, "a?b", "not a file of a repository"),
    ] {
        let message = options
            .dataset_file("org/task", path)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(expect) && message.contains(path),
            "{message}"
        );
    }
}

#[test]
fn options_follow_the_environment() {
    let home = tempdir().unwrap();
    let root = home.path().to_str().unwrap();
    let options = |variables: &[(&str, &str)]| {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        HubOptions::from_variables(|name| variables.get(name).map(|value| (*value).to_owned()))
    };
    let plain = options(&[("HF_HOME", root)]);
    assert_eq!(plain.endpoint, "https://huggingface.co");
    assert_eq!(
        plain.cache.as_deref(),
        Some(home.path().join("hub").as_path())
    );
    assert_eq!((plain.token, plain.offline), (None, false));

    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    assert_eq!(
        options(&[("HF_HOME", root)]).token.as_deref(),
        Some("hf_file")
    );
    let all = options(&[
        ("HF_HOME", root),
        ("HF_TOKEN", "hf_variable"),
        ("HF_ENDPOINT", "http://localhost:1"),
        ("HF_HUB_CACHE", "/elsewhere"),
        ("HF_HUB_OFFLINE", "1"),
    ]);
    assert_eq!(all.token.as_deref(), Some("hf_variable"));
    assert_eq!(all.endpoint, "http://localhost:1");
    assert_eq!(all.cache.as_deref(), Some(Path::new("/elsewhere")));
    assert!(all.offline && options(&[("HF_HUB_OFFLINE", "TRUE")]).offline);
    assert!(!options(&[("HF_HUB_OFFLINE", "0")]).offline);
    assert!(options(&[("HF_TOKEN", "")]).token.as_deref() != Some(""));
}
