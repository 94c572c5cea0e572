//! Compares each configuration with the baseline on the same examples.

use anyhow::{Result, ensure};
use mxlab_harness::measure::{Estimate, PairedT, holm, mcnemar, paired_bootstrap, paired_t};

use super::StudyRecords;
use crate::record::column::Column;
use crate::record::result::MetricResult;
use crate::record::study::{ScoreRecord, TaskScores};
use crate::study::expand::BASELINE;
use crate::task::metric::{Metric, Unit};

/// Significance level; a difference with a larger p is within noise.
pub const LEVEL: f64 = 0.05;

/// All configurations of a model on one task.
pub struct Set<'a> {
    /// The model.
    pub model: &'a str,
    /// The task.
    pub task: &'a str,
    /// The first metric.
    pub metric: &'static Metric,
    /// The baseline, if any, comes first.
    pub rows: Vec<Row<'a>>,
    /// Steps of searches. They are not tested, because many are tried one after another.
    pub steps: Vec<Row<'a>>,
}

/// A configuration of a model on a task.
pub struct Row<'a> {
    /// Path of its record.
    pub path: &'a str,
    /// Its record.
    pub record: &'a ScoreRecord,
    /// Its scores.
    pub scores: &'a TaskScores,
    /// The first metric.
    pub main: MetricResult,
    /// The comparison with the baseline; `None` for the baseline and without one.
    pub against: Option<Against>,
}

/// A comparison with the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Against {
    /// The difference of the first metric.
    pub difference: Estimate,
    /// Its 95 % confidence interval; for accuracies.
    pub interval: Option<[f64; 2]>,
    /// Its p, corrected.
    pub p: f64,
    /// The difference of log-likelihoods, with a corrected p.
    pub likelihood: Option<PairedT>,
}

impl Against {
    /// Whether the differences are within noise.
    pub fn is_noise(&self) -> bool {
        self.p >= LEVEL
    }
}

impl Set<'_> {
    /// Whether the weights look drawn and never trained, so that differences mean nothing.
    pub fn is_random(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.record.head.model.random_weights)
    }

    /// The model, and whether its weights are random.
    pub fn model_name(&self) -> String {
        let random = if self.is_random() {
            " (random weights)"
        } else {
            ""
        };
        format!("{}{random}", self.model)
    }
}

impl Row<'_> {
    /// Whether it is the baseline.
    pub fn is_baseline(&self) -> bool {
        self.record.head.name == BASELINE
    }

    /// Another metric of the row.
    pub fn metric(&self, metric: &Metric) -> Option<&MetricResult> {
        self.scores.result.metric(metric)
    }

    /// Bits of all weights per parameter.
    pub fn weight_bits(&self) -> f64 {
        let head = &self.record.head;
        8.0 * head.footprint.weight_bytes as f64 / head.model.parameters as f64
    }

    /// The value of an axis.
    pub fn at(&self, axis: &str) -> Option<&str> {
        let found = self.record.head.at.iter().find(|(own, _)| own == axis);
        found.map(|(_, value)| value.as_str())
    }

    /// Log-likelihood lost against the baseline; for tasks without log-likelihoods, the loss in the
    /// first metric.
    pub fn loss(&self) -> Option<f64> {
        let against = self.against?;
        let sign = if self.main.metric.is_higher_better() {
            1.0
        } else {
            -1.0
        };
        Some(match against.likelihood {
            Some(test) => -test.difference.value,
            None => -sign * against.difference.value,
        })
    }

    /// Its display name.
    pub fn name(&self) -> String {
        let head = &self.record.head;
        match self.record.seed {
            0 => head.name.clone(),
            seed => format!("{}, seed {seed}", head.name),
        }
    }
}

/// Every model and task of a study.
///
/// # Errors
/// If two records have different examples of one task.
pub fn sets(study: &StudyRecords) -> Result<Vec<Set<'_>>> {
    let mut sets: Vec<Set> = Vec::new();
    for (path, record) in &study.scores {
        for scores in &record.tasks {
            let (model, task) = (record.head.model.name.as_str(), scores.result.task.as_str());
            let Some(&main) = scores.result.metrics.first() else {
                continue;
            };
            let row = Row {
                path,
                record,
                scores,
                main,
                against: None,
            };
            let known = sets
                .iter()
                .position(|set| (set.model, set.task) == (model, task));
            let index = known.unwrap_or(sets.len());
            if known.is_none() {
                sets.push(Set {
                    model,
                    task,
                    metric: main.metric,
                    rows: Vec::new(),
                    steps: Vec::new(),
                });
            }
            match row.at("step") {
                None => sets[index].rows.push(row),
                Some(_) => sets[index].steps.push(row),
            }
        }
    }
    for set in &mut sets {
        set.rows
            .sort_by_key(|row| (row.record.head.number, row.record.seed));
        compare(set)?;
    }
    Ok(sets)
}

fn compare(set: &mut Set) -> Result<()> {
    let Some(first) = set.rows.first().filter(|row| row.is_baseline()) else {
        return Ok(());
    };
    let base = first.scores;
    let mut tests = Vec::new();
    for row in &set.rows[1..] {
        let is_same =
            row.scores.sha256 == base.sha256 && row.scores.result.examples == base.result.examples;
        ensure!(
            is_same,
            "`{}`: task {} has other examples than the baseline's record",
            row.path,
            set.task
        );
        tests.push(against(row.scores, base, set.metric));
    }
    let corrected = |of: &dyn Fn(&Against) -> Option<f64>| -> Vec<Option<f64>> {
        let p: Vec<f64> = tests.iter().flatten().filter_map(of).collect();
        let mut adjusted = holm(&p).into_iter();
        let each = tests.iter().map(|test| {
            let has = test.as_ref().and_then(of);
            has.and_then(|_| adjusted.next())
        });
        each.collect()
    };
    let main = corrected(&|test| Some(test.p));
    let likelihood = corrected(&|test| test.likelihood.map(|test| test.p));
    for (index, row) in set.rows[1..].iter_mut().enumerate() {
        row.against = tests[index].map(|mut test| {
            test.p = main[index].unwrap_or(test.p);
            if let (Some(own), Some(p)) = (&mut test.likelihood, likelihood[index]) {
                own.p = p;
            }
            test
        });
    }
    Ok(())
}

fn column<'a>(scores: &'a TaskScores, metric: &Metric) -> Option<&'a Column> {
    scores.columns.iter().find(|column| column.metric == metric)
}

/// The comparison, with p not yet corrected.
fn against(own: &TaskScores, base: &TaskScores, metric: &Metric) -> Option<Against> {
    let (mine, theirs) = (column(own, metric)?, column(base, metric)?);
    let difference = mine.difference(theirs)?;
    let is_binary = metric.unit == Unit::Percent;
    Some(Against {
        difference,
        interval: is_binary.then(|| paired_bootstrap(&mine.values, &theirs.values, 0)),
        p: match is_binary {
            true => mcnemar(&mine.values, &theirs.values).p,
            false => paired_t(&mine.values, &theirs.values)?.p,
        },
        likelihood: log_likelihoods(own, base),
    })
}

/// The log-likelihoods of one minus those of the other on the same examples.
pub fn log_likelihoods(own: &TaskScores, other: &TaskScores) -> Option<PairedT> {
    let own = column(own, Metric::LOGLIKELIHOOD)?;
    let other = column(other, Metric::LOGLIKELIHOOD)?;
    paired_t(&own.values, &other.values)
}
