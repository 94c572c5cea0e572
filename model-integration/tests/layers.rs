//! Modules depend only on lower layers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of the library, from the bottom up. A module may use the layers below its own.
const LAYERS: &[&[&str]] = &[
    &[
        "chat",
        "columns",
        "corpus",
        "did_you_mean",
        "disk",
        "excerpt",
        "file_name",
        "memory",
    ],
    &["config"],
    &["description"],
    &["checkpoint"],
    &["embedded", "engine"],
    &["model"],
    &["quantization_error", "task", "train"],
    &["record"],
    &["eval", "generate", "load"],
    &["calibrate"],
    &["serve", "study"],
    &["report"],
    &["cli"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a file names with `crate::`.
fn uses(text: &str) -> BTreeSet<&str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let paths = code.flat_map(|line| line.split("crate::").skip(1));
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    paths
        .map(|path| path.split(|c| !is_letter(c)).next().unwrap_or_default())
        .collect()
}

/// The violations in a file of a module.
fn faults(file: &str, module: &str, text: &str) -> Vec<String> {
    let Some(own) = layer(module) else {
        return vec![format!("{file}: module `{module}` is in no layer")];
    };
    let others = uses(text).into_iter().filter(|&other| other != module);
    let fault = |other: &str| match layer(other) {
        Some(lower) if lower < own => None,
        Some(_) => Some(format!(
            "{file}: `{module}` uses `{other}`, which is not below it"
        )),
        None => Some(format!("{file}: `crate::{other}` is in no layer")),
    };
    others.filter_map(fault).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn modules_use_lower_layers_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    files(&root, &mut sources);
    let mut found = Vec::new();
    let mut modules = BTreeSet::new();
    for path in sources {
        let file = path
            .strip_prefix(&root)
            .expect("below it")
            .with_extension("");
        let file = file.to_string_lossy().into_owned();
        let module = file.split('/').next().unwrap_or_default().to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let text = fs::read_to_string(&path).expect("readable");
        found.extend(faults(&file, &module, &text));
        modules.insert(module);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    let listed: BTreeSet<String> = LAYERS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(
        modules, listed,
        "LAYERS lists each module once, and no other"
    );
}

#[test]
fn a_circle_is_found() {
    let upward = "use crate::eval::Evaluation;\n// use crate::cli\nlet x = crate::config::load();";
    let found = faults("engine/mod", "engine", upward);
    assert_eq!(
        found,
        ["engine/mod: `engine` uses `eval`, which is not below it"]
    );
    let sibling = faults("eval/mod", "eval", "use crate::generate::Settings;");
    assert_eq!(sibling.len(), 1, "{sibling:?}");
    assert_eq!(faults("odd/mod", "odd", "").len(), 1);
}
