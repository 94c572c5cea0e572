//! Records: everything that commands measure and keep, as one tagged, versioned type.
//!
//! Commands write records; the report, `mxlab bench --compare`, a resumed study and `mxlab study
//! merge` read them. Each kind of record is one struct that round-trips through JSON, and
//! [`Record`] lists the kinds. A file begins with `kind` and `schema_version`. A record of another
//! version is migrated ([`mod@migrate`]) or refused with an error that names the version.
//!
//! | module | records |
//! |---|---|
//! | [`verify`] | a campaign of verification |
//! | [`mutate`] | planted faults and which of them were caught |
//! | [`mxlab_benches::record`] | timings of kernels |
//! | [`eval`] | tasks under configurations |
//! | [`column`](mod@column), [`result`](mod@result) | values of a metric, and their estimates |
//! | [`generate`] | continuations of prompts |
//! | [`calibrate`] | codes chosen by a text, formats chosen for a budget |
//! | [`load`] | load on an endpoint |
//! | [`soak`] | many clients, and the memory of their server |
//! | [`weight_error`] | errors of quantised weights |
//! | [`study`] | a study: its plan, its cells, and both in one file |
//!
//! Results in lm-evaluation-harness' schema (`results_*.json`) are not records.

pub mod calibrate;
pub mod column;
pub mod error;
pub mod eval;
pub mod generate;
pub mod load;
pub mod migrate;
pub mod mutate;
pub mod result;
pub mod soak;
pub mod study;
pub mod tagged;
pub mod verify;
pub mod weight_error;

use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use mxlab_benches::BenchRecord;
use mxlab_harness::record::{FileError, write_atomic};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use self::calibrate::{AllocateRecord, CalibrateRecord};
pub use self::error::{RecordError, Wrong};
use self::eval::EvalRecord;
use self::generate::GenerateRecord;
use self::load::LoadRecord;
use self::mutate::MutateRecord;
use self::soak::SoakRecord;
use self::study::{Frozen, ScoreRecord, SearchRecord, ServingRecord, SpeedRecord, StudyRecord};
use self::verify::VerifyRecord;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The field `kind` of its files.
    pub name: &'static str,
    /// The field `schema_version`; a change that breaks readers raises it.
    pub version: u32,
    /// The command that writes one.
    pub command: &'static str,
}

/// A struct for a kind of record.
pub trait Recorded: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;
}

macro_rules! records {
    ($(
        $(#[$doc:meta])*
        $variant:ident($type:ty): $name:literal, $version:literal, $command:literal;
    )*) => {
        /// A record of any kind.
        #[derive(Clone, Debug)]
        pub enum Record {
            $($(#[$doc])* $variant(Box<$type>),)*
        }

        /// Every kind of record.
        pub const KINDS: &[Kind] = &[$(<$type as Recorded>::KIND),*];

        $(
            impl Recorded for $type {
                const KIND: Kind = Kind { name: $name, version: $version, command: $command };
            }

            impl From<$type> for Record {
                fn from(record: $type) -> Self {
                    Self::$variant(Box::new(record))
                }
            }
        )*

        impl Record {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => <$type as Recorded>::KIND,)*
                }
            }

            /// Parses a record from a JSON value.
            ///
            /// # Errors
            /// [`Wrong`] if it is not a record, is damaged, or has a version that cannot be
            /// migrated.
            pub fn from_value(value: Value) -> Result<Self, Wrong> {
                match tagged::kind(&value)?.name {
                    $($name => Ok(Self::$variant(Box::new(tagged::from_value(value)?))),)*
                    other => Err(Wrong::unknown(other)),
                }
            }
        }

        impl Serialize for Record {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant(record) => tagged::serialize(&**record, serializer),)*
                }
            }
        }
    };
}

