//! Greedy search for the largest part of a model that can be quantised. Parts are tried in
//! ascending order of log-likelihood lost per bit saved. A part is kept if the accuracy with all
//! kept parts allows it.
//!
//! Parts are tried in groups. The group doubles after a success and halves after a failure; a part
//! that fails alone is left out. So a few evaluations decide most of a model, and every kept set
//! has been evaluated as a whole.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use super::cell::{Cell, Work};
use super::expand::{self, StudyConfig};
use super::file::Search;
use super::folder;
use super::score::{Scored, head};
use crate::config::{Projection, QuantConfig};
use crate::record::result::MetricResult;
use crate::record::study::{CellRecord, Part, ScoreRecord, SearchRecord, Step};
use crate::task::metric::Metric;

/// A part that can be quantised.
struct Unit {
    layer: usize,
    projection: Projection,
    cost: f64,
}

impl Unit {
    fn part(&self) -> Part {
        Part {
            layer: self.layer,
            projection: self.projection.name().to_owned(),
            cost: self.cost,
        }
    }
}

/// The first metric of the first task.
fn first(record: &ScoreRecord) -> Result<&MetricResult> {
    let first = record.tasks.first();
    let first = first.and_then(|task| task.result.metrics.first());
    first.context("the first task has no metric")
}

/// The mean log-likelihood of the first task. If it has none, its first metric, with the sign that
/// makes more better.
fn likelihood(record: &ScoreRecord) -> Result<f64> {
    let task = record.tasks.first().context("there is a task")?;
    Ok(match task.result.metric(Metric::LOGLIKELIHOOD) {
        Some(result) => result.estimate.value,
        None => sign(first(record)?.metric) * first(record)?.estimate.value,
    })
}

/// 1 if more is better, else -1.
fn sign(metric: &Metric) -> f64 {
    if metric.is_higher_better() { 1.0 } else { -1.0 }
}

/// Runs the search, given the records of all single parts and of the baseline. `evaluate` scores a
/// cell; if it returns `None`, so does the search.
///
/// # Errors
/// If a record is missing; errors of `evaluate`.
pub fn run(
    scored: &Scored,
    search: &Search,
    seed: u32,
    (cells, records): (&[Cell], &Path),
    evaluate: &mut dyn FnMut(&Cell) -> Result<Option<CellRecord>>,
) -> Result<Option<CellRecord>> {
    let frozen = &scored.study.frozen;
    let find = |cell: &Cell| -> Result<ScoreRecord> {
        match folder::find(records, &cell.id(), frozen)? {
            Some(CellRecord::Score(record)) => Ok(*record),
            _ => anyhow::bail!("`{}` is not done", cell.id()),
        }
    };
    let of_seed = |cell: &&Cell| cell.work == Work::Score { seed };
    let baseline = cells.iter().filter(of_seed).find(|cell| cell.is_baseline());
    let baseline = find(baseline.context("there is a baseline")?)?;
    let whole = whole(scored.study, &search.config)?;
    let metric = first(&baseline)?.metric;
    let full = first(&baseline)?.estimate.value;
    let full_likelihood = likelihood(&baseline)?;
    let bound = full - sign(metric) * search.most_lost;
    let weight_bytes = baseline.head.footprint.weight_bytes;

    let mut units = Vec::new();
    for cell in cells.iter().filter(of_seed) {
        let Some((layer, projection)) = unit(&cell.config, &search.config) else {
            continue;
        };
        let record = find(cell)?;
        let lost = full_likelihood - likelihood(&record)?;
        let saved = 8 * weight_bytes.saturating_sub(record.head.footprint.weight_bytes);
        units.push(Unit {
            layer,
            projection,
            cost: lost / saved.max(1) as f64,
        });
    }
    units.sort_by(|a, b| a.cost.total_cmp(&b.cost));

    let mut steps = Vec::new();
    let mut best = expand::only(&whole, &format!("{}+search", search.config), &[]);
    let end = keep(units.len(), |kept, tried| {
        let parts = kept.iter().copied().chain(tried.clone());
        let parts: Vec<_> = parts
            .map(|unit| (Some(units[unit].layer), Some(units[unit].projection)))
            .collect();
        let number = steps.len();
        let name = format!("{}+search{number:03}", search.config);
        let config = StudyConfig {
            config: expand::only(&whole, &name, &parts),
            group: format!("{} search", search.config),
            at: vec![("step".to_owned(), number.to_string())],
            number: cells.len() + number,
        };
        let cell = Cell {
            model: cells[0].model.clone(),
            config,
            work: Work::Score { seed },
        };
        let record = match folder::find(records, &cell.id(), frozen)? {
            Some(record) => Some(record),
            None => evaluate(&cell)?,
        };
        let Some(CellRecord::Score(record)) = record else {
            return Ok(None);
        };
        let value = first(&record)?.estimate.value;
        let is_kept = sign(metric) * (value - bound) >= 0.0;
        steps.push(Step {
            parts: units[tried].iter().map(Unit::part).collect(),
            value,
            is_kept,
            weight_bytes: record.head.footprint.weight_bytes,
        });
        if is_kept {
            best.overrides = cell.config.config.overrides;
        }
        Ok(Some(is_kept))
    })?;
    if end.is_none() {
        return Ok(None);
    }
    let found = StudyConfig {
        config: best,
        group: format!("{} search", search.config),
        at: Vec::new(),
        number: cells.len() + steps.len(),
    };
    Ok(Some(CellRecord::Search(Box::new(SearchRecord {
        head: head(scored.study, scored.engine, &found)?,
        seed,
        metric,
        bound,
        baseline: full,
        steps,
    }))))
}

