//! The report: REPORT.md and charts, of nothing but what is in records.
//!
//! | module | what |
//! |---|---|
//! | [`records`] | the records below a folder |
//! | [`tables`] | what was timed, in words and tables |
//! | [`timings`] | a record of the bench as a table |
//! | [`charts`] | roofline, speed-up against tokens, bandwidth against size, as SVG |

pub mod charts;
pub mod records;
pub mod tables;
pub mod timings;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mxlab_harness::record::write_atomic;

use self::records::Records;

/// Writes REPORT.md and charts/*.svg below `output`, and returns their paths. The same records give the same bytes.
///
/// # Errors
/// If there is no record, one cannot be read, or a file not be written.
pub fn write(records: &Path, output: &Path) -> Result<Vec<PathBuf>> {
    let records = Records::read(records)?;
    let folder = output.join("charts");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create `{}`", folder.display()))?;
    let mut text = tables::head(&records);
    let mut written = Vec::new();
    for (name, record) in &records.benches {
        text.push_str(&tables::bench(name, record));
        for chart in charts::of(record) {
            let file = format!("{}-{}.svg", name.replace(['/', '\\'], "-"), chart.kind);
            let path = folder.join(&file);
            write_atomic(&path, chart.svg.as_bytes())?;
            text.push_str(&format!("![{}](charts/{file})\n\n", chart.title));
            written.push(path);
        }
    }
    let path = output.join("REPORT.md");
    write_atomic(&path, text.as_bytes())?;
    written.push(path);
    Ok(written)
}