records! {
    /// A campaign of verification.
    Verify(VerifyRecord): "verify", 2, "mxlab verify --output-path FILE";
    /// Planted faults.
    Mutate(MutateRecord): "mutate", 1, "mxlab mutate --output-path FILE";
    /// Timings of kernels.
    Bench(BenchRecord): "bench", 1, "mxlab bench --output-path FILE";
    /// Tasks under configurations.
    Eval(EvalRecord): "eval", 2, "mxlab eval --output-path DIR";
    /// Continuations of prompts.
    Generate(GenerateRecord): "generate", 1, "mxlab generate --output-path FILE";
    /// Codes chosen by a text.
    Calibrate(CalibrateRecord): "calibrate", 1, "mxlab calibrate --output-path FILE";
    /// Formats chosen for a budget.
    Allocate(AllocateRecord): "allocate", 1, "mxlab allocate --output-path FILE";
    /// Load on an endpoint.
    Load(LoadRecord): "load", 1, "mxlab load --output-path FILE";
    /// Many clients, some of which misbehave.
    Soak(SoakRecord): "soak", 1, "mxlab load --soak --output-path FILE";
    /// Plan of a study.
    StudyPlan(Frozen): "study-plan", 2, "mxlab study run";
    /// Accuracy of a cell.
    StudyScore(ScoreRecord): "study-score", 1, "mxlab study run";
    /// Speed of a cell.
    StudySpeed(SpeedRecord): "study-speed", 1, "mxlab study run";
    /// Result of a search.
    StudySearch(SearchRecord): "study-search", 1, "mxlab study run";
    /// Load on a server of a cell.
    StudyServing(ServingRecord): "study-serving", 1, "mxlab study run";
    /// A whole study in one file.
    Study(StudyRecord): "study", 1, "mxlab study pack DIR";
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Record {
    /// Reads a record of any kind.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let parsed = value_in(&bytes_of(path)?).and_then(Self::from_value);
        parsed.map_err(RecordError::of(path))
    }

    /// Parses a record from the bytes of a file.
    ///
    /// # Errors
    /// [`Wrong`] as [`Record::from_value`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
        Self::from_value(value_in(bytes)?)
    }
}

/// Reads a record of kind `T`.
///
/// # Errors
/// [`RecordError`] with the file, if it cannot be read, is not a record, is damaged, is of another
/// kind, or has a version that cannot be migrated.
pub fn read<T: Recorded>(path: &Path) -> Result<T, RecordError> {
    let parsed = value_in(&bytes_of(path)?).and_then(tagged::from_value);
    parsed.map_err(RecordError::of(path))
}

/// Writes a record atomically, compressed if the name ends in `.gz`.
///
/// # Errors
/// If the file cannot be written.
pub fn write<T: Recorded>(path: &Path, record: &T) -> Result<(), FileError> {
    let json = to_json(record);
    if !is_compressed(path) {
        return write_atomic(path, json.as_bytes());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let bytes = encoder.write_all(json.as_bytes());
    let bytes = bytes.and_then(|()| encoder.finish());
    write_atomic(path, &bytes.expect("memory takes all bytes"))
}

/// A record as in its file: one line of JSON.
pub fn to_json<T: Recorded>(record: &T) -> String {
    let json = serde_json::to_string(&tagged::Tagged::new(record));
    json.expect("a record is plain data") + "\n"
}

/// Whether a file name is a record's: `*.json` or `*.json.gz`.
pub fn has_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json") || name.ends_with(".json.gz")
}

/// The path without `.json` or `.json.gz`.
pub fn stem(path: &Path) -> String {
    let name = path.display().to_string();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".json").unwrap_or(name).to_owned()
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|reason| FileError {
        action: "read",
        path: path.to_owned(),
        reason,
    })
}

/// Longest JSON in bytes, far beyond any study.
const MOST_BYTES: u64 = 1 << 28;

/// The JSON of a file, decompressed if it is gzip.
fn value_in(bytes: &[u8]) -> Result<Value, Wrong> {
    let cut_off = |reason: String| Wrong::CutOff { reason };
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return serde_json::from_slice(bytes).map_err(|error| cut_off(error.to_string()));
    }
    let mut json = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes).take(MOST_BYTES + 1);
    let read = decoder.read_to_end(&mut json);
    read.map_err(|error| cut_off(format!("gzip: {error}")))?;
    if json.len() as u64 > MOST_BYTES {
        return Err(cut_off(format!("more than {MOST_BYTES} bytes of JSON")));
    }
    serde_json::from_slice(&json).map_err(|error| cut_off(error.to_string()))
}
