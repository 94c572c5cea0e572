//! Ladders of a study: what each step wins back of the first one's loss.

use std::collections::BTreeMap;

use mxlab_harness::measure::PairedT;

use super::StudyRecords;
use super::compare::{LEVEL, Row, Set, log_likelihoods};
use super::tables::written;
use crate::report::plot::{Chart, Join, NARROW, Plot, Series};
use crate::report::table::{Cell, Table};
use crate::study::file::StudyFile;
use crate::task::metric::Unit;

/// The steps of a ladder on a model.
struct Ladder<'a> {
    name: &'a str,
    model: &'a str,
    /// Of each task its set, and of each step its row.
    tasks: Vec<(&'a Set<'a>, Vec<&'a Row<'a>>)>,
}

/// Tables, charts and findings of the ladders whose steps are all there.
pub fn of(study: &StudyRecords, sets: &[Set]) -> (Vec<Table>, Vec<Chart>, Vec<String>) {
    let (mut tables, mut charts, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    let Ok(file) = toml::from_str::<StudyFile>(&study.frozen.text) else {
        return (tables, charts, findings);
    };
    let mut models: Vec<&str> = Vec::new();
    for set in sets {
        if !models.contains(&set.model) {
            models.push(set.model);
        }
    }
    for model in models {
        for (name, steps) in &file.ladders {
            let of_model = sets.iter().filter(|set| set.model == model);
            let tasks = of_model.filter_map(|set| {
                let row = |step: &String| set.rows.iter().find(|row| row.name() == *step);
                let rows = steps.iter().map(row).collect::<Option<Vec<_>>>()?;
                let is_compared = rows.iter().all(|row| row.loss().is_some());
                is_compared.then_some((set, rows))
            });
            let ladder = Ladder {
                name,
                model,
                tasks: tasks.collect(),
            };
            if ladder.tasks.is_empty() {
                continue;
            }
            tables.push(ladder.table(study));
            charts.extend(ladder.chart(study));
            findings.extend(ladder.finding());
        }
    }
    (tables, charts, findings)
}

/// The share of the first step's loss that a row wins back; `None` if that is within noise.
fn won(rows: &[&Row], row: &Row) -> Option<f64> {
    let first = rows.first()?;
    let is_clear = first.against?.likelihood?.p < LEVEL;
    let (first, own) = (first.loss()?, row.loss()?);
    (is_clear && first > 0.0).then(|| 1.0 - own / first)
}

/// What a step bought: its log-likelihoods minus those of the step before.
fn bought(before: &Row, row: &Row) -> Option<PairedT> {
    log_likelihoods(row.scores, before.scores)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn lost(row: &Row) -> Option<String> {
    let test = row.against?.likelihood?;
    let error = test.difference.stderr?;
    Some(format!("{:.3}±{error:.3}", -test.difference.value + 0.0))
}

impl Ladder<'_> {
    fn table(&self, study: &StudyRecords) -> Table {
        let mut header = vec!["step".to_owned(), "format".to_owned(), "bits".to_owned()];
        for (set, _) in &self.tasks {
            let task = set.task;
            header.extend([
                format!("{task}: lost"),
                "won back".to_owned(),
                "bought".to_owned(),
            ]);
            if set.metric.unit == Unit::Percent {
                header.push(set.metric.title.to_owned());
            }
        }
        header.extend(["calibrated in s".to_owned(), "MiB".to_owned()]);
        let caption = format!(
            "Ladder {} on {}: log-likelihood lost against the baseline, the share of the first \
             step's loss that is won back, and what a step bought over the one before, in nats \
             with paired standard errors; bits of a quantised weight; seconds and peak memory of \
             the choice of codes",
            self.name, self.model
        );
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut table = Table::new(caption, 2, &header);
        let (_, first) = &self.tasks[0];
        for (number, row) in first.iter().enumerate() {
            let head = &row.record.head;
            let bits = head
                .footprint
                .packed
                .map(|packed| format!("{:.2}", packed.bits()));
            let mut cells = vec![
                Cell::text(row.name()).of(row.path),
                Cell::text(&head.description),
                Cell::text(bits.unwrap_or_else(|| "-".to_owned())),
            ];
            for (set, rows) in &self.tasks {
                let own = rows[number];
                cells.push(Cell::measured(lost(own)).of(own.path));
                let share = won(rows, own).filter(|_| number > 0).map(percent);
                cells.push(Cell::text(share.unwrap_or_else(|| "-".to_owned())));
                let step = number
                    .checked_sub(1)
                    .and_then(|before| bought(rows[before], own));
                cells.push(match step {
                    None => Cell::text("-"),
                    Some(test) => {
                        let error = test.difference.stderr.unwrap_or(f64::NAN);
                        Cell::text(format!("{:+.3}±{error:.3}", test.difference.value))
                    }
                });
                if set.metric.unit == Unit::Percent {
                    let value = written(set.metric, own.main.estimate.value);
                    cells.push(Cell::text(value).of(own.path));
                }
            }
            let calibration = study.calibrations.get(row.path);
            let (seconds, memory) = match (&row.record.calibration, calibration) {
                (None, _) => (Cell::text("-"), Cell::text("-")),
                (Some(_), None) => (Cell::measured(None), Cell::measured(None)),
                (Some(_), Some(own)) => {
                    let memory = own.peak_memory_bytes.map(|bytes| (bytes >> 20).to_string());
                    (
                        Cell::text(format!("{:.0}", own.seconds)),
                        Cell::measured(memory),
                    )
                }
            };
            cells.extend([seconds, memory]);
            table.rows.push(cells);
        }
        table
    }

    fn chart(&self, study: &StudyRecords) -> Option<Chart> {
        let mut series = Series::new();
        for (set, rows) in &self.tasks {
            let points = rows.iter().enumerate();
            let points =
                points.filter_map(|(number, row)| Some((number as f64, 100.0 * won(rows, row)?)));
            series.insert(set.task.to_owned(), points.collect());
        }
        let steps = self.tasks[0].1.iter().enumerate();
        let steps = steps.map(|(number, row)| format!("{number} {}", row.name()));
        let steps = steps.collect::<Vec<_>>().join(", ");
        let file = |text: &str| crate::file_name::file_name(text);
        let plot = Plot {
            kind: &format!(
                "{}-{}-{}-ladder",
                study.name,
                file(self.model),
                file(self.name)
            ),
            title: format!(
                "{} on {}: loss won back by each step",
                self.name, self.model
            ),
            axes: [&steps, "% of the first step's loss"],
            size: NARROW,
            is_log: false,
            join: Join::InOrder,
            series,
            lines: Vec::new(),
        };
        plot.draw()
    }

    /// The step that wins back most on the first task, and what it does on the others.
    fn finding(&self) -> Option<String> {
        let (_, rows) = &self.tasks[0];
        let shares = rows.iter().enumerate().skip(1);
        let shares = shares.filter_map(|(number, row)| Some((number, won(rows, row)?)));
        let (best, _) = shares.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let of_tasks: BTreeMap<&str, String> = self
            .tasks
            .iter()
            .filter_map(|(set, rows)| Some((set.task, percent(won(rows, rows[best])?))))
            .collect();
        let of_tasks: Vec<String> = of_tasks
            .iter()
            .map(|(task, share)| format!("{share} on {task}"))
            .collect();
        Some(format!(
            "{}, ladder {}: {} wins back most of what {} loses: {}.",
            self.model,
            self.name,
            rows[best].name(),
            rows[0].name(),
            of_tasks.join(", "),
        ))
    }
}
