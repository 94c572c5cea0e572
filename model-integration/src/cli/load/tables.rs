//! The levels of a record as tables for a terminal.

use crate::columns::aligned;
use crate::record::load::{LevelRecord, LoadRecord, Percentiles};
use crate::report::timings::seconds;

/// Rates, then latencies: together they would not fit a line.
pub fn of(record: &LoadRecord) -> String {
    let rows = |cells: fn(&LevelRecord) -> Vec<String>| -> Vec<Vec<String>> {
        let levels = record.levels.iter();
        let row = |level: &LevelRecord| [vec![level.level.to_string()], cells(level)].concat();
        levels.map(row).collect()
    };
    let rates = [
        "load",
        "requests",
        "failed",
        "tokens/s",
        "requests/s",
        "goodput/s",
    ];
    let latencies = [
        "load", "TTFT p50", "p95", "p99", "TPOT p50", "p95", "p99", "E2E p50", "p95", "p99",
    ];
    format!(
        "{}\n{}",
        aligned(1, &rates, &rows(rate_cells)),
        aligned(1, &latencies, &rows(latency_cells))
    )
}

fn rate_cells(level: &LevelRecord) -> Vec<String> {
    let goodput = level.goodput();
    vec![
        level.requests.to_string(),
        level.failed.to_string(),
        format!("{:.1}", level.output_tokens_per_second),
        format!("{:.2}", level.requests_per_second),
        goodput.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.2}")),
    ]
}

fn latency_cells(level: &LevelRecord) -> Vec<String> {
    let parts = |of: &Option<Percentiles>| match of {
        None => ["-"; 3].map(str::to_owned),
        Some(own) => [own.p50, own.p95, own.p99].map(seconds),
    };
    [&level.ttft, &level.tpot, &level.e2e].map(parts).concat()
}
