//! Findings as sentences, with every number from the records.

use std::collections::BTreeMap;

use mxlab_harness::measure::{correlation, mean, rank_correlation};

use super::StudyRecords;
use super::compare::{Row, Set};
use super::shares::{Explained, explained};
use super::tables::written;
use crate::report::study::compare::LEVEL;

/// Findings for a model and a task, which are named unless they are the only ones.
pub fn of(study: &StudyRecords, set: &Set, is_one: bool) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(cheapest(set));
    found.extend(axes(set));
    found.extend(operands(set));
    found.extend(shares(study, set));
    found.extend(largest_losses(set));
    found.extend(errors(set));
    found.extend(monotone(set));
    let place = format!("{} on {}: ", set.model, set.task);
    match is_one {
        true => found,
        false => found
            .into_iter()
            .map(|text| place.clone() + &text)
            .collect(),
    }
}

/// Rows of whole models, without those of single parts and searches.
fn whole<'a>(set: &'a Set) -> impl Iterator<Item = &'a Row<'a>> {
    set.rows
        .iter()
        .filter(|row| !row.is_baseline() && row.at("layer").or(row.at("projection")).is_none())
}

/// The fewest bits within noise of the baseline, and how many configurations are worse.
fn cheapest(set: &Set) -> Option<String> {
    let tested: Vec<(&Row, f64)> = whole(set)
        .filter_map(|row| {
            let against = row.against?;
            let p = against
                .likelihood
                .map_or(against.p, |test| test.p.min(against.p));
            Some((row, p))
        })
        .collect();
    let noise = tested.iter().filter(|(_, p)| *p >= LEVEL);
    let count = noise.clone().count();
    let bits = |row: &Row| {
        let kv = row.record.head.footprint.kv_bytes_per_token;
        (row.weight_bits(), kv as f64)
    };
    let least = noise.min_by(|(a, _), (b, _)| {
        bits(a)
            .partial_cmp(&bits(b))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let all = tested.len();
    if all == 0 {
        return None;
    }
    Some(match least {
        None => {
            format!("each of {all} configurations differs from the baseline by more than noise.")
        }
        Some((row, _)) => format!(
            "{count} of {all} configurations are within noise of the baseline, accuracy and \
             log-likelihood both; the one of the fewest bits is {} at {:.2} bits a weight and {} B \
             of keys and values a token.",
            row.name(),
            row.weight_bits(),
            row.record.head.footprint.kv_bytes_per_token
        ),
    })
}

/// The mean loss for each value of each axis.
fn axes(set: &Set) -> Vec<String> {
    let mut by_group: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in whole(set) {
        by_group
            .entry(&row.record.head.group)
            .or_default()
            .push(row);
    }
    let mut found = Vec::new();
    for (group, rows) in by_group {
        let names: Vec<&str> = match rows.first() {
            Some(row) => row
                .record
                .head
                .at
                .iter()
                .map(|(axis, _)| axis.as_str())
                .collect(),
            None => continue,
        };
        for axis in names {
            let mut values: Vec<(&str, Vec<f64>)> = Vec::new();
            for row in &rows {
                let (Some(at), Some(loss)) = (row.at(axis), row.loss()) else {
                    continue;
                };
                match values.iter_mut().find(|(value, _)| *value == at) {
                    Some((_, losses)) => losses.push(loss),
                    None => values.push((at, vec![loss])),
                }
            }
            if values.len() < 2 {
                continue;
            }
            values.sort_by(|a, b| mean(&a.1).value.total_cmp(&mean(&b.1).value));
            let each = values.iter();
            let each = each.map(|(value, losses)| format!("{value} {:.4}", mean(losses).value));
            found.push(format!(
                "{group}: mean log-likelihood lost by {}: {}.",
                axis.replace('_', " "),
                each.collect::<Vec<_>>().join(", ")
            ));
        }
    }
    found
}

/// The loss from each operand alone, in one format.
fn operands(set: &Set) -> Option<String> {
    let mut alone: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in whole(set) {
        let operands = &row.record.head.operands;
        let letters: String = operands.chars().filter(char::is_ascii_alphabetic).collect();
        let what = match letters.as_str() {
            "W" => "weights",
            "A" => "activations",
            "K" => "keys",
            "V" => "values",
            "KV" => "keys and values",
            "H" => "the head's weights",
            "HA" => "the head's input",
            _ => continue,
        };
        alone.entry(what).or_default().extend(row.loss());
    }
    if alone.len() < 2 {
        return None;
    }
    let mut each: Vec<(&str, f64)> = alone
        .iter()
        .map(|(what, all)| (*what, mean(all).value))
        .collect();
    each.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words: Vec<String> = each
        .iter()
        .map(|(what, loss)| format!("{what} {loss:.4}"))
        .collect();
    Some(format!(
        "quantised alone, mean log-likelihood lost: {}.",
        words.join(", ")
    ))
}

fn shares(study: &StudyRecords, set: &Set) -> Option<String> {
    let Explained { ends, effects, gap } = explained(study, set)?;
    let each = effects.iter();
    let each: Vec<String> = each
        .map(|(name, effect)| format!("{name} {effect:+.4} ({:.0} %)", 100.0 * effect / gap))
        .collect();
    Some(format!(
        "from {} to {} the log-likelihood changes by {gap:+.4}, of which {}.",
        ends.from,
        ends.to,
        each.join(", ")
    ))
}

/// Whether the error of the weights predicts the loss, group by group.
fn errors(set: &Set) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for row in &set.rows {
        let group = match row.at("layer").or(row.at("projection")) {
            Some(_) => row.record.head.group.as_str(),
            None => "whole models",
        };
        if let (Some(error), Some(loss)) = (&row.record.weight_error, row.loss())
            && error.error.sqnr_db.is_finite()
        {
            groups
                .entry(group)
                .or_default()
                .push((error.error.sqnr_db, loss));
        }
    }
    let mut found = Vec::new();
    for (group, pairs) in groups.into_iter().filter(|(_, pairs)| pairs.len() >= 5) {
        let (sqnr, loss): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        if let (Some(pearson), Some(spearman)) =
            (correlation(&sqnr, &loss), rank_correlation(&sqnr, &loss))
        {
            found.push(format!(
                "{group}: over {} of them, the SQNR of the quantised weights and the \
                 log-likelihood lost correlate by {pearson:+.2} (their ranks by {spearman:+.2}).",
                sqnr.len()
            ));
        }
    }
    found
}

/// The parts with the largest loss of their own.
fn largest_losses(set: &Set) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<(&Row, f64)>> = BTreeMap::new();
    for row in set
        .rows
        .iter()
        .filter(|row| row.at("layer").or(row.at("projection")).is_some())
    {
        if let Some(loss) = row.loss() {
            groups
                .entry(&row.record.head.group)
                .or_default()
                .push((row, loss));
        }
    }
    let mut found = Vec::new();
    for (group, mut rows) in groups {
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        let all: f64 = rows.iter().map(|(_, loss)| loss).sum();
        let name = |row: &Row| {
            let place = [("layer", "layer "), ("projection", "")];
            let words = place
                .iter()
                .filter_map(|(axis, word)| Some(format!("{word}{}", row.at(axis)?)));
            words.collect::<Vec<_>>().join(" ")
        };
        let most: Vec<String> = rows
            .iter()
            .take(3)
            .map(|(row, loss)| format!("{} {loss:.4}", name(row)))
            .collect();
        found.push(format!(
            "{group}: of {} quantised one at a time, log-likelihood lost is greatest of {}; all of \
             them add up to {all:.4}.",
            rows.len(),
            most.join(", ")
        ));
    }
    found
}

