//! The rows of a Parquet file become JSON lines: data sets on the hub are of such files.

use std::panic::catch_unwind;

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::TaskError;

/// A line for every row, an object of its columns.
///
/// # Errors
/// Naming the file, if it is no Parquet file or a broken one.
pub fn lines(source: &str, file: Bytes) -> Result<String, TaskError> {
    let broken = |reason: String| TaskError::Parquet {
        file: source.to_owned(),
        reason,
    };
    // Rows whose levels and values do not agree make the reader panic.
    match catch_unwind(|| rows(file)) {
        Ok(lines) => lines.map_err(|error| broken(error.to_string())),
        Err(_) => Err(broken("its rows do not fit together".to_owned())),
    }
}

fn rows(file: Bytes) -> Result<String> {
    let reader = SerializedFileReader::new(file)?;
    let mut lines = String::new();
    // Group by group: the iterator over all of them panics where one cannot be read.
    for group in 0..reader.num_row_groups() {
        for row in reader.get_row_group(group)?.get_row_iter(None)? {
            lines += &row?.to_json_value().to_string();
            lines.push('\n');
        }
    }
    Ok(lines)
}
