//! Random damage to any file of a valid model causes an error or no difference, never a panic.

use std::fs;

use mxlab_kernels::format::FloatType;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::tempdir;

use crate::checkpoint::tiny::{Files, TinyModel, bpe_tokenizer, use_model, write};

#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Replace(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Digits, quotes and brackets keep JSON valid more often than random bytes do.
    let telling = proptest::sample::select(b"0123456789-\"[]{},:.eE\\\x00\xff".to_vec());
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, mask)| Damage::Flip(at, mask)),
        (any::<Index>(), telling.clone()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<Index>(), prop::collection::vec(telling, 1..6))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        any::<Index>().prop_map(Damage::Truncate),
    ]
}

fn inflict(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Flip(at, mask) => *at.get_mut(bytes) ^= mask,
        Damage::Replace(at, byte) => *at.get_mut(bytes) = *byte,
        Damage::Insert(at, new) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Remove(at, count) => {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + count);
            bytes.drain(at..end);
        }
        Damage::Truncate(at) => bytes.truncate(at.index(bytes.len())),
    }
}

/// Damages the named file, or only its header if `head_only`, and uses the model.
fn survives(files: &Files, file: &str, head_only: bool, damages: &[Damage]) {
    let mut content = files[file].clone();
    let head = if head_only {
        8 + header_length(&content)
    } else {
        content.len()
    };
    let tail = content.split_off(head);
    for damage in damages {
        inflict(damage, &mut content);
    }
    content.extend(tail);
    let dir = tempdir().unwrap();
    write(dir.path(), files);
    fs::write(dir.path().join(file), content).unwrap();
    // Only a panic fails the test: damage may leave a valid model.
    let _ = use_model(dir.path());
}

fn header_length(content: &[u8]) -> usize {
    u64::from_le_bytes(content[..8].try_into().unwrap()) as usize
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_config(damages in prop::collection::vec(damage(), 1..4)) {
        survives(&TinyModel::new(FloatType::Bf16).files(), "config.json", false, &damages);
    }

    #[test]
    fn damaged_tokenizer(damages in prop::collection::vec(damage(), 1..4)) {
        survives(&TinyModel::new(FloatType::Bf16).files(), "tokenizer.json", false, &damages);
    }

    #[test]
    fn damaged_bpe_tokenizer(damages in prop::collection::vec(damage(), 1..4)) {
        let mut model = TinyModel::new(FloatType::Bf16);
        model.tokenizer = bpe_tokenizer();
        survives(&model.files(), "tokenizer.json", false, &damages);
    }

    #[test]
    fn damaged_tokenizer_config(damages in prop::collection::vec(damage(), 1..4)) {
        let files = TinyModel::new(FloatType::Bf16).files();
        survives(&files, "tokenizer_config.json", false, &damages);
    }

    #[test]
    fn damaged_weights(
        damages in prop::collection::vec(damage(), 1..4),
        head_only in any::<bool>(),
    ) {
        survives(&TinyModel::new(FloatType::F16).files(), "model.safetensors", head_only, &damages);
    }

    #[test]
    fn damaged_index(damages in prop::collection::vec(damage(), 1..4)) {
        let files = TinyModel::new(FloatType::F32).sharded_files();
        survives(&files, "model.safetensors.index.json", false, &damages);
    }

    #[test]
    fn damaged_shard(damages in prop::collection::vec(damage(), 1..4), head_only in any::<bool>()) {
        let files = TinyModel::new(FloatType::F32).sharded_files();
        survives(&files, "model-00001-of-00002.safetensors", head_only, &damages);
    }
}
