//! A record of the bench as a table.

use anyhow::Result;
use mxlab_benches::BenchRecord;
use mxlab_benches::record::{BenchMachine, Measured};

use super::table::{Cell, NOT_MEASURED, Table};
use crate::columns;

/// The record as comma-separated values: numbers as they are, nothing where there is none.
///
/// # Errors
/// If a row cannot be written.
pub fn csv(record: &BenchRecord) -> Result<String> {
    let measured = record.measured.iter();
    let rows: Vec<Vec<String>> = measured.map(|measured| exact(record, measured)).collect();
    columns::csv(&CSV, &rows)
}

/// The record as aligned columns, with what was refused, the machine, and what disturbed.
pub fn aligned(record: &BenchRecord) -> String {
    readable(record, columns::aligned)
}

/// The same with a table of Markdown.
pub fn markdown(record: &BenchRecord) -> String {
    readable(record, columns::markdown)
}

/// The timings as a table of a report, of the record of that name.
pub fn table(name: &str, record: &BenchRecord) -> Table {
    let (header, rows) = timed(record);
    let mut table = Table::new("Timings", 2, &header);
    let path = format!("{name}.json");
    for row in rows {
        let mut cells: Vec<Cell> = row.into_iter().map(Cell::text).collect();
        if let Some(median) = cells.get_mut(2) {
            *median = std::mem::take(median).of(&path);
        }
        table.rows.push(cells);
    }
    table
}

/// What was refused, the machine, and what disturbed.
pub fn notes(record: &BenchRecord) -> Vec<String> {
    let refused = record.refused.iter().map(|refused| {
        let case = &refused.case;
        format!("{} {}: {}", case.kernel, case.shape(), refused.reason)
    });
    let mut notes: Vec<String> = refused.collect();
    notes.push(machine(record));
    let marks = record.marks();
    notes.extend(marks.iter().map(|mark| format!("disturbed: {mark}")));
    notes
}

const CSV: [&str; 12] = [
    "kernel",
    "rows",
    "cols",
    "tokens",
    "median_s",
    "lower_quartile_s",
    "upper_quartile_s",
    "samples",
    "bytes_per_s",
    "operations_per_s",
    "roofline_fraction",
    "joules",
];

fn exact(record: &BenchRecord, measured: &Measured) -> Vec<String> {
    let Measured { case, timing, .. } = measured;
    let or_empty = |number: Option<f64>| number.map(|x| x.to_string()).unwrap_or_default();
    let [low, high] = timing.quartiles();
    let samples: usize = timing.rounds.iter().map(Vec::len).sum();
    let fraction = record.roof.as_ref().map(|roof| roof.fraction(measured));
    vec![
        case.kernel.clone(),
        case.rows.to_string(),
        case.cols.to_string(),
        case.tokens.map(|n| n.to_string()).unwrap_or_default(),
        timing.median().to_string(),
        low.to_string(),
        high.to_string(),
        samples.to_string(),
        measured.bandwidth().to_string(),
        or_empty(measured.rate()),
        or_empty(fraction),
        or_empty(measured.energy.map(|energy| energy.joules())),
    ]
}

fn readable(record: &BenchRecord, table: fn(usize, &[&str], &[Vec<String>]) -> String) -> String {
    let (header, rows) = timed(record);
    let mut text = table(2, &header, &rows);
    text.push('\n');
    for note in notes(record) {
        text.push_str(&note);
        text.push('\n');
    }
    text
}

/// Header and rows.
fn timed(record: &BenchRecord) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let has_energy = record.measured.iter().any(|m| m.energy.is_some());
    let mut header = vec![
        "kernel",
        "shape",
        "median",
        "±%",
        "GB/s",
        "Gop/s",
        "% of roof",
    ];
    if has_energy {
        header.push("joules");
    }
    let roofs = record.roof.iter();
    let roofs = roofs.flat_map(|roof| std::iter::once(&roof.copy).chain(&roof.product));
    let row = |measured: &Measured| {
        let fraction = record.roof.as_ref().map(|roof| roof.fraction(measured));
        let mut row = vec![
            measured.case.kernel.clone(),
            measured.case.shape().to_string(),
            seconds(measured.timing.median()),
            format!("{:.1}", 100.0 * measured.timing.spread()),
            format!("{:.2}", measured.bandwidth() / 1e9),
            measured
                .rate()
                .map_or("-".to_owned(), |rate| format!("{:.1}", rate / 1e9)),
            fraction.map_or("-".to_owned(), |part| format!("{:.0}", 100.0 * part)),
        ];
        if has_energy {
            row.push(match measured.energy {
                Some(energy) => format!("{:.3e}", energy.joules()),
                None => NOT_MEASURED.to_owned(),
            });
        }
        row
    };
    let rows: Vec<Vec<String>> = roofs.chain(&record.measured).map(row).collect();
    (header, rows)
}

/// The machine in a line.
fn machine(record: &BenchRecord) -> String {
    let rounds = record.rounds;
    let samples = record.sampling.samples;
    let on = match &record.machine {
        BenchMachine::Cpu { threads, .. } => {
            let cpu = record.environment.machine.cpu.as_deref();
            let plural = if *threads == 1 { "" } else { "s" };
            format!("{}, {threads} thread{plural}", cpu.unwrap_or("CPU"))
        }
        BenchMachine::Device {
            properties, driver, ..
        } => match driver {
            Some(driver) => format!("{}, driver {driver}", properties.name),
            None => properties.name.clone(),
        },
    };
    format!(
        "{on}; medians of {rounds} rounds of {samples} samples, ± half the distance of quartiles"
    )
}

/// A time with three digits.
pub fn seconds(seconds: f64) -> String {
    let [scale, unit] = match seconds {
        s if s < 1e-6 => [1e9, 0.0],
        s if s < 1e-3 => [1e6, 1.0],
        s if s < 1.0 => [1e3, 2.0],
        _ => [1.0, 3.0],
    };
    let unit = ["ns", "µs", "ms", "s"][unit as usize];
    let value = seconds * scale;
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_three_digits() {
        let times = [3.214e-9, 4.5e-8, 1.234e-6, 0.0123, 7.0].map(super::seconds);
        assert_eq!(
            times,
            ["3.21 ns", "45.0 ns", "1.23 µs", "12.3 ms", "7.00 s"]
        );
    }
}
