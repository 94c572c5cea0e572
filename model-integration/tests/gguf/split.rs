//! Models in several files.

use std::fs;
use std::path::{Path, PathBuf};

use mxlab::checkpoint::Checkpoint;
use mxlab::description::parameters::Role;

use super::small;
use super::writer::{File, Meta};

/// Writes the small model in three parts, the first without tensors.
fn write(folder: &Path, change: impl Fn(usize, &mut File)) -> [PathBuf; 3] {
    let whole = small();
    let half = whole.tensors.len() / 2;
    let tensors = [
        &whole.tensors[..0],
        &whole.tensors[..half],
        &whole.tensors[half..],
    ];
    std::array::from_fn(|index| {
        let mut part = File::default();
        if index == 0 {
            part = whole.clone();
        }
        part.tensors = tensors[index].to_vec();
        part.set("split.no", Meta::U16(index as u16));
        part.set("split.count", Meta::U16(3));
        part.set("split.tensors.count", Meta::U32(whole.tensors.len() as u32));
        change(index, &mut part);
        let path = folder.join(format!("tiny-{:05}-of-00003.gguf", index + 1));
        fs::write(&path, part.bytes()).expect("writable");
        path
    })
}

#[test]
fn every_part_opens_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let parts = write(folder.path(), |_, _| {});
    for path in parts.iter().map(PathBuf::as_path).chain([folder.path()]) {
        let checkpoint = Checkpoint::open(path).expect("a model");
        assert!(
            checkpoint
                .notes()
                .iter()
                .all(|note| !note.contains("not used"))
        );
        let norm = checkpoint.parameters().weight(None, Role::FinalNorm);
        let view = checkpoint.tensor(norm).expect("a norm");
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        assert_eq!(values, [1.0; 64]);
        let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
        assert_eq!(tokenizer.encode("he", false).expect("ids"), [256]);
    }
}

#[test]
fn a_part_that_is_missing_or_wrong_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let refusal = |path: &Path| Checkpoint::open(path).expect_err("it is wrong").to_string();
    let check = |message: String, parts: [&str; 2]| {
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    let [first, second, _] = write(folder.path(), |_, _| {});
    let renamed = folder.path().join("mine.gguf");
    fs::rename(&second, &renamed).expect("writable");
    let expected = ["tiny-00002-of-00003.gguf", "part 2 of 3 is missing"];
    check(refusal(&first), expected);
    check(
        refusal(&renamed),
        ["mine.gguf", "must end in `-00002-of-00003.gguf`"],
    );
    let [first, ..] = write(folder.path(), |index, part| {
        if index == 2 {
            part.set("split.no", Meta::U16(1));
        }
    });
    check(
        refusal(&first),
        ["tiny-00003-of-00003.gguf", "`split.no` is 1; expected 2"],
    );
    let [first, ..] = write(folder.path(), |index, part| {
        if index == 1 {
            part.tensors.pop();
        }
    });
    check(
        refusal(&first),
        ["`split.tensors.count` is 11", "have 10 tensors"],
    );
}
