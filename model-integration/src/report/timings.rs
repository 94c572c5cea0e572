//! A bench record as a table.

use anyhow::Result;
use mxlab_benches::BenchRecord;
use mxlab_benches::record::{BenchMachine, Measured, RoofRecord};
use mxlab_harness::roofline::Chip;

use super::records::Found;
use super::table::{Cell, NOT_MEASURED, Table};
use crate::columns;

/// The record as comma-separated values: roofs first, raw numbers, empty cells for missing ones.
///
/// # Errors
/// If a row cannot be written.
pub fn csv(record: &BenchRecord) -> Result<String> {
    let rows: Vec<Vec<String>> = all(record)
        .map(|measured| exact(record, measured))
        .collect();
    columns::csv(&CSV, &rows)
}

/// The record as aligned columns, with refused kernels, machine and disturbances.
pub fn aligned(record: &BenchRecord) -> String {
    readable(record, columns::aligned)
}

/// The record with a Markdown table.
pub fn markdown(record: &BenchRecord) -> String {
    readable(record, columns::markdown)
}

/// The timings as a table of a report.
pub fn table(found: &Found<BenchRecord>) -> Table {
    let (header, rows) = timed(&found.record);
    let mut table = Table::new("Timings", 2, &header);
    for row in rows {
        let mut cells: Vec<Cell> = row.into_iter().map(Cell::text).collect();
        if let Some(median) = cells.get_mut(2) {
            *median = std::mem::take(median).of(&found.path);
        }
        table.rows.push(cells);
    }
    table
}

/// Refused kernels, machine and disturbances.
pub fn notes(record: &BenchRecord) -> Vec<String> {
    let refused = record.refused.iter().map(|refused| {
        let case = &refused.case;
        format!("{} {}: {}", case.kernel, case.shape(), refused.reason)
    });
    let mut notes: Vec<String> = refused.collect();
    notes.push(machine(record));
    notes.extend(device(record));
    let marks = record.marks();
    notes.extend(marks.iter().map(|mark| format!("disturbed: {mark}")));
    notes
}

const CSV: [&str; 15] = [
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
    "tokens_per_s",
    "roofline_fraction",
    "roof",
    "joules",
    "gap_us",
];

/// The roofs, then the kernels.
fn all(record: &BenchRecord) -> impl Iterator<Item = &Measured> {
    let roofs = record.roof.iter().flat_map(RoofRecord::measured);
    roofs.chain(&record.measured)
}

