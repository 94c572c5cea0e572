//! Tables of timings, verification and generation.

use mxlab_benches::record::{BenchMachine, Measured};
use mxlab_benches::{BenchRecord, Case};
use mxlab_fuzz::mutation::Score;
use mxlab_harness::device::DeviceKind;
use mxlab_harness::record::Environment;

use super::html::Section;
use super::records::{Found, Records};
use super::table::{Cell, NOT_MEASURED, Table};
use super::{charts, timings};
use crate::record::generate::GenerateRecord;
use crate::record::mutate::MutateRecord;
use crate::record::verify::{Family, VerifyRecord};

/// Tables of verification, planted faults and generation.
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

/// Machines and builds of the records.
pub fn environments(records: &Records) -> Table {
    let header = ["record", "made", "commit", "processor", "cores", "system"];
    let mut table = Table::new("Where records were made", 6, &header);
    for Found { name, path, record } in records.environments() {
        let changed = if record.dirty == Some(true) {
            ", changed"
        } else {
            ""
        };
        let cores = record.machine.cores.map(|cores| cores.to_string());
        table.rows.push(vec![
            Cell::text(name).of(path),
            Cell::text(&record.date),
            Cell::text(commit(record) + changed),
            Cell::text(known(record.machine.cpu.clone())),
            Cell::text(known(cores)),
            Cell::text(&record.machine.os),
        ]);
    }
    table
}

/// A text, or the placeholder for an unknown one.
fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOT_MEASURED.to_owned())
}

fn commit(environment: &Environment) -> String {
    let commit = known(environment.commit.clone());
    commit.chars().take(10).collect()
}

fn verified(found: &Found<VerifyRecord>) -> Vec<Cell> {
    let record = &found.record;
    let sum = |count: fn(&Family) -> u64| record.families.iter().map(count).sum::<u64>();
    vec![
        Cell::text(&found.name).of(&found.path),
        Cell::text(&record.device.name),
        Cell::text(sum(|family| family.kernels).to_string()),
        Cell::text(sum(|family| family.elements).to_string()),
        Cell::text(record.findings.len().to_string()),
        Cell::text(commit(&record.environment)),
    ]
}

fn mutated(found: &Found<MutateRecord>) -> Vec<Cell> {
    let scores = &found.record.kernels;
    let sum = |count: fn(&Score) -> usize| scores.iter().map(count).sum::<usize>();
    let caught = sum(|score| score.caught() as usize);
    let survived = sum(|score| score.survivors.len());
    let part = 100.0 * caught as f64 / (caught + survived) as f64;
    vec![
        Cell::text(&found.name).of(&found.path),
        Cell::text(scores.len().to_string()),
        Cell::text((caught + survived).to_string()),
        Cell::text(sum(|score| score.equivalent.len()).to_string()),
        Cell::text(caught.to_string()),
        Cell::text(format!("{part:.1}")),
    ]
}

fn generated(found: &Found<GenerateRecord>) -> Vec<Cell> {
    let record = &found.record;
    let timings = &record.timings;
    let step = timings.median_step_seconds.map(timings::seconds);
    let speed = timings.tokens_per_second;
    vec![
        Cell::text(&found.name).of(&found.path),
        Cell::text(&record.model.device),
        Cell::text(&record.model.name),
        Cell::text(&record.config.name),
        Cell::text(timings::seconds(timings.first_token_seconds)),
        Cell::measured(step),
        Cell::measured(speed.map(|speed| format!("{speed:.1}"))),
    ]
}

/// A bench run: machine, timings, and speed-ups over the reference kernel.
pub fn bench(found: &Found<BenchRecord>) -> Section {
    let record = &found.record;
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
    let mut tables = vec![timings::table(found)];
    tables.extend(speed_up(record));
    Section {
        name: found.name.clone(),
        made: made(&record.environment),
        tables,
        notes,
        charts: charts::of(record),
    }
}

/// The command that wrote a record, its date, and the commit of its build.
pub fn made(environment: &Environment) -> String {
    let commit = environment.commit.as_deref().unwrap_or("unknown");
    format!(
        "{}; {}, commit {}",
        environment.command.join(" "),
        environment.date,
        &commit[..commit.len().min(10)]
    )
}

/// Whether the emulator took the timings.
pub fn is_emulated(record: &BenchRecord) -> bool {
    match &record.machine {
        BenchMachine::Cpu { .. } => false,
        BenchMachine::Device { properties, .. } => properties.kind == DeviceKind::Emulator,
    }
}

/// Reference kernels of products; the first that a record has is used.
const YARDSTICKS: [&str; 3] = ["cublas_bf16", "torch_linear_bf16", "torch_linear_f32"];

/// The reference kernel of a record's products.
pub fn yardstick(record: &BenchRecord) -> Option<&'static str> {
    let has = |name: &&str| {
        let mut measured = record.measured.iter();
        measured.any(|measured| measured.case.kernel == **name)
    };
    YARDSTICKS.iter().find(|name| has(name)).copied()
}

/// Speed-up of each product over the reference kernel on the same shape: kernel, tokens, factor.
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
