//! The view of a study: tables, charts and findings from its records.
//!
//! | module | contents |
//! |---|---|
//! | [`read`] | the records of a study |
//! | [`compare`] | each configuration against the baseline on the same examples |
//! | [`tables`] | accuracy, errors, searches |
//! | [`shares`] | the gap between two configurations, split by difference |
//! | [`ladders`] | what each step wins back of the first one's loss |
//! | [`speeds`] | time, memory and energy of generations |
//! | [`loads`] | latency and throughput of servers under load |
//! | [`plots`] | accuracy against bits, time, joules and k; cost against error |
//! | [`findings`] | findings as sentences |

pub mod compare;
pub mod findings;
pub mod ladders;
pub mod loads;
pub mod plots;
pub mod read;
pub mod shares;
pub mod speeds;
pub mod tables;

use anyhow::Result;
use serde::Serialize;

pub use read::StudyRecords;

use super::plot::Chart;
use super::reference::Reference;
use super::table::Table;

/// A study in the report.
#[derive(Serialize)]
pub struct StudyView {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// Its findings.
    pub findings: Vec<String>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Charts.
    pub charts: Vec<Chart>,
    /// Notes for the reader.
    pub notes: Vec<String>,
}

/// Makes the view of a study.
///
/// # Errors
/// If records contradict each other.
pub fn view(study: &StudyRecords, reference: Option<&Reference>) -> Result<StudyView> {
    let sets = compare::sets(study)?;
    let mut view = StudyView {
        name: study.name.clone(),
        title: study.frozen.title.clone(),
        question: study.frozen.question.clone(),
        findings: Vec::new(),
        tables: Vec::new(),
        charts: Vec::new(),
        notes: notes(study),
    };
    let (tables, charts, findings) = ladders::of(study, &sets);
    view.tables.extend(tables);
    view.charts.extend(charts);
    view.findings.extend(findings);
    view.tables.extend(tables::across(&sets));
    for set in &sets {
        match set.is_random() {
            false => view
                .findings
                .extend(findings::of(study, set, sets.len() == 1)),
            true => view.notes.push(format!(
                "{} on {}: random weights. Its rows show that the model runs, and nothing about \
                 formats.",
                set.model, set.task
            )),
        }
        view.tables.push(tables::scores(study, set, reference));
        view.tables.extend(shares::table(study, set));
        view.tables.extend(tables::heat(set));
        view.tables.extend(tables::weights(set));
        view.charts.extend(plots::of(study, set));
    }
    view.tables.extend(tables::searches(study));
    view.tables.extend(speeds::tables(study));
    view.findings.extend(findings::of_searches(study));
    let (tables, charts, findings) = loads::of(study);
    if !tables.is_empty() {
        view.notes.push(super::serving::EXPLAINED.to_owned());
    }
    view.tables.extend(tables);
    view.charts.extend(charts);
    view.findings.extend(findings);
    Ok(view)
}

fn notes(study: &StudyRecords) -> Vec<String> {
    let changes = &study.frozen.changes;
    let mut notes = vec![format!(
        "mxlab {}, {}; study hash {}",
        study.frozen.mxlab,
        changes.engine,
        crate::study::folder::short(&study.frozen.hash)
    )];
    if !study.scores.is_empty() {
        notes.push(
            "Differences are from the baseline on the same examples: in brackets the 95 % interval \
             of a paired bootstrap, p by McNemar's exact test for accuracy and a paired t test for \
             log-likelihoods, both corrected by Holm's method for the number of configurations; \
             `≈` is a difference within noise, p ≥ 0.05."
                .to_owned(),
        );
    }
    notes
}
