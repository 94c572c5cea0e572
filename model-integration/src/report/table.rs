//! A table whose cells name their records.

use serde::Serialize;

use crate::columns;

/// A table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// Its caption.
    pub caption: String,
    /// How many of the first columns are text.
    pub words: usize,
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells, one per column in each row.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Its text.
    pub text: String,
    /// Its class in the page's style sheet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// The record behind it, as a path from the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Strength of its shading, from -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shade: Option<f64>,
}

/// The text of a cell without a number.
pub const NOT_MEASURED: &str = "not measured";

impl Cell {
    /// A cell of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A measured value, or `not measured`.
    pub fn measured(text: Option<String>) -> Self {
        match text {
            Some(text) => Self::text(text),
            None => Self::text(NOT_MEASURED).class("missing"),
        }
    }

    /// Sets the style class.
    #[must_use]
    pub fn class(mut self, class: &'static str) -> Self {
        self.class = Some(class);
        self
    }

    /// Sets the record behind it.
    #[must_use]
    pub fn of(mut self, record: &str) -> Self {
        self.record = Some(record.to_owned());
        self
    }

    /// Sets the shading.
    #[must_use]
    pub const fn shaded(mut self, shade: f64) -> Self {
        self.shade = Some(shade);
        self
    }
}

impl Table {
    /// A table without rows.
    pub fn new(caption: impl Into<String>, words: usize, header: &[&str]) -> Self {
        Self {
            caption: caption.into(),
            words,
            header: header.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    fn plain(&self) -> (Vec<&str>, Vec<Vec<String>>) {
        let header = self.header.iter().map(String::as_str).collect();
        let cells = |row: &Vec<Cell>| row.iter().map(|cell| cell.text.clone()).collect();
        (header, self.rows.iter().map(cells).collect())
    }

    /// In Markdown, with its caption.
    pub fn markdown(&self) -> String {
        let (header, rows) = self.plain();
        let table = columns::markdown(self.words, &header, &rows);
        format!("{}\n\n{table}\n", self.caption)
    }

    /// As comma-separated values, with records as the last column.
    ///
    /// # Errors
    /// If rows have different lengths.
    pub fn csv(&self) -> anyhow::Result<String> {
        let (mut header, mut rows) = self.plain();
        header.push("record");
        for (row, cells) in rows.iter_mut().zip(&self.rows) {
            let mut records = cells.iter().filter_map(|cell| cell.record.clone());
            row.push(records.next().unwrap_or_default());
        }
        columns::csv(&header, &rows)
    }
}
