//! Tables of a study: accuracy, errors and searches.

use std::collections::BTreeMap;

use super::StudyRecords;
use super::compare::{LEVEL, Row, Set};
use crate::record::study::{Part, SearchRecord};
use crate::report::reference::{Published, Reference};
use crate::report::table::{Cell, Table};
use crate::task::metric::{Metric, Unit};

/// A number in the metric's unit.
pub fn written(metric: &Metric, value: f64) -> String {
    match metric.unit {
        Unit::Percent => format!("{:.1}", 100.0 * value),
        Unit::Perplexity | Unit::Plain => format!("{value:.4}"),
    }
}

fn signed(metric: &Metric, value: f64) -> String {
    match metric.unit {
        Unit::Percent => format!("{:+.2}", 100.0 * value),
        Unit::Perplexity | Unit::Plain => format!("{value:+.4}"),
    }
}

fn p_value(p: f64) -> String {
    match p {
        p if p < 0.0001 => "<0.0001".to_owned(),
        p => format!("{p:.4}"),
    }
}

/// The direction of a difference, or that it is within noise.
fn direction(p: f64, better: bool) -> &'static str {
    match (p < LEVEL, better) {
        (false, _) => "noise",
        (true, true) => "better",
        (true, false) => "worse",
    }
}

/// What each configuration costs each model: a table for each task of several models.
pub fn across(sets: &[Set]) -> Vec<Table> {
    let mut tasks: Vec<&str> = Vec::new();
    for set in sets {
        if !tasks.contains(&set.task) {
            tasks.push(set.task);
        }
    }
    let table = |task: &str| {
        let of_task: Vec<&Set> = sets.iter().filter(|set| set.task == task).collect();
        if of_task.len() < 2 {
            return None;
        }
        let names: Vec<String> = of_task.iter().map(|set| set.model_name()).collect();
        let mut header = vec!["configuration", "format"];
        header.extend(names.iter().map(String::as_str));
        let caption = format!(
            "{task}: log-likelihood lost by each model, with the paired standard error; `≈` is \
             within noise"
        );
        let mut table = Table::new(caption, 2, &header);
        let mut configs: Vec<&Row> = Vec::new();
        for row in of_task.iter().flat_map(|set| set.rows.iter()) {
            let is_known = configs.iter().any(|known| known.name() == row.name());
            if row.against.is_some() && !is_known {
                configs.push(row);
            }
        }
        for config in configs {
            let mut cells = vec![
                Cell::text(config.name()),
                Cell::text(config.record.head.operands.clone()),
            ];
            for set in &of_task {
                let found = set.rows.iter().find(|row| row.name() == config.name());
                let found = found.and_then(|row| Some((row, row.against?.likelihood?)));
                cells.push(match found {
                    None => Cell::measured(None),
                    Some((row, test)) => {
                        let noise = if test.p >= LEVEL { " ≈" } else { "" };
                        let lost = -test.difference.value + 0.0;
                        let error = test.difference.stderr;
                        let error = error.map_or_else(String::new, |error| format!("±{error:.4}"));
                        Cell::text(format!("{lost:.4}{error}{noise}")).of(row.path)
                    }
                });
            }
            table.rows.push(cells);
        }
        (!table.rows.is_empty()).then_some(table)
    };
    tasks.into_iter().filter_map(table).collect()
}

