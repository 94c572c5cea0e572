//! Errors of checkpoints, one variant per malformation. A message names the file, the field or
//! tensor, and what was expected.

use std::io;
use std::path::PathBuf;

use mxlab_kernels::format::GgmlFormat;
use safetensors::tensor::SafeTensorError;
use thiserror::Error;

use super::folder::LayoutError;
use super::foreign::ForeignFile;
use super::hub::HubError;
use super::shortened;

/// Why a model directory, one of its files, or a model on the hub cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// An unknown synthetic model.
    #[error(
        "synthetic:{name}: unknown model or seed; expected {known}, with an optional seed below \
         2^32 (`llama-3.2-1b:7`)"
    )]
    Synthetic {
        /// Name and seed as given.
        name: String,
        /// The known models.
        known: String,
    },

    // Files and directories.
    /// A name that looks like a path that does not exist.
    #[error(
        "{}: no such directory or file (a model is a directory, a GGUF file, or a hub name of the \
         form org/name)",
        path.display()
    )]
    NoSuchDirectory {
        /// The path as given.
        path: PathBuf,
    },
    /// A path to something that is not a directory.
    #[error(
        "{}: not a directory; a model is a directory with config.json, tokenizer.json and \
         safetensors weights",
        path.display()
    )]
    NotADirectory {
        /// The path as given.
        path: PathBuf,
    },
    /// A required file of the model directory is absent.
    #[error("{}: no such file; {purpose}", file.display())]
    MissingFile {
        /// Where it should be.
        file: PathBuf,
        /// What the file is for.
        purpose: &'static str,
    },
    /// A directory, pipe or device where a regular file should be.
    #[error("{}: not a regular file", file.display())]
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// A file of length zero.
    #[error("{}: the file is empty", file.display())]
    EmptyFile {
        /// The file.
        file: PathBuf,
    },
    /// A JSON file far beyond any real one.
    #[error("{}: {bytes} bytes; expected at most {limit}", file.display())]
    FileTooLarge {
        /// The file.
        file: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest accepted.
        limit: u64,
    },
    /// The operating system cannot open, read, map or write a file.
    #[error("{}: {reason}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error.
        reason: io::Error,
    },

    // JSON and its fields.
    /// Not JSON at all.
    #[error("{}: not valid JSON: {reason}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Line, column and reason.
        reason: serde_json::Error,
    },
    /// A required field is absent or null.
    #[error("{}: `{field}` is missing; expected {expected}", file.display())]
    MissingField {
        /// The file.
        file: PathBuf,
        /// Dotted path of the field.
        field: String,
        /// The expected value.
        expected: String,
    },
    /// A field with an invalid value.
    #[error("{}: `{field}` is {found}; expected {expected}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Dotted path of the field.
        field: String,
        /// The expected value.
        expected: String,
        /// The value found, shortened.
        found: String,
    },

    // The safetensors container.
    /// Shorter than the 8-byte header length.
    #[error(
        "{}: {bytes} bytes; a safetensors file starts with an 8-byte header length",
        file.display()
    )]
    NoHeader {
        /// The file.
        file: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The header length is beyond any real file's.
    #[error(
        "{}: found a header of {declared} bytes, expected at most {limit}; it is damaged, or no \
         safetensors file",
        file.display()
    )]
    HeaderTooLarge {
        /// The file.
        file: PathBuf,
        /// The length that the file declares.
        declared: u64,
        /// The longest accepted.
        limit: u64,
    },
    /// The header would end behind the end of the file.
    #[error(
        "{}: header length {declared}, but only {available} bytes follow; truncated?",
        file.display()
    )]
    HeaderTruncated {
        /// The file.
        file: PathBuf,
        /// The length that the file declares.
        declared: u64,
        /// Bytes after the length field.
        available: usize,
    },
    /// The header is not UTF-8.
    #[error("{}: the header is not UTF-8: {reason}", file.display())]
    HeaderNotUtf8 {
        /// The file.
        file: PathBuf,
        /// Position and reason.
        reason: std::str::Utf8Error,
    },
    /// The header is not the JSON that safetensors prescribes.
    #[error("{}: malformed header: {reason}", file.display())]
    HeaderJson {
        /// The file.
        file: PathBuf,
        /// Position and reason.
        reason: serde_json::Error,
    },
    /// Offsets that overlap, leave a hole, or run backwards.
    #[error(
        "{}: tensor `{tensor}`: data_offsets [{}, {}] overlap or leave a hole; expected to start \
         at {expected_start}",
        file.display(), offsets.0, offsets.1
    )]
    TensorOffsets {
        /// The file.
        file: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// Its offsets.
        offsets: (usize, usize),
        /// End of the tensor before it.
        expected_start: usize,
    },
    /// Offsets that do not span what shape and dtype need.
    #[error(
        "{}: tensor `{tensor}`: data_offsets [{}, {}] do not span {dtype} {shape:?}",
        file.display(), offsets.0, offsets.1
    )]
    TensorSize {
        /// The file.
        file: PathBuf,
        /// The first such tensor.
        tensor: String,
        /// Its offsets.
        offsets: (usize, usize),
        /// Its dtype.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The `safetensors` crate rejects the header for another reason.
    #[error("{}: malformed header: {reason}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// The crate's reason.
        reason: SafeTensorError,
    },
    /// The end of the tensors is not the end of the file.
    #[error(
        "{}: the header describes {described} bytes of tensors, the file has {present}; truncated \
         or corrupt",
        file.display()
    )]
    DataLength {
        /// The file.
        file: PathBuf,
        /// End of the last tensor.
        described: usize,
        /// Bytes after the header.
        present: usize,
    },

    // The index and its shards.
    /// The index names shards that are absent.
    #[error(
        "{}: {} of {all} shards {} missing from the directory: {}; download {}, or copy {} there",
        index.display(),
        missing.len(),
        if missing.len() == 1 { "is" } else { "are" },
        shortened(missing),
        if missing.len() == 1 { "it" } else { "them" },
        if missing.len() == 1 { "it" } else { "them" },
    )]
    MissingShards {
        /// The index file.
        index: PathBuf,
        /// The shards' file names.
        missing: Vec<String>,
        /// Number of shards.
        all: usize,
    },
    /// The index names a shard outside the model directory.
    #[error(
        "{}: `weight_map.{tensor}` is `{shard}`; a shard is a file inside the model directory",
        index.display()
    )]
    ShardPath {
        /// The index file.
        index: PathBuf,
        /// The tensor that the index places there.
        tensor: String,
        /// The offending path.
        shard: String,
    },
    /// The index places a tensor in a shard that lacks it.
    #[error(
        "{}: `weight_map` places tensor `{tensor}` in `{shard}`, which does not contain it",
        index.display()
    )]
    NotInShard {
        /// The index file.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// Two files, or one header twice, hold a tensor of the same name.
    #[error("tensor `{tensor}` occurs twice: in {} and in {}", first.display(), second.display())]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// The file that had it first.
        first: PathBuf,
        /// The file that has it again.
        second: PathBuf,
    },

    // Tensors against the config.
    /// A tensor of the config is absent.
    #[error(
        "{}: tensor `{tensor}` is missing; expected shape {expected:?}{}",
        file.display(),
        instead.as_ref().map_or_else(String::new, |name| format!("; there is `{name}`"))
    )]
    MissingTensor {
        /// The weight file or the index.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape by the config.
        expected: Vec<usize>,
        /// The name of a tensor that is there.
        instead: Option<String>,
    },
    /// A tensor's shape differs from the config's.
    #[error("{}: tensor `{tensor}` has shape {found:?}; expected {expected:?}", file.display())]
    Shape {
        /// The weight file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The expected shape.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A weight that is not stored as a supported float.
    #[error("{}: tensor `{tensor}` has dtype {dtype}; expected F32, BF16 or F16", file.display())]
    Dtype {
        /// The weight file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The dtype in the file.
        dtype: String,
    },
    /// Codes or scales of a type that they do not have in this layout.
    #[error(
        "{}: tensor `{tensor}` has dtype {dtype}; expected {expected} for codes and scales",
        file.display()
    )]
    PackedDtype {
        /// The weight file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The dtype in the file.
        dtype: String,
        /// The dtypes that it may have.
        expected: String,
    },
    /// A packed tensor whose format is missing from the file or unknown.
    #[error("{}: packed tensor `{tensor}`: {reason}", file.display())]
    PackedFormat {
        /// The weight file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A block with a scale below zero, which no quantiser writes.
    #[error(
        "{}: tensor `{tensor}`: the scale of row {row}, block {block} is {scale:e}; scales must \
         not be negative",
        file.display()
    )]
    NegativeScale {
        /// The weight file.
        file: PathBuf,
        /// The tensor that holds the scales.
        tensor: String,
        /// The row.
        row: usize,
        /// The block in the row.
        block: usize,
        /// The scale.
        scale: f32,
    },
    /// A block whose scale makes its elements infinite or NaN.
    #[error(
        "{}: tensor `{tensor}`: the scale of row {row}, block {block} is {scale:e}; weights must \
         be finite",
        file.display()
    )]
    Scale {
        /// The weight file.
        file: PathBuf,
        /// The tensor that holds the scales.
        tensor: String,
        /// The row.
        row: usize,
        /// The block in the row.
        block: usize,
        /// Factor of its elements.
        scale: f32,
    },
    /// Not a readable GGUF file.
    #[error("{}: {reason}", file.display())]
    Gguf {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A chat template that is no text.
    #[error(
        "`{}` is not UTF-8; expected a Jinja template: remove it, or download it again",
        file.display()
    )]
    ChatTemplate {
        /// The file.
        file: PathBuf,
    },
    /// A factor of a block of ggml's that f16 does not hold.
    #[error(
        "`{tensor}`: row {row}, block {block}: its values need a factor beyond the range of f16, \
         which {format} stores; choose a format with other scales"
    )]
    Factor {
        /// The tensor's name.
        tensor: String,
        /// The format.
        format: GgmlFormat,
        /// The row.
        row: usize,
        /// The block in the row.
        block: usize,
    },
    /// A weight that is NaN or infinite.
    #[error(
        "{}: tensor `{tensor}` is {value} at flat index {index}; weights must be finite",
        file.display()
    )]
    NonFinite {
        /// The weight file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// First such element, counted row-major.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },

    // The tokenizer.
    /// The `tokenizers` crate cannot build a tokenizer from the file.
    #[error("{}: not a usable tokenizer: {reason}", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// The crate's reason.
        reason: String,
    },
    /// A text with a token that has no row in the embedding.
    #[error(
        "{}: the text has token `{token}`, id {id}, but the embedding has {vocab_size} rows \
         (vocab_size of config.json)",
        file.display()
    )]
    TokenBeyondVocabulary {
        /// The file.
        file: PathBuf,
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// Text without tokens, or ids without text.
    #[error("{}: {action} failed: {reason}", file.display())]
    Tokenize {
        /// The tokenizer file.
        file: PathBuf,
        /// `encoding` or `decoding`.
        action: &'static str,
        /// The crate's reason.
        reason: String,
    },

    /// A file of another kind than its name says.
    #[error(transparent)]
    Foreign(#[from] ForeignFile),
    /// A directory in another layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The hub does not provide the model or file.
    #[error(transparent)]
    Hub(#[from] HubError),

    // Writing.
    /// A value that would make the written checkpoint unreadable.
    #[error("{}: refusing to write tensor `{tensor}`: {reason}", file.display())]
    Unwritable {
        /// The destination.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
}
