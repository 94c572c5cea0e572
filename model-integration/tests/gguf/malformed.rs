//! Malformed files: an error names the file and what is wrong; nothing panics, and memory stays
//! within the size of the file.

use std::fs;
use std::path::Path;

use mxlab::checkpoint::{Checkpoint, CheckpointError};

use super::small;
use super::writer::{File, Meta, Tensor};

/// Opens a file and reads all of it.
fn read(path: &Path) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    for parameter in checkpoint.parameters().stored() {
        let view = checkpoint.tensor(parameter)?;
        view.read_f32(0..view.len(), &mut vec![0.0; view.len()]);
    }
    let tokenizer = checkpoint.tokenizer()?;
    let ids = tokenizer.encode("the 12 <s> caf\u{e9}", true)?;
    tokenizer.decode(&ids, false).map(drop)
}

fn refusal(bytes: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).expect("writable");
    read(&path).err().map(|error| error.to_string())
}

type Change = fn(&mut File);

const CASES: [(Change, &str); 14] = [
    (
        |f| f.tensors[0].1 = 5,
        "`token_embd.weight` has the unknown ggml type 5; expected one of F32",
    ),
    (
        |f| f.tensors[0] = iq3_s(),
        "`token_embd.weight` has ggml type IQ3_S; expected one of F32",
    ),
    (
        |f| f.tensors[0].2 = vec![64, 320],
        "`token_embd.weight` has shape [64, 320]; expected",
    ),
    (
        |f| f.tensors[1].0 = "token_embd.weight".to_owned(),
        "`token_embd.weight` occurs twice",
    ),
    (
        |f| drop(f.tensors.remove(5)),
        "`blk.0.attn_k.weight` is missing; expected shape [64, 64]",
    ),
    (
        |f| f.tensors[1].1 = 8,
        "`output_norm.weight` with sizes [64] has ggml type Q8_0; expected",
    ),
    (
        |f| f.metadata.push(f.metadata[0].clone()),
        "`general.architecture` occur twice",
    ),
    (
        |f| f.remove("llama.block_count"),
        "`llama.block_count` is missing; expected a number",
    ),
    (
        |f| f.set("llama.block_count", Meta::Text("1".into())),
        "`num_hidden_layers` is \"1\"",
    ),
    (
        |f| f.set("general.alignment", Meta::U32(33)),
        "`general.alignment` is 33; expected a power",
    ),
    (
        |f| f.set("tokenizer.ggml.model", Meta::Text("bert".into())),
        "is \"bert\"; expected \"gpt2\"",
    ),
    (
        |f| f.remove("tokenizer.ggml.merges"),
        "`tokenizer.ggml.merges` is missing; expected pairs",
    ),
    (
        |f| {
            f.set(
                "tokenizer.ggml.tokens",
                Meta::Texts(vec!["a".into(), "a".into()]),
            )
        },
        "an array of 261; expected an array of 2",
    ),
    (
        |f| {
            f.set(
                "tokenizer.ggml.tokens",
                Meta::Texts(vec!["a".into(), "a".into()]),
            );
            f.remove("tokenizer.ggml.token_type");
        },
        "`tokenizer.ggml.tokens`: ids 0 and 1 are both `a`",
    ),
];

fn iq3_s() -> Tensor {
    Tensor(
        "token_embd.weight".to_owned(),
        21,
        vec![320, 256],
        vec![0; 320 * 110],
    )
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(refusal(&small().bytes()), None);
    for (change, expected) in CASES {
        let mut file = small();
        change(&mut file);
        let message = refusal(&file.bytes()).expect(expected);
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(message.contains("model.gguf"), "{message}");
    }
}

/// Lengths and numbers that no file has, where the name of an entry is found.
#[test]
fn lengths_beyond_the_file_are_refused() {
    let whole = small().bytes();
    let after = |text: &str| {
        let mut windows = whole.windows(text.len());
        let at = windows.position(|window| window == text.as_bytes());
        at.expect(text) + text.len()
    };
    for (at, expected) in [
        (8, "tensor"),
        (16, ""),
        (24, "the file ends within a key of metadata"),
        (
            after("general.architecture") + 4,
            "the file ends within general.architecture",
        ),
        (
            after("tokenizer.ggml.tokens") + 8,
            "the file ends within tokenizer.ggml.tokens",
        ),
        (
            after("tokenizer.ggml.token_type") + 8,
            "within tokenizer.ggml.token_type",
        ),
        (
            after("output_norm.weight") + 4,
            "tensor `output_norm.weight` is too large",
        ),
        (
            after("output_norm.weight") + 16,
            "offset 18446744073709551615; expected a multiple of 32",
        ),
    ] {
        let mut bytes = whole.clone();
        bytes[at..at + 8].fill(0xFF);
        let message = refusal(&bytes).expect(expected);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // The norm at the place of the embedding.
    let mut bytes = whole.clone();
    let at = after("output_norm.weight") + 4 + 8 + 4;
    bytes[at..at + 8].fill(0);
    let message = refusal(&bytes).expect("it overlaps");
    assert!(message.contains("overlaps tensor `"), "{message}");
}

/// 200 files: cut, bits flipped, bytes set, words made huge, pieces doubled and dropped.
#[test]
fn mutated_files_are_read_or_refused() {
    let mut state = 1u64;
    let mut below = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % limit
    };
    let whole = small().bytes();
    let head = whole
        .windows(19)
        .rposition(|window| window == b"blk.0.ffn_down.weig".as_slice());
    let head = head.expect("the last tensor") + 60;
    let mut refused = 0;
    for number in 0..200 {
        let mut bytes = whole.clone();
        let at = below(head);
        match number % 6 {
            0 => bytes.truncate(at),
            1 => (0..8).for_each(|_| bytes[below(head)] ^= 1 << (number % 8)),
            2 => bytes[at] = 0xFF,
            3 => bytes[at..at + 8].copy_from_slice(&(u64::MAX >> below(64)).to_le_bytes()),
            4 => drop(bytes.drain(at..at + 1 + below(40))),
            _ => {
                let piece = bytes[at..at + 1 + below(40)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
        if let Some(message) = refusal(&bytes) {
            assert!(message.contains("model.gguf"), "{number}: {message}");
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused}");
}