/// All configurations.
pub fn scores(study: &StudyRecords, set: &Set, reference: Option<&Reference>) -> Table {
    let published = |row: &Row| -> Option<Published> {
        reference?.find(&row.record.head.group, &row.record.head.at)
    };
    let mut beyond_baseline = set.rows.iter().filter(|row| !row.is_baseline());
    let has_published = beyond_baseline.any(|row| published(row).is_some());
    let likelihood = set
        .rows
        .iter()
        .any(|row| row.metric(Metric::LOGLIKELIHOOD).is_some());
    let title = set.metric.title;
    let delta = format!("Δ {title}");
    let mut header = vec![
        "configuration",
        "format",
        "bits/weight",
        "KV B/token",
        title,
        &delta,
        "p",
    ];
    if likelihood {
        header.extend(["Δ log-lik", "p"]);
    }
    header.push("examples/s");
    if has_published {
        header.extend(["published", "its Δ"]);
    }
    let examples = set.rows.first().map_or(0, |row| row.scores.result.examples);
    let mut caption = format!("{} on {}, {examples} examples", set.model_name(), set.task);
    if let (Some(reference), true) = (reference, has_published) {
        caption += &format!(". Published: {}", reference.about);
    }
    let mut table = Table::new(caption, 2, &header);
    for row in &set.rows {
        let head = &row.record.head;
        let better = |value: f64| (value > 0.0) == set.metric.is_higher_better();
        let error = row.main.estimate.stderr;
        let error = error.map(|error| format!("±{}", written(set.metric, error)));
        let mut cells = vec![
            Cell::text(row.name()).of(row.path),
            Cell::text(&head.description),
            Cell::text(format!("{:.2}", row.weight_bits())),
            Cell::text(head.footprint.kv_bytes_per_token.to_string()),
            Cell::text(written(set.metric, row.main.estimate.value) + &error.unwrap_or_default())
                .of(row.path),
        ];
        match row.against {
            None => cells.extend([Cell::text("-"), Cell::text("-")]),
            Some(against) => {
                let value = against.difference.value;
                let range = match (against.interval, against.difference.stderr) {
                    (Some([low, high]), _) => {
                        format!(
                            " [{}, {}]",
                            signed(set.metric, low),
                            signed(set.metric, high)
                        )
                    }
                    (None, Some(stderr)) => format!("±{}", written(set.metric, stderr)),
                    _ => String::new(),
                };
                let noise = if against.is_noise() { "≈ " } else { "" };
                let class = direction(against.p, better(value));
                let text = format!("{noise}{}{range}", signed(set.metric, value));
                cells.push(Cell::text(text).class(class));
                cells.push(Cell::text(p_value(against.p)));
            }
        }
        if likelihood {
            match row.against.and_then(|against| against.likelihood) {
                None => cells.extend([Cell::text("-"), Cell::text("-")]),
                Some(test) => {
                    let value = test.difference.value;
                    let noise = if test.p >= LEVEL { "≈ " } else { "" };
                    let error = test.difference.stderr.unwrap_or(f64::NAN);
                    let text = format!("{noise}{value:+.4}±{error:.4}");
                    cells.push(Cell::text(text).class(direction(test.p, value > 0.0)));
                    cells.push(Cell::text(p_value(test.p)));
                }
            }
        }
        let speed = study.examples_per_second.get(row.path);
        cells.push(Cell::measured(speed.map(|speed| format!("{speed:.0}"))));
        if has_published {
            match published(row) {
                None => cells.extend([Cell::text("-"), Cell::text("-")]),
                Some(published) => {
                    let Published {
                        acc,
                        stderr,
                        from_baseline,
                    } = published;
                    let text = format!("{:.1}±{:.1}", 100.0 * acc, 100.0 * stderr);
                    cells.push(Cell::text(text));
                    cells.push(Cell::text(format!("{:+.2}", 100.0 * from_baseline)));
                }
            }
        }
        table.rows.push(cells);
    }
    table
}

