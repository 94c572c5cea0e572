//! Broken and hostile indices and shards.

use mxlab_kernels::format::FloatType;
use serde_json::{Value, json};

use super::mutation::{Case, Shards, case, halve, remove, set};
use crate::checkpoint::tiny::{Files, TinyModel, json_bytes};

const INDEX: &str = "model.safetensors.index.json";
const SHARD_1: &str = "model-00001-of-00002.safetensors";
const SHARD_2: &str = "model-00002-of-00002.safetensors";

pub const CASES: &[Case] = &[
    case(
        "shard absent",
        Shards(|f| remove(f, SHARD_2)),
        &[
            INDEX,
            "1 of 2 shards is missing from the directory: `model-00002-of-00002.safetensors`",
        ],
    ),
    case(
        "shard empty",
        Shards(|f| set(f, SHARD_2, b"")),
        &[SHARD_2, "the file is empty"],
    ),
    case(
        "shard cut",
        Shards(|f| halve(f, SHARD_1)),
        &[SHARD_1, "truncated"],
    ),
    case(
        "all shards absent",
        Shards(|f| {
            remove(f, SHARD_1);
            remove(f, SHARD_2)
        }),
        &["2 of 2 shards are missing", SHARD_1, SHARD_2],
    ),
    case(
        "no index and half of the shards",
        Shards(|f| {
            remove(f, INDEX);
            remove(f, SHARD_1)
        }),
        &["1 of 2 shards, and no model.safetensors.index.json; missing: `model-00001-of-00002"],
    ),
    case(
        "shards equal",
        Shards(|f| {
            let a = f[SHARD_1].clone();
            set(f, SHARD_2, &a)
        }),
        &["occurs twice: in ", SHARD_1, SHARD_2],
    ),
    case(
        "index empty",
        Shards(|f| set(f, INDEX, b"")),
        &[INDEX, "the file is empty"],
    ),
    case(
        "index cut",
        Shards(|f| halve(f, INDEX)),
        &[INDEX, "not valid JSON"],
    ),
    case(
        "index without a map",
        Shards(|f| set(f, INDEX, b"{\"metadata\": {}}")),
        &[INDEX, "`weight_map` is missing"],
    ),
    case(
        "index with a list",
        Shards(|f| set(f, INDEX, b"{\"weight_map\": []}")),
        &[INDEX, "`weight_map` is []; expected an object"],
    ),
    case(
        "index with an empty map",
        Shards(|f| set(f, INDEX, b"{\"weight_map\": {}}")),
        &[INDEX, "at least one tensor"],
    ),
    case(
        "shard a number",
        Shards(|f| index(f, json!(1))),
        &[INDEX, "`weight_map`", "expected an object of tensor name"],
    ),
    case(
        "shard above the directory",
        Shards(|f| index(f, json!("../other/model.safetensors"))),
        &[
            INDEX,
            "`weight_map.model.norm.weight` is `../other/model.safetensors`; a shard is a file \
             inside",
        ],
    ),
    case(
        "shard above after a step down",
        Shards(|f| index(f, json!("a/../../x.safetensors"))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "shard at an absolute path",
        Shards(|f| index(f, json!("/etc/passwd"))),
        &[INDEX, "`/etc/passwd`; a shard is a file inside"],
    ),
    case(
        "shard without a name",
        Shards(|f| index(f, json!(""))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "shard that is the directory",
        Shards(|f| index(f, json!("."))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "shard with a zero byte",
        Shards(|f| index(f, json!("a\0b"))),
        &[INDEX, "a shard is a file inside"],
    ),
    case(
        "a parameter the shards lack",
        Shards(|f| {
            let mut model = TinyModel::new(FloatType::F32);
            model.remove_tensor("model.norm.weight");
            set(f, SHARD_2, &model.sharded_files()[SHARD_2])
        }),
        &[
            INDEX,
            "places tensor `model.norm.weight` in `model-00002-of-00002.safetensors`, which does \
             not contain it",
        ],
    ),
];

/// Places `model.norm.weight` in another shard.
fn index(files: &mut Files, shard: Value) {
    let index = json!({"weight_map": {"model.norm.weight": shard}});
    set(files, INDEX, &json_bytes(&index));
}
