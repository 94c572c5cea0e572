//! The report as a page: one file that needs no other.

use anyhow::{Context, Result};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::plot::Chart;
use super::study::StudyView;
use super::table::Table;

const TEMPLATE: &str = include_str!("page.html.j2");

/// Everything that is on the page.
#[derive(Serialize)]
pub struct Page {
    /// Accuracy, speed, memory and energy of each configuration.
    pub headlines: Vec<Table>,
    /// Studies.
    pub studies: Vec<StudyView>,
    /// What was timed.
    pub benches: Vec<BenchView>,
    /// What was verified and generated.
    pub others: Vec<Table>,
    /// Where records were made.
    pub environments: Table,
}

/// What is shown of a bench.
#[derive(Serialize)]
pub struct BenchView {
    /// Its record, without `.json`.
    pub name: String,
    /// The command that made it, and when.
    pub made: String,
    /// Its timings, and what they are beside others'.
    pub tables: Vec<Table>,
    /// Machine, and what disturbed.
    pub notes: Vec<String>,
    /// Charts.
    pub charts: Vec<Chart>,
}

/// Renders the page.
///
/// # Errors
/// Never with the template that this crate ships.
pub fn render(page: &Page) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_template("page.html", TEMPLATE)?;
    let template = environment.get_template("page.html")?;
    template
        .render(minijinja::Value::from(Serde(page)))
        .context("the page")
}
