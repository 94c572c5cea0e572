//! Recognises a file of another kind by its first bytes: what was saved in place of weights, a
//! tokenizer or a task, by a clone without Git LFS, a download without rights, or a new name.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Number of bytes from which a kind is recognised.
pub const HEAD_BYTES: usize = 512;
/// The first line of a Git LFS pointer.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A file of another kind than its name says.
#[derive(Debug, Error)]
#[error("{}: {what}; {remedy}", file.display())]
pub struct ForeignFile {
    /// The file.
    file: PathBuf,
    /// What it is.
    what: String,
    /// What to do.
    remedy: &'static str,
}

/// A kind that is recognised by fixed bytes.
struct Kind {
    magic: &'static [u8],
    /// The extension of files that should be of this kind.
    extension: &'static str,
    what: &'static str,
    remedy: &'static str,
}

const CONVERT: &str = "convert it: load it with PyTorch and save it with safetensors, or with \
    transformers' save_pretrained";
const UNPACK: &str = "unpack it first";
const GGML: &str = "convert it to GGUF with a llama.cpp of its time, or download a GGUF file";
const AGAIN: &str = "download it again";
const RENAME_GGUF: &str = "give it a name that ends in .gguf, and that name to --model";

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind { magic: b"GGUF", extension: "gguf", what: "a GGUF file", remedy: RENAME_GGUF },
    Kind { magic: b"PAR1", extension: "parquet", what: "a Parquet file",
           remedy: "give it a name that ends in .parquet" },
    Kind { magic: b"PK\x03\x04", extension: "", what: "a zip archive, as PyTorch's torch.save \
           writes it", remedy: CONVERT },
    Kind { magic: b"\x80\x02", extension: "", what: "a pickle, as PyTorch's torch.save wrote it",
           remedy: CONVERT },
    Kind { magic: b"\x80\x04", extension: "", what: "a pickle", remedy: CONVERT },
    Kind { magic: b"\x89HDF\r\n\x1a\n", extension: "", what: "an HDF5 file, as TensorFlow writes \
           it", remedy: "convert it with transformers: from_pretrained(..., from_tf=True), \
           then save_pretrained" },
    Kind { magic: b"\x93NUMPY", extension: "", what: "a NumPy array", remedy: CONVERT },
    Kind { magic: b"lmgg", extension: "", what: "an old ggml file, older than GGUF", remedy: GGML },
    Kind { magic: b"fmgg", extension: "", what: "an old ggml file, older than GGUF", remedy: GGML },
    Kind { magic: b"tjgg", extension: "", what: "an old ggml file, older than GGUF", remedy: GGML },
    Kind { magic: b"\x1f\x8b", extension: "", what: "a gzip archive", remedy: UNPACK },
    Kind { magic: b"\x28\xb5\x2f\xfd", extension: "", what: "a zstd archive", remedy: UNPACK },
    Kind { magic: b"\xfd7zXZ", extension: "", what: "an xz archive", remedy: UNPACK },
    Kind { magic: b"BZh", extension: "", what: "a bzip2 archive", remedy: UNPACK },
    Kind { magic: b"7z\xbc\xaf", extension: "", what: "a 7z archive", remedy: UNPACK },
    Kind { magic: b"\x7fELF", extension: "", what: "a program", remedy: AGAIN },
    Kind { magic: b"\xff\xfe", extension: "", what: "text in UTF-16", remedy: "save it as UTF-8" },
    Kind { magic: b"\xfe\xff", extension: "", what: "text in UTF-16", remedy: "save it as UTF-8" },
];

/// Checks that a file that begins with `head` is not of another kind than its name says. A file
/// that is merely broken passes.
///
/// # Errors
/// [`ForeignFile`] with what it is and what to do.
pub fn check(file: &Path, head: &[u8]) -> Result<(), ForeignFile> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    let extension = extension.unwrap_or("").to_ascii_lowercase();
    let Some((what, remedy)) = recognise(head, &extension) else {
        return Ok(());
    };
    let file = file.to_owned();
    Err(ForeignFile { file, what, remedy })
}

fn recognise(head: &[u8], extension: &str) -> Option<(String, &'static str)> {
    let text = String::from_utf8_lossy(head);
    if head.starts_with(LFS) {
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        let size = size.map_or_else(String::new, |size| format!(" of {size} bytes"));
        let what = format!(
            "a Git LFS pointer in place of the file{size}: a clone was made without Git LFS"
        );
        return Some((
            what,
            "run `git lfs install` and `git lfs pull` there, or download the file",
        ));
    }
    let begins = |with: &str| {
        let start = text.trim_start().get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    if ["<!doctype html", "<html", "<head"]
        .iter()
        .any(|with| begins(with))
    {
        let title = text
            .split_once("<title>")
            .and_then(|(_, rest)| rest.split_once("</title>"));
        let title = title.map_or_else(String::new, |(title, _)| format!(" (`{}`)", title.trim()));
        let what = format!("a page of HTML{title}, saved in place of the file");
        return Some((
            what,
            "download it again, from the address that serves the file itself; if access is \
             restricted, sign in and send an access token (HF_TOKEN)",
        ));
    }
    if begins("<?xml") || begins("<Error>") {
        let what = format!("XML in place of the file: {}", first_line(&text));
        return Some((what, AGAIN));
    }
    // A length below 2^32, then JSON. Such a length may look like the first bytes of other kinds.
    let is_safetensors = head.get(4..9) == Some(b"\0\0\0\0{");
    if is_safetensors {
        let what = "a safetensors file".to_owned();
        let remedy = "give it a name that ends in .safetensors";
        return ["gguf", "parquet"]
            .contains(&extension)
            .then_some((what, remedy));
    }
    let kind = KINDS.iter().find(|kind| head.starts_with(kind.magic));
    if let Some(kind) = kind.filter(|kind| kind.extension != extension) {
        return Some((kind.what.to_owned(), kind.remedy));
    }
    let is_binary = ["safetensors", "gguf", "parquet"].contains(&extension);
    if !is_binary || kind.is_some() {
        return None;
    }
    if head.len() >= 8 && head.iter().all(|&byte| byte == 0) {
        let what = "only zeros where the file should begin, as in an unfinished download";
        return Some((what.to_owned(), AGAIN));
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..0x7f);
    if head.len() >= 8 && head.iter().take(64).all(is_text) {
        let what = format!("text in place of the file: {}", first_line(&text));
        return Some((what, AGAIN));
    }
    None
}

/// The first line, shortened.
fn first_line(text: &str) -> String {
    const LONGEST: usize = 80;
    let line = text.trim_start().lines().next().unwrap_or("");
    format!("`{}`", line.chars().take(LONGEST).collect::<String>())
}
