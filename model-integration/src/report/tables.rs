//! What was timed and verified, in words and tables.

use std::fmt::Write;

use mxlab_benches::record::{BenchMachine, Measured};
use mxlab_benches::{BenchRecord, Case};
use mxlab_harness::device::DeviceKind;
use serde_json::Value;

use super::records::Records;
use super::timings;
use crate::columns::markdown;

/// Title, and what was verified and generated.
pub fn head(records: &Records) -> String {
    let mut text = String::from(
        "# Measurements\n\nMade by `mxlab report` of the records beside it. What has no record was not measured.\n\n",
    );
    if !records.verified.is_empty() {
        let rows: Vec<Vec<String>> = records.verified.iter().map(verified).collect();
        text.push_str("## Verified\n\n");
        let header = ["record", "device", "kernels", "elements", "wrong", "commit"];
        text.push_str(&markdown(2, &header, &rows));
        text.push('\n');
    }
    if !records.generated.is_empty() {
        let rows: Vec<Vec<String>> = records.generated.iter().map(generated).collect();
        text.push_str("## Generated\n\n");
        let header = [
            "record",
            "device",
            "model",
            "configuration",
            "first token",
            "token",
            "tokens/s",
        ];
        text.push_str(&markdown(4, &header, &rows));
        text.push('\n');
    }
    text
}

/// A value at a path of keys as text; what is not there was not measured.
fn at(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        None | Some(Value::Null) => timings::NOT_MEASURED.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn commit(value: &Value) -> String {
    let commit = at(value, "/environment/commit");
    commit.chars().take(10).collect()
}

fn verified((name, value): &(String, Value)) -> Vec<String> {
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
        name.clone(),
        at(value, "/device/name"),
        sum("kernels"),
        sum("elements"),
        findings.map_or(timings::NOT_MEASURED.to_owned(), |list| {
            list.len().to_string()
        }),
        commit(value),
    ]
}

fn generated((name, value): &(String, Value)) -> Vec<String> {
    let seconds = |path: &str| match value.pointer(path).and_then(Value::as_f64) {
        Some(seconds) => timings::seconds(seconds),
        None => timings::NOT_MEASURED.to_owned(),
    };
    let speed = value.pointer("/timings/tokens_per_second");
    let speed = speed.and_then(Value::as_f64);
    vec![
        name.clone(),
        at(value, "/model/device"),
        at(value, "/model/name"),
        at(value, "/config/name"),
        seconds("/timings/first_token_seconds"),
        seconds("/timings/median_step_seconds"),
        speed.map_or(timings::NOT_MEASURED.to_owned(), |speed| {
            format!("{speed:.1}")
        }),
    ]
}

/// A run of the bench: where, what, and how much faster than what everyone has.
pub fn bench(name: &str, record: &BenchRecord) -> String {
    let mut text = format!("## {name}\n\n");
    let environment = &record.environment;
    let commit = environment.commit.as_deref().unwrap_or("unknown");
    let _ = writeln!(text, "    {}\n", environment.command.join(" "));
    let _ = writeln!(
        text,
        "{}, commit {}.\n",
        environment.date,
        &commit[..commit.len().min(10)]
    );
    if is_emulated(record) {
        text.push_str("The emulator stood in for a GPU: its times say nothing of one.\n\n");
    }
    for peer in &record.peers {
        let versions = peer.versions.iter();
        let versions: Vec<String> = versions
            .map(|(of, version)| format!("{of} {version}"))
            .collect();
        let _ = writeln!(text, "Beside it {}: {}.\n", peer.name, versions.join(", "));
    }
    text.push_str(&timings::markdown(record));
    text.push('\n');
    if let Some(table) = speed_up(record) {
        text.push_str(&table);
        text.push('\n');
    }
    text
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

fn speed_up(record: &BenchRecord) -> Option<String> {
    let speed_ups = speed_ups(record);
    if speed_ups.is_empty() {
        return None;
    }
    let rows: Vec<Vec<String>> = speed_ups
        .iter()
        .map(|(case, times)| {
            vec![
                case.kernel.clone(),
                case.shape().to_string(),
                format!("{times:.2}"),
            ]
        })
        .collect();
    let of = format!("times as fast as {}", yardstick(record)?);
    Some(markdown(2, &["kernel", "shape", &of], &rows))
}
