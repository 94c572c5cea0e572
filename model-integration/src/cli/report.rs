//! `mxlab report`: an HTML page, Markdown, tables and charts from records.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::Done;
use super::output::print;
use crate::report;

/// Write a page, Markdown, tables and charts from the records in a folder
#[derive(Args)]
pub struct ReportArgs {
    /// Folder with the records, or the file of one
    #[arg(long, value_name = "DIR|FILE", default_value = "results")]
    records: PathBuf,
    /// Where the report goes [default: `report` in the folder of the records]
    #[arg(long, value_name = "DIR")]
    output_path: Option<PathBuf>,
    /// JSON file of published results, shown as a column of its own
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
}

/// Writes the report, and prints the paths.
pub fn run(args: &ReportArgs) -> Result<Done> {
    let folder = match args.records.is_file() {
        true => args.records.parent().unwrap_or(Path::new("")),
        false => &args.records,
    };
    let output = args.output_path.clone();
    let output = output.unwrap_or_else(|| folder.join("report"));
    for path in report::write(&args.records, &output, args.reference.as_deref())? {
        print(&format!("{}\n", path.display()))?;
    }
    Ok(Done::Ok)
}
