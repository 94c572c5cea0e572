//! Malformed model directories. Each is a valid model with one fault, and must fail with a message
//! that names the file and the fault. A new case is an entry in the table of its file.

mod architecture;
mod config;
mod foreign;
mod mutation;
mod sharded;
mod tokenizer;
mod weights;

use not_run::not_run;
use std::fs;

use mxlab_kernels::format::FloatType;
use tempfile::tempdir;

use crate::checkpoint::tiny::{TinyModel, use_model, write};
use mutation::{Bytes, Case, Disk, Model, Mutation, Shards, case};

const DIRECTORY: &[Case] = &[
    case(
        "directory absent",
        Disk(|d| fs::remove_dir_all(d).unwrap()),
        &["no such directory"],
    ),
    case(
        "directory is a file",
        Disk(|d| {
            fs::remove_dir_all(d).unwrap();
            fs::write(d, b"x").unwrap()
        }),
        &["not a directory"],
    ),
    case(
        "directory empty",
        Bytes(|f| f.clear()),
        &["config.json: no such file"],
    ),
];

#[test]
fn every_malformed_model_is_refused_with_its_message() {
    let cases = || {
        [
            architecture::CASES,
            config::CASES,
            weights::CASES,
            sharded::CASES,
            tokenizer::CASES,
            foreign::CASES,
            DIRECTORY,
        ]
        .into_iter()
        .flatten()
    };
    let mut wrong = Vec::new();
    for Case {
        name,
        mutation,
        expect,
    } in cases()
    {
        let message = refusal(mutation);
        if !expect.iter().all(|part| message.contains(part)) {
            wrong.push(format!("{name}: expected {expect:?}, got: {message}"));
        }
    }
    println!("{} malformed models", cases().count());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The error message for a mutated model.
fn refusal(mutation: &Mutation) -> String {
    let parent = tempdir().unwrap();
    let dir = parent.path().join("model");
    fs::create_dir(&dir).unwrap();
    let mut model = TinyModel::new(FloatType::F32);
    if let Model(mutate) = mutation {
        mutate(&mut model);
    }
    let mut files = match mutation {
        Shards(_) => model.sharded_files(),
        _ => model.files(),
    };
    if let Bytes(mutate) | Shards(mutate) = mutation {
        mutate(&mut files);
    }
    write(&dir, &files);
    if let Disk(mutate) = mutation {
        mutate(&dir);
    }
    match use_model(&dir) {
        Ok(()) => "(no error)".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Without permission to read a file, the message says so. Root may read everything.
#[test]
#[cfg(unix)]
fn a_forbidden_file_is_named() {
    use std::os::unix::fs::PermissionsExt;
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let dir = tempdir().unwrap();
        write(dir.path(), &TinyModel::new(FloatType::F32).files());
        let file = dir.path().join(name);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::File::open(&file).is_ok() {
            not_run(
                "a_forbidden_file_is_named",
                "a user who may not read every file",
            );
            return;
        }
        let message = use_model(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains(name) && message.contains("denied"),
            "{message}"
        );
    }
}