/// The loss from each layer and projection alone.
pub fn heat(set: &Set) -> Vec<Table> {
    let mut groups: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &set.rows {
        if row.at("layer").is_some() && row.at("projection").is_some() {
            groups.entry(&row.record.head.group).or_default().push(row);
        }
    }
    let table = |(group, rows): (&str, Vec<&Row>)| {
        let mut projections: Vec<&str> = Vec::new();
        let mut layers: BTreeMap<usize, BTreeMap<&str, &Row>> = BTreeMap::new();
        for row in &rows {
            let (layer, projection) = (row.at("layer")?, row.at("projection")?);
            if !projections.contains(&projection) {
                projections.push(projection);
            }
            layers
                .entry(layer.parse().ok()?)
                .or_default()
                .insert(projection, row);
        }
        let order = |name: &str| {
            let all = crate::config::Projection::ALL;
            all.into_iter().position(|own| own.name() == name)
        };
        projections.sort_by_key(|name| order(name));
        let most = rows.iter().filter_map(|row| row.loss()).fold(0.0, f64::max);
        let caption = format!(
            "{} on {}: log-likelihood lost by quantising one projection of one layer ({group})",
            set.model, set.task
        );
        let mut header = vec!["layer"];
        header.extend(&projections);
        let mut table = Table::new(caption, 1, &header);
        for (layer, parts) in layers {
            let mut cells = vec![Cell::text(layer.to_string())];
            for projection in &projections {
                let row = parts.get(projection);
                cells.push(match row.and_then(|row| Some((row, row.loss()?))) {
                    None => Cell::measured(None),
                    Some((row, loss)) => Cell::text(format!("{:.4}", loss + 0.0))
                        .of(row.path)
                        .shaded((loss / most).clamp(-1.0, 1.0)),
                });
            }
            table.rows.push(cells);
        }
        Some(table)
    };
    groups.into_iter().filter_map(table).collect()
}

/// Errors of the weights beside the losses; not for studies of single parts.
pub fn weights(set: &Set) -> Option<Table> {
    let header = [
        "configuration",
        "SQNR dB",
        "cosine",
        "relative error",
        "scale bytes",
        "bits/element",
        "log-lik lost",
    ];
    let caption = format!("{}: the quantised weights by themselves", set.model);
    let mut table = Table::new(caption, 1, &header);
    for row in &set.rows {
        let Some(error) = &row.record.weight_error else {
            continue;
        };
        if row.at("layer").or(row.at("projection")).is_some() {
            continue;
        }
        let bits = 8.0 * (error.code_bytes + error.scale_bytes) as f64 / error.elements as f64;
        table.rows.push(vec![
            Cell::text(row.name()).of(row.path),
            Cell::text(format!("{:.2}", error.error.sqnr_db)),
            Cell::text(format!("{:.5}", error.error.cosine)),
            Cell::text(format!("{:.4}", error.error.relative_error)),
            Cell::text(error.scale_bytes.to_string()),
            Cell::text(format!("{bits:.3}")),
            Cell::measured(row.loss().map(|loss| format!("{loss:.4}"))),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Results of searches.
pub fn searches(study: &StudyRecords) -> Vec<Table> {
    let table = |(path, search): &(String, SearchRecord)| {
        let (kept, parts) = search.parts();
        let caption = format!(
            "{}: {kept} of {parts} parts quantised, cheapest first, where all kept so far together \
             have {} of {} or better (baseline {})",
            search.head.model.name,
            search.metric.title,
            written(search.metric, search.bound),
            written(search.metric, search.baseline)
        );
        let header = [
            "parts",
            "loss / bit saved, at most",
            "together",
            "kept",
            "weights KiB",
        ];
        let mut table = Table::new(caption, 1, &header);
        for step in &search.steps {
            let part = |part: &Part| format!("layer {} {}", part.layer, part.projection);
            let parts = match step.parts.as_slice() {
                [one] => part(one),
                [first, .., last] => {
                    format!("{}: {} to {}", step.parts.len(), part(first), part(last))
                }
                [] => String::new(),
            };
            let highest_cost = step.parts.last().map_or(f64::NAN, |part| part.cost);
            table.rows.push(vec![
                Cell::text(parts).of(path),
                Cell::text(format!("{highest_cost:.2e}")),
                Cell::text(written(search.metric, step.value)),
                match step.is_kept {
                    true => Cell::text("yes").class("better"),
                    false => Cell::text("no").class("worse"),
                },
                Cell::text(format!("{:.0}", step.weight_bytes as f64 / 1024.0)),
            ]);
        }
        table
    };
    study.searches.iter().map(table).collect()
}
