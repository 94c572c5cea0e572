//! A malformed case, and common ways to break a file.

use std::fs;
use std::path::Path;

use crate::checkpoint::tiny::{Files, TinyModel};

/// A change to a valid model.
pub enum Mutation {
    /// Changes the contents before they become files.
    Model(fn(&mut TinyModel)),
    /// Changes the bytes of the files.
    Files(fn(&mut Files)),
    /// Changes the bytes of the files of a model with two shards.
    Shards(fn(&mut Files)),
    /// Changes the files on the disk.
    Disk(fn(&Path)),
}
pub use Mutation::{Disk, Files as Bytes, Model, Shards};

pub struct Case {
    pub name: &'static str,
    pub mutation: Mutation,
    /// The message must contain all of these.
    pub expect: &'static [&'static str],
}

pub const fn case(name: &'static str, mutation: Mutation, expect: &'static [&'static str]) -> Case {
    Case {
        name,
        mutation,
        expect,
    }
}

pub fn file<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    files.get_mut(name).unwrap()
}

pub fn set(files: &mut Files, name: &str, content: &[u8]) {
    files.insert(name.to_owned(), content.to_owned());
}

pub fn remove(files: &mut Files, name: &str) {
    files.remove(name).unwrap();
}

pub fn halve(files: &mut Files, name: &str) {
    let content = file(files, name);
    content.truncate(content.len() / 2);
}

pub fn replace_text(files: &mut Files, name: &str, old: &str, new: &str) {
    let content = file(files, name);
    let text = str::from_utf8(content).unwrap();
    assert!(text.contains(old), "{text}");
    *content = text.replace(old, new).into_bytes();
}

pub fn drop_field(model: &mut TinyModel, field: &str) {
    model.config.as_object_mut().unwrap().remove(field).unwrap();
}

pub fn replace_by_directory(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}
