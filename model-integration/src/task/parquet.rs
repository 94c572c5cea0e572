//! Converts rows of Parquet files, the format of data sets on the hub, to JSON lines.

use std::panic::catch_unwind;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::TaskError;

/// One line for each row, an object of its columns.
///
/// # Errors
/// [`TaskError`] with the file, if it is not a valid Parquet file or has a codec that is not read.
pub fn lines(source: &str, file: Bytes) -> Result<String, TaskError> {
    // The reader panics on rows whose levels and values disagree.
    let lines = catch_unwind(|| rows(file)).unwrap_or_else(|_| {
        let reason = "its rows do not fit together".to_owned();
        Err(Fault::Broken(reason))
    });
    let file = || source.to_owned();
    lines.map_err(|fault| match fault {
        Fault::Broken(reason) => TaskError::Parquet {
            file: file(),
            reason,
        },
        Fault::Codec(codec) => TaskError::Codec {
            file: file(),
            codec,
        },
    })
}

/// Why a file is not read.
enum Fault {
    Broken(String),
    Codec(String),
}

impl From<ParquetError> for Fault {
    fn from(error: ParquetError) -> Self {
        Self::Broken(error.to_string())
    }
}

fn rows(file: Bytes) -> Result<String, Fault> {
    let reader = SerializedFileReader::new(file)?;
    let groups = reader.metadata().row_groups().iter();
    let mut codecs = groups
        .flat_map(|group| group.columns())
        .map(|column| column.compression());
    // Codecs that this program is built without.
    if let Some(codec) = codecs.find(|one| matches!(one, Compression::BROTLI(_) | Compression::LZO))
    {
        let name = format!("{codec:?}");
        return Err(Fault::Codec(
            name.split('(').next().unwrap_or(&name).to_lowercase(),
        ));
    }
    let mut lines = String::new();
    // Row group by row group: the iterator over all groups panics on an unreadable one.
    for group in 0..reader.num_row_groups() {
        for row in reader.get_row_group(group)?.get_row_iter(None)? {
            lines += &row?.to_json_value().to_string();
            lines.push('\n');
        }
    }
    Ok(lines)
}
