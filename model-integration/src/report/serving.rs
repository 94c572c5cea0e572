//! Load on endpoints: latencies and rates, and their chart.

use super::html::Section;
use super::plot::{Chart, Join, NARROW, Plot, Series};
use super::records::Found;
use super::table::{Cell, Table};
use super::timings::seconds;
use crate::load::soak::kept;
use crate::record::load::{LevelRecord, LoadRecord, LoadSettings, Percentiles};
use crate::record::soak::{ActRecord, MemorySample, SoakRecord};

/// Columns of a table of levels.
const HEADER: [&str; 14] = [
    "load",
    "requests",
    "failed",
    "TTFT p50",
    "p95",
    "p99",
    "TPOT p50",
    "p95",
    "p99",
    "E2E p50",
    "p95",
    "tokens/s",
    "requests/s",
    "goodput/s",
];

/// A row of such a table.
fn cells(level: &LevelRecord) -> Vec<String> {
    let time = |of: Option<Percentiles>, part: fn(&Percentiles) -> f64| {
        of.as_ref()
            .map_or_else(|| "-".to_owned(), |own| seconds(part(own)))
    };
    let goodput = level.goodput();
    vec![
        level.level.to_string(),
        level.requests.to_string(),
        level.failed.to_string(),
        time(level.ttft, |own| own.p50),
        time(level.ttft, |own| own.p95),
        time(level.ttft, |own| own.p99),
        time(level.tpot, |own| own.p50),
        time(level.tpot, |own| own.p95),
        time(level.tpot, |own| own.p99),
        time(level.e2e, |own| own.p50),
        time(level.e2e, |own| own.p95),
        format!("{:.1}", level.output_tokens_per_second),
        format!("{:.2}", level.requests_per_second),
        goodput.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.2}")),
    ]
}

/// A load record: its levels, failures and charts.
pub fn section(found: &Found<LoadRecord>) -> Section {
    let record = &found.record;
    let caption = format!(
        "{} at {}: {}",
        record.settings.model,
        record.url,
        what(&record.settings)
    );
    let mut table = Table::new(caption, 1, &HEADER);
    for level in &record.levels {
        let mut row: Vec<Cell> = cells(level).into_iter().map(Cell::text).collect();
        row[0] = row[0].clone().of(&found.path);
        table.rows.push(row);
    }
    let mut notes: Vec<String> = record.levels.iter().flat_map(level_notes).collect();
    notes.push(EXPLAINED.to_owned());
    if record.levels.iter().any(|level| level.met.is_some()) {
        notes.push("Goodput is of the answers within the targets.".to_owned());
    }
    if !record.is_complete {
        notes.push("The run was interrupted: levels are missing.".to_owned());
    }
    let series = [(String::new(), record.levels.as_slice())];
    Section {
        name: found.name.clone(),
        made: super::tables::made(&record.environment),
        tables: vec![table],
        notes,
        charts: charts("", &found.name, &series),
    }
}

/// How the columns are to be read.
pub const EXPLAINED: &str = "Latencies count from when a request was due. Rates are of all tokens \
    and answers between the first measured request and the end of the last one.";

/// What was sent, in words.
pub fn what(settings: &LoadSettings) -> String {
    let LoadSettings {
        prompts,
        output_tokens,
        requests,
        targets,
        ..
    } = settings;
    let mut text = format!(
        "prompts of {prompts}, answers of {output_tokens} tokens, {requests} requests a level"
    );
    let targets = [
        ("TTFT", targets.ttft),
        ("TPOT", targets.tpot),
        ("E2E", targets.e2e),
    ];
    for (name, target) in targets {
        if let Some(target) = target {
            text += &format!(", {name} at most {}", seconds(target));
        }
    }
    text
}

fn level_notes(level: &LevelRecord) -> impl Iterator<Item = String> {
    level
        .failures
        .iter()
        .map(|(kind, failures)| format!("{}: {}", level.level, failures.line(kind)))
}

