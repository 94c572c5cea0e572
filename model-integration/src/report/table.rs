//! A table whose cells say where their numbers come from.

use serde::Serialize;

use crate::columns;

/// A table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// How many of the first columns are words.
    pub words: usize,
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells, as many a row as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it looks on a page: a class of its style sheet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// The record that it comes from, as a path from the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// How strongly it is shaded, from -1 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shade: Option<f64>,
}

/// What was not measured.
pub const NOT_MEASURED: &str = "not measured";

impl Cell {
    /// A cell that says something.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// A cell of what was measured, or not.
    pub fn measured(text: Option<String>) -> Self {
        match text {
            Some(text) => Self::text(text),
            None => Self::text(NOT_MEASURED).class("missing"),
        }
    }

    /// Looks like that.
    #[must_use]
    pub fn class(mut self, class: &'static str) -> Self {
        self.class = Some(class);
        self
    }

    /// Comes from there.
    #[must_use]
    pub fn of(mut self, record: &str) -> Self {
        self.record = Some(record.to_owned());
        self
    }

    /// Is shaded.
    #[must_use]
    pub const fn shaded(mut self, shade: f64) -> Self {
        self.shade = Some(shade);
        self
    }
}

impl Table {
    /// Without rows.
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

    /// As comma-separated values, with a last column of records.
    ///
    /// # Errors
    /// If rows are not of one length.
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
