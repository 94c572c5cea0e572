//! What was timed, verified and generated, as tables.

use mxlab_benches::record::{BenchMachine, Measured};
use mxlab_benches::{BenchRecord, Case};
use mxlab_harness::device::DeviceKind;
use serde_json::Value;

use super::html::BenchView;
use super::records::Records;
use super::table::{Cell, NOT_MEASURED, Table};
use super::{charts, timings};

/// What was verified, what faults were planted, and what was generated.
pub fn others(records: &Records) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut add = |caption: &str, words, header: &[&str], rows: Vec<Vec<Cell>>| {
        let mut table = Table::new(caption, words, header);
        table.rows = rows;
        tables.extend((!table.rows.is_empty()).then_some(table));
    };
    let header = ["record", "device", "kernels", "elements", "wrong", "commit"];
    let rows = records.verified.iter().map(verified).collect();
    add("Kernels against the scalar reference", 2, &header, rows);
    let header = [
        "record",
        "kernels",
        "faults",
        "that change nothing",
        "caught",
        "%",
    ];
    let rows = records.mutated.iter().map(mutated).collect();
    add(
        "Planted faults: would verification notice?",
        1,
        &header,
        rows,
    );
    let header = [
        "record",
        "device",
        "model",
        "configuration",
        "first token",
        "token",
        "tokens/s",
    ];
    let rows = records.generated.iter().map(generated).collect();
    add("Generations", 4, &header, rows);
    tables
}

/// Where records were made.
pub fn environments(records: &Records) -> Table {
    let header = ["record", "made", "commit", "processor", "cores", "system"];
    let mut table = Table::new("Where records were made", 6, &header);
    for (name, environment) in &records.environments {
        let changed = match environment.get("dirty").and_then(Value::as_bool) {
            Some(true) => ", changed",
            _ => "",
        };
        let commit: String = at(environment, "/commit").chars().take(10).collect();
        table.rows.push(vec![
            Cell::text(name).of(&format!("{name}.json")),
            Cell::text(at(environment, "/date")),
            Cell::text(commit + changed),
            Cell::text(at(environment, "/machine/cpu")),
            Cell::text(at(environment, "/machine/cores")),
            Cell::text(at(environment, "/machine/os")),
        ]);
    }
    table
}

