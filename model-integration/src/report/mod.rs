//! The report: an HTML page, Markdown, tables and charts, from records alone.
//!
//! | module | contents |
//! |---|---|
//! | [`records`] | reads the records below a folder |
//! | [`headline`] | accuracy, speed, memory and energy of each configuration |
//! | [`study`] | results of studies |
//! | [`tables`], [`timings`] | timings, verification and generation |
//! | [`serving`] | load on endpoints: latency against throughput |
//! | [`charts`], [`plot`] | roofline, speed-up against tokens, bandwidth against size |
//! | [`reference`](mod@reference) | published results, shown beside ours |
//! | [`table`] | a table whose cells name their records |
//! | [`html`] | the HTML page |

pub mod charts;
pub mod headline;
pub mod html;
pub mod plot;
pub mod records;
pub mod reference;
pub mod serving;
pub mod study;
pub mod table;
pub mod tables;
pub mod timings;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mxlab_harness::record::write_atomic;

use self::html::Page;
use self::plot::Chart;
use self::records::Records;
use self::reference::Reference;
use self::table::Table;
use crate::file_name::file_name;

/// Writes REPORT.html, REPORT.md, charts/*.svg and tables/*.csv below `output`, and returns their
/// paths. `records` is a folder of records, the folder of a study, or one file. `reference` is a
/// file of published results. The same records give the same bytes.
///
/// # Errors
/// If there is no record, one cannot be read, or a file cannot be written.
pub fn write(records: &Path, output: &Path, reference: Option<&Path>) -> Result<Vec<PathBuf>> {
    let records = Records::read(records, output)?;
    let reference = reference.map(Reference::read).transpose()?;
    let studies = records.studies.iter();
    let studies = studies.map(|(_, study)| study::view(study, reference.as_ref()));
    let benches = records.benches.iter().map(tables::bench);
    let loads = records.loads.iter().map(serving::section);
    let soaks = records.soaks.iter().map(serving::soak);
    let page = Page {
        headlines: headline::tables(&records),
        studies: studies.collect::<Result<_>>()?,
        sections: benches.chain(loads).chain(soaks).collect(),
        others: tables::others(&records),
        environments: tables::environments(&records),
    };
    let mut written = Vec::new();
    let mut keep = |path: PathBuf, bytes: &[u8]| -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        write_atomic(&path, bytes)?;
        written.push(path);
        Ok(())
    };
    for (name, chart) in charts_of(&page) {
        keep(output.join("charts").join(name), chart.svg.as_bytes())?;
    }
    for (name, table) in tables_of(&page) {
        keep(output.join("tables").join(name), table.csv()?.as_bytes())?;
    }
    keep(output.join("REPORT.md"), markdown(&page).as_bytes())?;
    keep(output.join("REPORT.html"), html::render(&page)?.as_bytes())?;
    Ok(written)
}

fn section_chart(section: &str, chart: &Chart) -> String {
    format!("{}-{}.svg", file_name(section), chart.kind)
}

fn charts_of(page: &Page) -> Vec<(String, &Chart)> {
    let studies = page.studies.iter().flat_map(|study| &study.charts);
    let mut charts: Vec<(String, &Chart)> = studies
        .map(|chart| (format!("{}.svg", chart.kind), chart))
        .collect();
    for section in &page.sections {
        let own = section.charts.iter();
        charts.extend(own.map(|chart| (section_chart(&section.name, chart), chart)));
    }
    charts
}

fn tables_of(page: &Page) -> Vec<(String, &Table)> {
    let mut groups = vec![("configurations", &page.headlines)];
    groups.extend(
        page.studies
            .iter()
            .map(|own| (own.name.as_str(), &own.tables)),
    );
    groups.extend(
        page.sections
            .iter()
            .map(|own| (own.name.as_str(), &own.tables)),
    );
    let tables = groups.into_iter().flat_map(|(name, tables)| {
        let numbered = tables.iter().enumerate();
        numbered
            .map(move |(index, table)| (format!("{}-{}.csv", file_name(name), index + 1), table))
    });
    tables.collect()
}

/// The page as Markdown.
fn markdown(page: &Page) -> String {
    let mut text = String::from(
        "# Measurements\n\nMade by `mxlab report` of records alone. What has no record was not \
         measured. REPORT.html is the same as a page.\n\n",
    );
    let tables = |text: &mut String, tables: &[Table]| {
        for table in tables {
            text.push_str(&table.markdown());
        }
    };
    if !page.headlines.is_empty() {
        text.push_str("## Configurations\n\n");
        tables(&mut text, &page.headlines);
    }
    for study in &page.studies {
        let _ = writeln!(text, "## {}\n\n{}\n", study.title, study.question);
        for finding in &study.findings {
            let _ = writeln!(text, "- {finding}");
        }
        text.push('\n');
        tables(&mut text, &study.tables);
        for chart in &study.charts {
            let _ = writeln!(text, "![{}](charts/{}.svg)\n", chart.title, chart.kind);
        }
        for note in &study.notes {
            let _ = writeln!(text, "{note}\n");
        }
    }
    for section in &page.sections {
        let _ = writeln!(text, "## {}\n\n    {}\n", section.name, section.made);
        tables(&mut text, &section.tables);
        for note in &section.notes {
            let _ = writeln!(text, "{note}\n");
        }
        for chart in &section.charts {
            let file = section_chart(&section.name, chart);
            let _ = writeln!(text, "![{}](charts/{file})\n", chart.title);
        }
    }
    if !page.others.is_empty() {
        text.push_str("## Verified, generated\n\n");
        tables(&mut text, &page.others);
    }
    text.push_str("## Environment\n\n");
    text.push_str(&page.environments.markdown());
    text.trim_end().to_owned() + "\n"
}