/// Whether the loss from weights grows as scales have fewer bits.
fn monotone(set: &Set) -> Option<String> {
    let mut errors: Vec<(u32, &str, f64)> = Vec::new();
    for row in whole(set) {
        let only_scale = row.record.head.at.len() == 1;
        let (Some(scale), Some(error), true) =
            (row.at("scale"), &row.record.weight_error, only_scale)
        else {
            continue;
        };
        let format = scale.parse::<mxlab_kernels::format::ScaleFormat>().ok()?;
        errors.push((format.bits(), scale, error.error.relative_error));
    }
    if errors.len() < 3 {
        return None;
    }
    errors.sort_by_key(|(bits, ..)| std::cmp::Reverse(*bits));
    let is_monotone = errors.windows(2).all(|pair| pair[0].2 <= pair[1].2);
    let each: Vec<String> = errors
        .iter()
        .map(|(bits, scale, error)| format!("{scale} ({bits} bits) {error:.4}"))
        .collect();
    Some(format!(
        "relative error of the weights by scale: {}; it {} as bits are taken away.",
        each.join(", "),
        if is_monotone {
            "never falls"
        } else {
            "does not rise everywhere"
        }
    ))
}

/// Results of searches.
pub fn of_searches(study: &StudyRecords) -> Vec<String> {
    let each = study.searches.iter().filter_map(|(_, search)| {
        let last = search.steps.iter().rfind(|step| step.is_kept)?;
        let (kept, parts) = search.parts();
        let bits = 8.0 * last.weight_bytes as f64 / search.head.model.parameters as f64;
        Some(format!(
            "{}: {kept} of {parts} parts can be quantised with {} of {} or better (baseline {}): \
             {bits:.2} bits a weight.",
            search.head.model.name,
            search.metric.title,
            written(search.metric, search.bound),
            written(search.metric, search.baseline),
        ))
    });
    each.collect()
}
