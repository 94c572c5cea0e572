//! Latency and throughput of servers under load.

use std::collections::BTreeMap;

use super::StudyRecords;
use crate::record::load::{Level, Percentiles};
use crate::record::study::ServingRecord;
use crate::report::plot::Chart;
use crate::report::serving;
use crate::report::table::{Cell, Table};
use crate::report::timings::seconds;
use crate::study::expand::BASELINE;

/// The cells of a model, by configuration and level.
struct Loads<'a> {
    model: &'a str,
    records: Vec<&'a (String, ServingRecord)>,
}

/// The table, charts and findings of each model under load.
pub fn of(study: &StudyRecords) -> (Vec<Table>, Vec<Chart>, Vec<String>) {
    let mut models: BTreeMap<&str, Vec<&(String, ServingRecord)>> = BTreeMap::new();
    for record in &study.servings {
        let model = &record.1.head.model.name;
        models.entry(model).or_default().push(record);
    }
    let (mut tables, mut charts, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    for (model, mut records) in models {
        records.sort_by_key(|(_, record)| (record.head.number, in_flight(record)));
        let loads = Loads { model, records };
        tables.push(loads.table());
        charts.extend(loads.charts(&study.name));
        findings.extend(loads.findings());
    }
    (tables, charts, findings)
}

fn in_flight(record: &ServingRecord) -> usize {
    match record.level.level {
        Level::Concurrency(count) => count,
        Level::Rate(_) => 0,
    }
}

impl Loads<'_> {
    /// The baseline with as many requests in flight.
    fn baseline(&self, record: &ServingRecord) -> Option<&ServingRecord> {
        let is_same = |other: &&ServingRecord| {
            other.head.name == BASELINE && in_flight(other) == in_flight(record)
        };
        let mut records = self.records.iter().map(|(_, record)| record);
        records.find(is_same)
    }

    fn table(&self) -> Table {
        let first = self.records.first().map(|(_, record)| record);
        let what = first.map_or_else(String::new, |record| {
            let device = &record.head.model.device;
            format!(
                "{} on {device}: {}",
                self.model,
                serving::what(&record.settings)
            )
        });
        let header = [
            "configuration",
            "in flight",
            "tokens/s",
            "of baseline's",
            "TTFT p50",
            "p95",
            "TPOT p50",
            "p95",
            "E2E p50",
            "p95",
            "weights MiB",
            "KV B/token",
            "peak MiB",
        ];
        let mut table = Table::new(what, 1, &header);
        let time = |of: Option<Percentiles>, part: fn(&Percentiles) -> f64| {
            Cell::measured(of.as_ref().map(|own| seconds(part(own))))
        };
        let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        for (path, record) in &self.records {
            let (level, head) = (&record.level, &record.head);
            let rate = level.output_tokens_per_second;
            let times = self.baseline(record);
            let times = times.map(|base| rate / base.level.output_tokens_per_second);
            table.rows.push(vec![
                Cell::text(&head.name).of(path),
                Cell::text(in_flight(record).to_string()),
                Cell::text(format!("{rate:.1}")),
                Cell::measured(times.map(|times| format!("{times:.2}"))),
                time(level.ttft, |own| own.p50),
                time(level.ttft, |own| own.p95),
                time(level.tpot, |own| own.p50),
                time(level.tpot, |own| own.p95),
                time(level.e2e, |own| own.p50),
                time(level.e2e, |own| own.p95),
                Cell::text(mebibytes(head.footprint.weight_bytes)),
                Cell::text(head.footprint.kv_bytes_per_token.to_string()),
                Cell::measured(record.peak_memory_bytes.map(mebibytes)),
            ]);
        }
        table
    }

    fn charts(&self, study: &str) -> Vec<Chart> {
        let mut series = Vec::new();
        for (_, record) in &self.records {
            let (name, level) = (&record.head.name, record.level.clone());
            match series.last_mut() {
                Some((last, levels)) if last == name => Vec::push(levels, level),
                _ => series.push((name.clone(), vec![level])),
            }
        }
        let series: Vec<_> = series
            .iter()
            .map(|(name, levels)| (name.clone(), levels.as_slice()))
            .collect();
        let prefix = format!("{study}-{}-", crate::file_name::file_name(self.model));
        serving::charts(&prefix, self.model, &series)
    }

    /// For each configuration, where it gains most and least on the baseline.
    fn findings(&self) -> Vec<String> {
        let mut gains: BTreeMap<(usize, &str), Vec<(f64, usize)>> = BTreeMap::new();
        for (_, record) in &self.records {
            let rate = record.level.output_tokens_per_second;
            let base = self
                .baseline(record)
                .filter(|_| record.head.name != BASELINE);
            if let Some(base) = base {
                let gain = rate / base.level.output_tokens_per_second;
                let own = (record.head.number, record.head.name.as_str());
                gains
                    .entry(own)
                    .or_default()
                    .push((gain, in_flight(record)));
            }
        }
        let sentence = |((_, name), mut gains): ((usize, &str), Vec<(f64, usize)>)| {
            gains.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (least, most) = (gains.first()?, gains.last()?);
            let model = self.model;
            Some(format!(
                "{model}: {name} gives {:.2} times the baseline's tokens a second with {} in \
                 flight, {:.2} times with {}.",
                least.0, least.1, most.0, most.1
            ))
        };
        gains.into_iter().filter_map(sentence).collect()
    }
}
