//! The gap between two configurations, split by difference.

use super::StudyRecords;
use super::compare::{Row, Set};
use crate::report::table::{Cell, Table};
use crate::study::expand::EXPLAIN;
use crate::study::explain::shapley;
use crate::study::file::{Explain, StudyFile};

/// The gap between two configurations, split by difference.
pub struct Explained {
    /// The two configurations.
    pub ends: Explain,
    /// Each difference, and its share of the gap.
    pub effects: Vec<(String, f64)>,
    /// The log-likelihood of the second minus that of the first.
    pub gap: f64,
}

/// The split, if the study asks for it and all its hybrids are finished.
pub fn explained(study: &StudyRecords, set: &Set) -> Option<Explained> {
    let file: StudyFile = toml::from_str(&study.frozen.text).ok()?;
    let ends = file.explain?;
    let is_hybrid = |row: &&Row| row.record.head.group == EXPLAIN;
    let differences = |row: &Row| -> Vec<String> {
        let at = row.record.head.at.iter();
        at.map(|(name, _)| name.clone()).collect()
    };
    let hybrids: Vec<(&Row, Vec<String>)> = set
        .rows
        .iter()
        .filter(is_hybrid)
        .map(|row| (row, differences(row)))
        .collect();
    let alone = hybrids.iter().filter(|(_, has)| has.len() == 1);
    let names: Vec<String> = alone.flat_map(|(_, has)| has.clone()).collect();
    if names.is_empty() {
        return None;
    }
    let named = |name: &str| set.rows.iter().find(|row| row.record.head.name == name);
    let all = (1_usize << names.len()) - 1;
    let likelihood = |subset: usize| {
        let row = if subset == 0 {
            named(&ends.from)
        } else if subset == all {
            named(&ends.to)
        } else {
            let has = |bit: &usize| subset >> bit & 1 == 1;
            let wanted = (0..names.len()).filter(has);
            let wanted: Vec<String> = wanted.map(|bit| names[bit].clone()).collect();
            hybrids
                .iter()
                .find(|(_, has)| *has == wanted)
                .map(|(row, _)| *row)
        };
        Some(-row?.loss()?)
    };
    let likelihoods: Vec<f64> = (0..=all).map(likelihood).collect::<Option<_>>()?;
    let gap = likelihoods[all] - likelihoods[0];
    let effects = names.into_iter().zip(shapley(&likelihoods)).collect();
    Some(Explained { ends, effects, gap })
}

/// The split as a table.
pub fn table(study: &StudyRecords, set: &Set) -> Option<Table> {
    let Explained { ends, effects, gap } = explained(study, set)?;
    let caption = format!(
        "{} on {}: log-likelihood from {} to {}, {gap:+.4} in all, by what differs (mean effect \
         over every order of the differences)",
        set.model, set.task, ends.from, ends.to
    );
    let mut table = Table::new(caption, 1, &["difference", "effect", "% of the gap"]);
    for (name, effect) in effects {
        table.rows.push(vec![
            Cell::text(name),
            Cell::text(format!("{effect:+.4}")),
            Cell::text(format!("{:.0}", 100.0 * effect / gap)),
        ]);
    }
    Some(table)
}
