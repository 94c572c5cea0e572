//! The report as a self-contained HTML page.

use anyhow::{Context, Result};
use minijinja::Environment;
use minijinja::value::Serde;
use serde::Serialize;

use super::plot::Chart;
use super::study::StudyView;
use super::table::Table;

const TEMPLATE: &str = include_str!("page.html.j2");

/// The contents of the page.
#[derive(Serialize)]
pub struct Page {
    /// Accuracy, speed, memory and energy of each configuration.
    pub headlines: Vec<Table>,
    /// Studies.
    pub studies: Vec<StudyView>,
    /// Bench and load records.
    pub sections: Vec<Section>,
    /// Tables of verification and generation.
    pub others: Vec<Table>,
    /// Machines and builds of the records.
    pub environments: Table,
}

/// A record on the page with tables and charts.
#[derive(Serialize)]
pub struct Section {
    /// Its file name, without `.json`.
    pub name: String,
    /// The command that wrote it, and when.
    pub made: String,
    /// Its results.
    pub tables: Vec<Table>,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// Charts.
    pub charts: Vec<Chart>,
}

/// Renders the page.
///
/// # Errors
/// None with the shipped template.
pub fn render(page: &Page) -> Result<String> {
    let mut environment = Environment::new();
    environment.add_template("page.html", TEMPLATE)?;
    let template = environment.get_template("page.html")?;
    template
        .render(minijinja::Value::from(Serde(page)))
        .context("the page")
}