/// A value at a path of keys as text; what is not there was not measured.
fn at(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        None | Some(Value::Null) => NOT_MEASURED.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn commit(value: &Value) -> String {
    let commit = at(value, "/environment/commit");
    commit.chars().take(10).collect()
}

fn verified((name, value): &(String, Value)) -> Vec<Cell> {
    let families = value.get("families").and_then(Value::as_array);
    let sum = |key: &str| -> String {
        let tallies = families.into_iter().flatten();
        let sum: u64 = tallies
            .filter_map(|tally| tally.get(key).and_then(Value::as_u64))
            .sum();
        sum.to_string()
    };
    let findings = value.get("findings").and_then(Value::as_array);
    vec![
        Cell::text(name).of(&format!("{name}.json")),
        Cell::text(at(value, "/device/name")),
        Cell::text(sum("kernels")),
        Cell::text(sum("elements")),
        Cell::measured(findings.map(|list| list.len().to_string())),
        Cell::text(commit(value)),
    ]
}

fn mutated((name, value): &(String, Value)) -> Vec<Cell> {
    let kernels = value.get("kernels").and_then(Value::as_array);
    let scores = || kernels.into_iter().flatten();
    let caught = |score: &Value| -> Option<u64> {
        let each = score.get("caught")?.as_object()?.values();
        Some(each.filter_map(Value::as_u64).sum())
    };
    let count = |score: &Value, key: &str| Some(score.get(key)?.as_array()?.len() as u64);
    let sum = |of: &dyn Fn(&Value) -> Option<u64>| -> u64 { scores().filter_map(of).sum() };
    let caught = sum(&caught);
    let survived = sum(&|score| count(score, "survivors"));
    let equivalent = sum(&|score| count(score, "equivalent"));
    let part = 100.0 * caught as f64 / (caught + survived) as f64;
    vec![
        Cell::text(name).of(&format!("{name}.json")),
        Cell::text(scores().count().to_string()),
        Cell::text((caught + survived).to_string()),
        Cell::text(equivalent.to_string()),
        Cell::text(caught.to_string()),
        Cell::text(format!("{part:.1}")),
    ]
}

fn generated((name, value): &(String, Value)) -> Vec<Cell> {
    let seconds = |path: &str| {
        let value = value.pointer(path).and_then(Value::as_f64);
        Cell::measured(value.map(timings::seconds))
    };
    let speed = value.pointer("/timings/tokens_per_second");
    let speed = speed.and_then(Value::as_f64);
    vec![
        Cell::text(name).of(&format!("{name}.json")),
        Cell::text(at(value, "/model/device")),
        Cell::text(at(value, "/model/name")),
        Cell::text(at(value, "/config/name")),
        seconds("/timings/first_token_seconds"),
        seconds("/timings/median_step_seconds"),
        Cell::measured(speed.map(|speed| format!("{speed:.1}"))),
    ]
}

/// A run of the bench: where, what, and how much faster than what everyone has.
pub fn bench(name: &str, record: &BenchRecord) -> BenchView {
    let environment = &record.environment;
    let commit = environment.commit.as_deref().unwrap_or("unknown");
    let mut notes = Vec::new();
    if is_emulated(record) {
        notes.push("The emulator stood in for a GPU: its times say nothing of one.".to_owned());
    }
    for peer in &record.peers {
        let versions = peer.versions.iter();
        let versions: Vec<String> = versions
            .map(|(of, version)| format!("{of} {version}"))
            .collect();
        notes.push(format!("Beside it {}: {}.", peer.name, versions.join(", ")));
    }
    notes.extend(timings::notes(record));
    let mut tables = vec![timings::table(name, record)];
    tables.extend(speed_up(record));
    BenchView {
        name: name.to_owned(),
        made: format!(
            "{}; {}, commit {}",
            environment.command.join(" "),
            environment.date,
            &commit[..commit.len().min(10)]
        ),
        tables,
        notes,
        charts: charts::of(record),
    }
}

/// Whether the emulator took the times.
pub fn is_emulated(record: &BenchRecord) -> bool {
    match &record.machine {
        BenchMachine::Cpu { .. } => false,
        BenchMachine::Device { properties, .. } => properties.kind == DeviceKind::Emulator,
    }
}

/// What products are compared with, the first of them that a record has.
const YARDSTICKS: [&str; 3] = ["cublas_bf16", "torch_linear_bf16", "torch_linear_f32"];

/// The kernel that products of a record are compared with.
pub fn yardstick(record: &BenchRecord) -> Option<&'static str> {
    let has = |name: &&str| {
        let mut measured = record.measured.iter();
        measured.any(|measured| measured.case.kernel == **name)
    };
    YARDSTICKS.iter().find(|name| has(name)).copied()
}

/// Each product's time beside the yardstick's on the same shape: kernel, tokens, and how many times as fast.
pub fn speed_ups(record: &BenchRecord) -> Vec<(&Case, f64)> {
    let Some(yardstick) = yardstick(record) else {
        return Vec::new();
    };
    let same_shape = |a: &Case, b: &Case| (a.rows, a.cols, a.tokens) == (b.rows, b.cols, b.tokens);
    let times = |measured: &Measured| -> Option<f64> {
        let is_it = |other: &&Measured| {
            other.case.kernel == yardstick && same_shape(&other.case, &measured.case)
        };
        let yard = record.measured.iter().find(is_it)?;
        Some(yard.timing.median() / measured.timing.median())
    };
    let products = record.measured.iter();
    let products = products.filter(|m| m.case.operations > 0 && m.case.kernel != yardstick);
    products
        .filter_map(|measured| Some((&measured.case, times(measured)?)))
        .collect()
}

fn speed_up(record: &BenchRecord) -> Option<Table> {
    let speed_ups = speed_ups(record);
    let of = format!("times as fast as {}", yardstick(record)?);
    let mut table = Table::new(
        "Products beside those of others",
        2,
        &["kernel", "shape", &of],
    );
    for (case, times) in speed_ups {
        table.rows.push(vec![
            Cell::text(&case.kernel),
            Cell::text(case.shape().to_string()),
            Cell::text(format!("{times:.2}")),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}
