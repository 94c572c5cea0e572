//! Accuracy against bits, time, joules and k; cost against error.

use super::StudyRecords;
use super::compare::{Row, Set};
use crate::record::study::SpeedRecord;
use crate::report::plot::{Chart, Join, NARROW, Plot, Series};
use crate::task::metric::Unit;

/// The charts for which a model and a task have points.
pub fn of(study: &StudyRecords, set: &Set) -> Vec<Chart> {
    let mut charts = Vec::new();
    charts.extend(against_bits(study, set, "bits", "bits a weight", &|row| {
        row.weight_bits()
    }));
    charts.extend(against_bits(
        study,
        set,
        "kv",
        "bytes of keys and values a token",
        &|row| row.record.head.footprint.kv_bytes_per_token as f64,
    ));
    charts.extend(against_k(study, set));
    charts.extend(against_speed(
        study,
        set,
        "time",
        "seconds a token",
        &|record| {
            let seconds = record.repeats.iter().map(|repeat| repeat.token_seconds);
            Some(seconds.sum::<f64>() / record.repeats.len() as f64)
        },
    ));
    charts.extend(against_speed(
        study,
        set,
        "joules",
        "joules a token",
        &|record| {
            let joules: Option<f64> = record
                .repeats
                .iter()
                .map(|repeat| Some(repeat.energy?.joules))
                .sum();
            Some(joules? / (record.repeats.len() * record.output_tokens) as f64)
        },
    ));
    charts.extend(against_error(study, set));
    charts
}

fn height(set: &Set, row: &Row) -> f64 {
    match set.metric.unit {
        Unit::Percent => 100.0 * row.main.estimate.value,
        Unit::Perplexity | Unit::Plain => row.main.estimate.value,
    }
}

fn chart(
    (study, set): (&StudyRecords, &Set),
    kind: &str,
    title: String,
    axes: [&str; 2],
    series: Series,
    join: Join,
) -> Option<Chart> {
    let file = |text: &str| crate::file_name::file_name(text);
    let kind = format!(
        "{}-{}-{}-{kind}",
        study.name,
        file(set.model),
        file(set.task)
    );
    let plot = Plot {
        kind: &kind,
        title,
        axes,
        size: NARROW,
        is_log: false,
        join,
        series,
        lines: Vec::new(),
    };
    plot.draw()
}

/// Whether a row is of a whole model or a search, rather than of a single part.
fn is_whole(row: &Row) -> bool {
    row.at("layer").or(row.at("projection")).is_none()
}

/// Charts against the cost of a configuration, where costs differ.
fn against_bits(
    study: &StudyRecords,
    set: &Set,
    kind: &str,
    axis: &str,
    of: &dyn Fn(&Row) -> f64,
) -> Option<Chart> {
    let mut series = Series::new();
    let whole = set.rows.iter().filter(|row| is_whole(row));
    for row in whole.chain(&set.steps) {
        let points = series.entry(row.record.head.group.clone()).or_default();
        points.push((of(row), height(set, row)));
    }
    let taken = series.values().flatten().map(|point| point.0);
    let (least, most) = taken.fold((f64::INFINITY, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    if most - least < 1e-9 {
        return None;
    }
    let title = format!(
        "{} on {}: {} against {axis}",
        set.model, set.task, set.metric.title
    );
    let axes = [axis, set.metric.title];
    chart((study, set), kind, title, axes, series, Join::No)
}

fn against_k(study: &StudyRecords, set: &Set) -> Option<Chart> {
    let mut series = Series::new();
    for row in set.rows.iter().filter(|row| is_whole(row)) {
        let Some(k) = row.at("block_size").and_then(|k| k.parse::<f64>().ok()) else {
            continue;
        };
        let others = row
            .record
            .head
            .at
            .iter()
            .filter(|(axis, _)| axis != "block_size");
        let others: Vec<&str> = others.map(|(_, value)| value.as_str()).collect();
        let name = match others.is_empty() {
            true => row.record.head.group.clone(),
            false => format!("{}: {}", row.record.head.group, others.join(" ")),
        };
        series.entry(name).or_default().push((k, height(set, row)));
    }
    let title = format!(
        "{} on {}: {} against block size k",
        set.model, set.task, set.metric.title
    );
    let axes = ["block size k", set.metric.title];
    chart((study, set), "k", title, axes, series, Join::LeftToRight)
}

fn against_speed(
    study: &StudyRecords,
    set: &Set,
    kind: &str,
    axis: &str,
    of: &dyn Fn(&SpeedRecord) -> Option<f64>,
) -> Option<Chart> {
    let mut series = Series::new();
    // Only the first workload.
    let workload = |record: &SpeedRecord| (record.prompt_tokens, record.output_tokens);
    let mut speeds = study.speeds.iter().map(|(_, record)| record);
    let first = speeds.find(|record| record.head.model.name == set.model)?;
    let of_set = |record: &&SpeedRecord| {
        record.head.model.name == set.model && workload(record) == workload(first)
    };
    for record in study.speeds.iter().map(|(_, record)| record).filter(of_set) {
        let row = set
            .rows
            .iter()
            .find(|row| row.record.head.name == record.head.name);
        if let (Some(row), Some(x)) = (row, of(record)) {
            let points = series.entry(record.head.name.clone()).or_default();
            points.push((x, height(set, row)));
        }
    }
    let (prompt, output) = workload(first);
    let title = format!(
        "{} on {}: {} against {axis}, {prompt} tokens + {output}",
        set.model, set.task, set.metric.title
    );
    let axes = [axis, set.metric.title];
    chart((study, set), kind, title, axes, series, Join::No)
}

fn against_error(study: &StudyRecords, set: &Set) -> Option<Chart> {
    let mut series = Series::new();
    for row in &set.rows {
        let (Some(error), Some(loss)) = (&row.record.weight_error, row.loss()) else {
            continue;
        };
        if error.error.sqnr_db.is_finite() {
            let name = match row.at("projection") {
                Some(projection) => format!("{} {projection}", row.record.head.group),
                None => row.record.head.group.clone(),
            };
            series
                .entry(name)
                .or_default()
                .push((error.error.sqnr_db, loss));
        }
    }
    let title = format!(
        "{} on {}: log-likelihood lost against the SQNR of the weights",
        set.model, set.task
    );
    let axes = ["SQNR of the weights, dB", "nats lost"];
    chart((study, set), "error", title, axes, series, Join::No)
}