fn exact(record: &BenchRecord, measured: &Measured) -> Vec<String> {
    let Measured { case, timing, .. } = measured;
    let or_empty = |number: Option<f64>| number.map(|x| x.to_string()).unwrap_or_default();
    let [low, high] = timing.quartiles();
    let samples: usize = timing.rounds.iter().map(Vec::len).sum();
    let roof = record.roof.as_ref();
    let bound = roof.and_then(|roof| roof.bound(case));
    vec![
        case.kernel.clone(),
        case.rows.to_string(),
        case.cols.to_string(),
        case.tokens.map(|n| n.to_string()).unwrap_or_default(),
        timing.median().to_string(),
        low.to_string(),
        high.to_string(),
        samples.to_string(),
        or_empty((case.bytes > 0).then(|| measured.bandwidth())),
        or_empty(measured.rate()),
        or_empty(measured.token_rate()),
        or_empty(bound.map(|bound| bound.seconds / timing.median())),
        bound
            .map(|bound| bound.roof.case.kernel.clone())
            .unwrap_or_default(),
        or_empty(measured.energy.map(|energy| energy.joules())),
        or_empty(roof.and_then(RoofRecord::gap_us)),
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
    let has_generation = record.measured.iter().any(|m| m.token_rate().is_some());
    let mut header = vec![
        "kernel",
        "shape",
        "median",
        "±%",
        "GB/s",
        "Gop/s",
        "% of roof",
        "roof",
    ];
    if has_generation {
        header.push("tok/s");
    }
    if has_energy {
        header.push("joules");
    }
    let row = |measured: &Measured| {
        let roof = record.roof.as_ref();
        let bound = roof.and_then(|roof| roof.bound(&measured.case));
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let tenths = |number: Option<f64>| or_none(number.map(|number| format!("{number:.1}")));
        let bandwidth = (measured.case.bytes > 0).then(|| measured.bandwidth());
        let part = bound.map(|bound| 100.0 * bound.seconds / measured.timing.median());
        let mut row = vec![
            measured.case.kernel.clone(),
            measured.case.shape().to_string(),
            seconds(measured.timing.median()),
            format!("{:.1}", 100.0 * measured.timing.spread()),
            or_none(bandwidth.map(|bandwidth| format!("{:.2}", bandwidth / 1e9))),
            tenths(measured.rate().map(|rate| rate / 1e9)),
            or_none(part.map(|part| format!("{part:.0}"))),
            or_none(bound.map(|bound| bound.roof.case.kernel.clone())),
        ];
        if has_generation {
            row.push(tenths(measured.token_rate()));
        }
        if has_energy {
            row.push(match measured.energy {
                Some(energy) => format!("{:.3e}", energy.joules()),
                None => NOT_MEASURED.to_owned(),
            });
        }
        row
    };
    let rows: Vec<Vec<String>> = all(record).map(row).collect();
    (header, rows)
}

/// The machine in one line.
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
        } => {
            let slice = properties.mig.iter().map(|slice| format!(", {slice}"));
            let driver = driver.iter().map(|driver| format!(", driver {driver}"));
            let parts: String = slice.chain(driver).collect();
            format!("{}{parts}", properties.name)
        }
    };
    format!(
        "{on}; medians of {rounds} rounds of {samples} samples, ± half the distance of quartiles"
    )
}

/// Facts about a device alone: the gap between launches, and its roofs beside public figures.
fn device(record: &BenchRecord) -> Vec<String> {
    let BenchMachine::Device { properties, .. } = &record.machine else {
        return Vec::new();
    };
    let roof = record.roof.as_ref();
    let gap = match roof.and_then(RoofRecord::gap_us) {
        Some(gap) => format!(
            "gap_us: {gap:.3}, a launch of an empty kernel in a graph; every time includes it"
        ),
        None => format!("gap_us: {NOT_MEASURED}"),
    };
    let chip = match Chip::of_device(properties) {
        Ok(chip) => chip,
        Err(reason) => return vec![gap, format!("public figures: {reason}")],
    };
    let percent = |part: Option<f64>| {
        part.map_or(NOT_MEASURED.to_owned(), |part| {
            format!("{:.0} %", 100.0 * part)
        })
    };
    let copy = roof.map(|roof| roof.copy.bandwidth() / (chip.memory_gb_s * 1e9));
    let product = roof.and_then(|roof| roof.product.as_ref()?.rate());
    let figures = format!(
        "public figures of the {}: copy {} of {} GB/s, product {} of {:.0} TFLOP/s at {} GHz",
        chip.name,
        percent(copy),
        chip.memory_gb_s,
        percent(product.map(|rate| rate / chip.tensor_rate())),
        chip.tensor_rate() / 1e12,
        chip.clock_ghz
    );
    vec![gap, figures]
}

