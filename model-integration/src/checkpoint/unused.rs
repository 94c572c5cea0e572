//! Tensors of the files that no parameter of the model is: counted and named, because a config that
//! does not fit the weights shows first in them.

use std::collections::BTreeMap;

use super::shortened;
use super::weights::Weights;
use crate::description::parameters::{Role, outer_name};

/// Endings of tensors that follow from the config: rotary frequencies, and the shapes that
/// compressed-tensors repeats.
const DERIVED: [&str; 3] = ["rotary_emb.inv_freq", "rope_freqs.weight", ".weight_shape"];

/// What to say of the tensors that were not found by the name of a parameter.
pub(super) fn notes(weights: &Weights) -> Vec<String> {
    let [head, embedding] =
        [Role::Head, Role::Embedding].map(|role| format!("{}.weight", outer_name(role)));
    let is_derived = |name: &str| DERIVED.iter().any(|ending| name.ends_with(ending));
    let names: Vec<&str> = weights
        .never_found()
        .filter(|name| !is_derived(name))
        .collect();
    let mut notes = Vec::new();
    let (heads, others): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| *name == head);
    if !heads.is_empty() && !weights.are_equal(&head, &embedding) {
        notes.push(format!(
            "`{head}` is not used: config.json says that it is `{embedding}` \
             (tie_word_embeddings), but they differ"
        ));
    }
    if !others.is_empty() {
        let count = others.len();
        let are = if count == 1 {
            "tensor of the files is"
        } else {
            "tensors of the files are"
        };
        let source = if weights.is_gguf() {
            "the metadata"
        } else {
            "config.json"
        };
        notes.push(format!(
            "{count} {are} not used, because {source} does not speak of them: {}",
            shortened(&by_layer(&others))
        ));
    }
    notes
}

/// What to say of biases that config.json speaks of and the files do not have.
pub(super) fn absent_biases(names: &[String]) -> String {
    let count = names.len();
    let are = if count == 1 {
        "bias of config.json is"
    } else {
        "biases of config.json are"
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!(
        "{count} {are} not in the files, and zero: {}",
        shortened(&by_layer(&names))
    )
}

/// Names that differ by the number of their layer only, as one, with their number.
fn by_layer(names: &[&str]) -> Vec<String> {
    let mut order = Vec::new();
    let mut counts: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for name in names {
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = name
            .split('.')
            .map(|part| if is_number(part) { "*" } else { part });
        let pattern = parts.collect::<Vec<_>>().join(".");
        let (count, _) = counts.entry(pattern.clone()).or_insert((0, name));
        *count += 1;
        if *count == 1 {
            order.push(pattern);
        }
    }
    let word = |pattern: &String| match counts[pattern] {
        (1, name) => name.to_owned(),
        (count, _) => format!("{pattern} ({count})"),
    };
    order.iter().map(word).collect()
}
