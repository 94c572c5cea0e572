//! Compares two records, case by case.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use mxlab_benches::compare::{Compared, compare};

use super::{Done, Format, print};
use crate::columns::{aligned, csv, markdown};
use crate::record;
use crate::report::timings::seconds;

/// Compares and prints.
pub fn run(before: &Path, after: &Path, threshold: f64, format: Format) -> Result<Done> {
    let report = compare(&record::read(before)?, &record::read(after)?, threshold);
    ensure!(
        !report.compared.is_empty(),
        "{} and {} have no kernel and shape in common; bench the same kernels in both",
        before.display(),
        after.display()
    );
    let header = [
        "kernel",
        "shape",
        "verdict",
        "before",
        "after",
        "ratio",
        "95 % interval",
    ];
    let row = |compared: &Compared| {
        let comparison = &compared.comparison;
        let interval = comparison.interval;
        vec![
            compared.case.kernel.clone(),
            compared.case.shape().to_string(),
            comparison.verdict.to_string(),
            seconds(compared.seconds[0]),
            seconds(compared.seconds[1]),
            format!("{:.3}", comparison.ratio),
            interval.map_or("one round".to_owned(), |[low, high]| {
                format!("{low:.3} to {high:.3}")
            }),
        ]
    };
    let rows = report.roof.iter().chain(&report.compared).map(row);
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&report).context("a report is plain data")?;
            json + "\n"
        }
        Format::Csv => csv(&header, &rows)?,
        Format::Md => markdown(3, &header, &rows),
        Format::Table => aligned(3, &header, &rows),
    };
    if matches!(format, Format::Table | Format::Md) {
        text.push('\n');
        for (which, cases) in [
            ("first", &report.only_before),
            ("second", &report.only_after),
        ] {
            for case in cases {
                let (kernel, shape) = (&case.kernel, case.shape());
                text.push_str(&format!("only in the {which}: {kernel} {shape}\n"));
            }
        }
        for caveat in &report.caveats {
            text.push_str(&format!("{caveat}\n"));
        }
    }
    print(&text)?;
    Ok(match report.has_slower() {
        true => Done::WithFindings,
        false => Done::Ok,
    })
}