/// Goes through `count` units in order. `allows` tells whether more units can be kept beside those
/// that are. Returns the kept ones, or `None` if `allows` does.
fn keep(
    count: usize,
    mut allows: impl FnMut(&[usize], Range<usize>) -> Result<Option<bool>>,
) -> Result<Option<Vec<usize>>> {
    let (mut kept, mut next, mut at_a_time) = (Vec::new(), 0, 1);
    while next < count {
        let tried = next..count.min(next + at_a_time);
        let Some(is_allowed) = allows(&kept, tried.clone())? else {
            return Ok(None);
        };
        if is_allowed {
            next = tried.end;
            at_a_time *= 2;
            kept.extend(tried);
        } else if tried.len() == 1 {
            next = tried.end;
        } else {
            at_a_time = tried.len() / 2;
        }
    }
    Ok(Some(kept))
}

/// The name of a search in file names.
pub fn id(model: &str, seed: u32, search: &Search) -> String {
    let model = crate::file_name::file_name(model);
    format!("search.{model}.{seed}.{}", search.config)
}

/// The configuration before it is split into parts.
fn whole(study: &super::Study, name: &str) -> Result<QuantConfig> {
    let tables = &study.file.config.0;
    let table = tables.iter().find(|(own, _)| own == name);
    let (_, table) = table.context("checked")?;
    let source = crate::config::file::Source {
        file: &study.name,
        text: &study.frozen.text,
    };
    Ok(table.resolve(name, source, &crate::config::FormatFlags::default())?)
}

/// The part that a configuration quantises, if it belongs to the search.
fn unit(config: &StudyConfig, group: &str) -> Option<(usize, Projection)> {
    let at = |axis: &str| {
        let found = config.at.iter().find(|(own, _)| own == axis);
        found.map(|(_, value)| value.as_str())
    };
    let layer = at("layer")?.parse().ok()?;
    let name = at("projection")?;
    let projection = Projection::ALL.into_iter().find(|one| one.name() == name)?;
    (config.group == group).then_some((layer, projection))
}

#[cfg(test)]
mod tests {
    use super::keep;

    /// If losses add up, trying one by one gives the same result.
    #[test]
    fn some_at_a_time_keep_what_one_by_one_would() {
        for seed in 0..200 {
            let random = |i: u64| mxlab_kernels::format::random_at(seed, i);
            let lost: Vec<u32> = (0..70)
                .map(|i| {
                    if random(i) % 16 == 0 {
                        1000
                    } else {
                        random(i) % 9
                    }
                })
                .collect();
            let bound = random(70) % 400;
            let (mut expected, mut sum) = (Vec::new(), 0);
            for (unit, &lost) in lost.iter().enumerate() {
                if sum + lost <= bound {
                    expected.push(unit);
                    sum += lost;
                }
            }
            let kept = keep(lost.len(), |kept, more| {
                let all = kept.iter().copied().chain(more);
                Ok(Some(all.map(|unit| lost[unit]).sum::<u32>() <= bound))
            });
            assert_eq!(kept.expect("no error"), Some(expected));
        }
        let none = keep(3, |_, _| Ok(None)).expect("no error");
        assert_eq!(none, None);
        let mut count = 0;
        keep(1000, |_, _| {
            count += 1;
            Ok(Some(true))
        })
        .expect("no error");
        assert_eq!(count, 10);
    }
}