/// A time with three significant digits.
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
    use mxlab_benches::BenchRecord;
    use mxlab_harness::device::DeviceKind;
    use mxlab_harness::measure::GpuState;
    use serde_json::{Value, json};

    #[test]
    fn times_have_three_digits() {
        let times = [3.214e-9, 4.5e-8, 1.234e-6, 0.0123, 7.0].map(super::seconds);
        assert_eq!(
            times,
            ["3.21 ns", "45.0 ns", "1.23 µs", "12.3 ms", "7.00 s"]
        );
    }

    fn measured(kernel: &str, bytes: u64, operations: u64, seconds: f64) -> Value {
        json!({
            "case": { "kernel": kernel, "family": "roof", "rows": 1, "cols": 1, "tokens": null,
                "bytes": bytes, "operations": operations },
            "timing": { "runs": 1, "rounds": [[seconds, seconds]] },
            "energy": null,
        })
    }

    /// A record in the older format, without an empty kernel, a place on the bus and a slice. An
    /// H200 whose copy reaches 4.3 TB/s and whose product 788 TFLOP/s.
    fn older() -> Value {
        let mut properties = mxlab_harness::device::Device::emulator()
            .properties()
            .clone();
        properties.kind = DeviceKind::Cuda;
        properties.name = "NVIDIA H200".to_owned();
        properties.sm = 90;
        properties.multiprocessors = Some(132);
        let mut properties = serde_json::to_value(properties).expect("plain data");
        let fields = properties.as_object_mut().expect("an object");
        assert!(fields.remove("mig").is_some() && fields.remove("pci_bus_id").is_some());
        let environment = mxlab_harness::record::Environment::capture();
        json!({
            "environment": environment,
            "machine": { "kind": "device", "properties": properties, "driver": "580.65.06",
                "states": [GpuState::default()] },
            "sampling": { "warm_up_s": 0.02, "sample_s": 0.005, "samples": 2 },
            "rounds": 1,
            "seed": 0,
            "is_complete": true,
            "peers": [],
            "roof": {
                "copy": measured("copy", 4_300_000, 0, 1e-6),
                "product": measured("cublas_bf16", 1000, 788_000_000, 1e-6),
            },
            "measured": [],
            "refused": [],
        })
    }

    fn record(value: Value) -> BenchRecord {
        serde_json::from_value(value).expect("a record")
    }

    #[test]
    fn older_records_have_no_gap() {
        let record = record(older());
        let table = super::aligned(&record);
        assert!(table.contains("gap_us: not measured"), "{table}");
        let figures =
            "public figures of the H200: copy 90 % of 4800 GB/s, product 74 % of 1071 TFLOP/s";
        assert!(table.contains(figures), "{table}");
        let csv = super::csv(&record).expect("rows");
        assert!(
            csv.lines().all(|line| line.split(',').count() == 15),
            "{csv}"
        );
        let last = csv
            .lines()
            .last()
            .and_then(|line| line.split(',').next_back());
        assert_eq!(last, Some(""));
    }

    #[test]
    fn the_gap_is_in_every_form() {
        let mut value = older();
        value["roof"]["empty"] = measured("empty", 0, 0, 1.25e-6);
        let record = record(value);
        for text in [super::aligned(&record), super::markdown(&record)] {
            assert!(text.contains("gap_us: 1.250"), "{text}");
            assert!(text.contains("empty") && text.contains("1.25 µs"), "{text}");
        }
        let csv = super::csv(&record).expect("rows");
        let mut lines = csv.lines();
        assert!(
            lines
                .next()
                .is_some_and(|header| header.ends_with(",gap_us"))
        );
        assert_eq!(lines.clone().count(), 3);
        // For every row, including the empty kernel's own.
        let gaps = lines.map(|line| line.split(',').next_back().map(str::parse::<f64>));
        assert!(gaps.into_iter().all(|gap| gap == Some(Ok(1.25))), "{csv}");
        assert!(
            super::notes(&record)
                .iter()
                .any(|note| note.starts_with("gap_us: 1.250"))
        );
    }

    #[test]
    fn a_slice_is_named_and_compared_with_no_figures() {
        let mut value = older();
        value["machine"]["properties"]["mig"] = json!("MIG 1g.18gb");
        let record = record(value);
        let table = super::aligned(&record);
        assert!(
            table.contains("NVIDIA H200, MIG 1g.18gb, driver"),
            "{table}"
        );
        assert!(
            table.contains("public figures: not compared: MIG slice"),
            "{table}"
        );
        assert!(!table.contains("4800"), "{table}");
        assert!(
            table.contains("disturbed: an instance of a divided GPU"),
            "{table}"
        );
    }
}
