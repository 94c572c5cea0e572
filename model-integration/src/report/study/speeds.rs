//! Time, memory and energy of generations.

use std::collections::BTreeMap;

use mxlab_harness::measure::student_interval;

use super::StudyRecords;
use crate::record::study::{Repeat, SpeedRecord};
use crate::report::table::{Cell, NOT_MEASURED, Table};
use crate::report::timings::seconds;

/// One table per model.
pub fn tables(study: &StudyRecords) -> Vec<Table> {
    let mut models: BTreeMap<&str, Vec<&(String, SpeedRecord)>> = BTreeMap::new();
    for record in &study.speeds {
        models
            .entry(&record.1.head.model.name)
            .or_default()
            .push(record);
    }
    models
        .into_iter()
        .map(|(model, records)| speeds_of(model, records))
        .collect()
}

fn speeds_of(model: &str, mut records: Vec<&(String, SpeedRecord)>) -> Table {
    records.sort_by_key(|(_, record)| {
        (
            record.prompt_tokens,
            record.output_tokens,
            record.head.number,
        )
    });
    let first = records.first().map(|(_, record)| record);
    let (device, repeats) = first.map_or(("", 0), |record| {
        (record.head.model.device.as_str(), record.repeats.len())
    });
    let threads = first.map_or(0, |record| record.threads);
    let caption = format!(
        "{model} on {device}, {threads} threads: greedy generation of one sequence, mean of \
         {repeats} times after one that does not count, ± the 95 % interval by Student's t"
    );
    let header = [
        "prompt x output",
        "configuration",
        "first token",
        "token",
        "tokens/s",
        "weights MiB",
        "peak MiB",
        "J/token",
    ];
    let mut table = Table::new(caption, 2, &header);
    for (path, record) in records {
        let mean = |of: &dyn Fn(&Repeat) -> f64| {
            let values: Vec<f64> = record.repeats.iter().map(of).collect();
            student_interval(&values)
        };
        let time = |of| match mean(of) {
            None => NOT_MEASURED.to_owned(),
            Some((mean, half)) => format!("{} ±{:.0}%", seconds(mean), 100.0 * half / mean),
        };
        let rate = mean(&|repeat| repeat.tokens_per_second);
        let joules: Option<f64> = record
            .repeats
            .iter()
            .map(|repeat| Some(repeat.energy?.joules))
            .sum();
        let tokens = (record.output_tokens.saturating_sub(1) * record.repeats.len()) as f64;
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        table.rows.push(vec![
            Cell::text(format!("{}x{}", record.prompt_tokens, record.output_tokens)),
            Cell::text(&record.head.name).of(path),
            Cell::text(time(&|repeat| repeat.first_token_seconds)).of(path),
            Cell::text(time(&|repeat| repeat.token_seconds)),
            Cell::measured(rate.map(|(mean, half)| format!("{mean:.1}±{half:.1}"))),
            Cell::text(mebibytes(record.head.footprint.weight_bytes)),
            Cell::measured(record.peak_memory_bytes.map(mebibytes)),
            Cell::measured(joules.map(|joules| format!("{:.3e}", joules / tokens))),
        ]);
    }
    table
}
