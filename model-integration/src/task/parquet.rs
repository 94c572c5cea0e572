//! Converts rows of Parquet files, the format of data sets on the hub, to JSON lines.

use std::panic::catch_unwind;

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::TaskError;

/// One line for each row, an object of its columns.
///
/// # Errors
/// [`TaskError`] with the file, if it is not a valid Parquet file.
pub fn lines(source: &str, file: Bytes) -> Result<String, TaskError> {
    let broken = |reason: String| TaskError::Parquet {
        file: source.to_owned(),
        reason,
    };
    // The reader panics on rows whose levels and values disagree.
    match catch_unwind(|| rows(file)) {
        Ok(lines) => lines.map_err(|error| broken(error.to_string())),
        Err(_) => Err(broken("its rows do not fit together".to_owned())),
    }
}

fn rows(file: Bytes) -> Result<String> {
    let reader = SerializedFileReader::new(file)?;
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
