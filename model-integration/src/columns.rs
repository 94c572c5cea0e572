//! Plain-text tables with aligned columns.

use comfy_table::{Cell, CellAlignment, Table, TableComponent, presets};

/// A header, a line and the rows. The first `left` columns are left-aligned, the others
/// right-aligned.
pub fn aligned(left: usize, header: &[&str], rows: &[Vec<String>]) -> String {
    let align = |column: usize, text: &str| {
        Cell::new(text).set_alignment(match column < left {
            true => CellAlignment::Left,
            false => CellAlignment::Right,
        })
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─');
    let names = header.iter().enumerate();
    table.set_header(names.map(|(column, name)| align(column, name)));
    for row in rows {
        let cells = row.iter().enumerate();
        table.add_row(cells.map(|(column, text)| align(column, text)));
    }
    let last = header.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, u16::from(index != last)));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The table in Markdown.
pub fn markdown(left: usize, header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&mut header.iter().copied());
    let rule = |column| if column < left { "---" } else { "---:" };
    text.push_str(&line(&mut (0..header.len()).map(rule)));
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// The table as comma-separated values.
///
/// # Errors
/// If rows have different lengths.
pub fn csv(header: &[&str], rows: &[Vec<String>]) -> anyhow::Result<String> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