/// Latency against throughput: a series of levels for each name.
pub fn charts(prefix: &str, title: &str, series: &[(String, &[LevelRecord])]) -> Vec<Chart> {
    let chart = |kind: &str, latency: &str, of: fn(&LevelRecord) -> Option<Percentiles>| {
        let mut all = Series::new();
        for (name, levels) in series {
            for part in ["p50", "p95"] {
                let points = levels.iter().filter_map(|level| {
                    let latency = of(level)?;
                    let seconds = match part {
                        "p50" => latency.p50,
                        _ => latency.p95,
                    };
                    Some((level.output_tokens_per_second, 1e3 * seconds))
                });
                let points = points.filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
                all.insert(format!("{name} {part}").trim().to_owned(), points);
            }
        }
        let plot = Plot {
            kind: &format!("{prefix}{kind}"),
            title: format!("{title}: {latency} against throughput"),
            axes: ["tokens a second", &format!("{latency}, ms")],
            size: NARROW,
            is_log: true,
            join: Join::InOrder,
            series: all,
            lines: Vec::new(),
        };
        plot.draw()
    };
    let ttft = chart("ttft", "time to first token", |level| level.ttft);
    let tpot = chart("tpot", "time per output token", |level| level.tpot);
    [ttft, tpot].into_iter().flatten().collect()
}

/// A soak: what clients did, what became of them, and the memory of the server.
pub fn soak(found: &Found<SoakRecord>) -> Section {
    let record = &found.record;
    let soaked = &record.soaked;
    let caption = format!(
        "{} at {}: {} clients at a time, prompts of {}, answers of {} tokens, in {}",
        record.model,
        record.url,
        record.clients,
        record.prompts,
        record.output_tokens,
        seconds(soaked.seconds)
    );
    let mut table = Table::new(caption, 1, &ActRecord::COLUMNS);
    for (name, act) in &soaked.acts {
        let mut row = vec![Cell::text(name).of(&found.path)];
        row.extend(act.counts().map(|count| Cell::text(count.to_string())));
        table.rows.push(row);
    }
    let mut notes: Vec<String> = soaked
        .failures
        .iter()
        .map(|(kind, own)| own.line(kind))
        .collect();
    notes.extend(soaked.growth.map(|growth| {
        format!(
            "After the first tenth of {} answers the server kept at most {:+.2} % more memory: \
             medians of the least memory in each tenth.",
            soaked.answered,
            100.0 * growth
        )
    }));
    notes.extend(
        soaked
            .unfinished
            .map(|left| format!("When no client was left, the server had {left} sequences.")),
    );
    Section {
        name: found.name.clone(),
        made: super::tables::made(&record.environment),
        tables: vec![table],
        notes,
        charts: memory(&found.name, record).into_iter().collect(),
    }
}

fn memory(title: &str, record: &SoakRecord) -> Option<Chart> {
    let samples = &record.soaked.memory;
    let points = |bytes: fn(&MemorySample) -> u64| {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let points = samples.iter();
        let points = points.map(|sample| (sample.answered as f64, mebibytes(bytes(sample))));
        points.collect()
    };
    let series = [
        ("least".to_owned(), points(|sample| sample.least_bytes)),
        ("most".to_owned(), points(|sample| sample.most_bytes)),
    ];
    let answered = record.soaked.answered;
    let kept = kept(samples, answered, 1).map(|bytes| {
        let mebibytes = bytes as f64 / f64::from(1 << 20);
        let name = "kept in the second tenth".to_owned();
        (name, vec![(0.0, mebibytes), (answered as f64, mebibytes)])
    });
    let plot = Plot {
        kind: "memory",
        title: format!("{title}: memory of the server"),
        axes: ["answers", "MiB"],
        size: NARROW,
        is_log: false,
        join: Join::InOrder,
        series: Series::from(series),
        lines: kept.into_iter().collect(),
    };
    plot.draw()
}
