//! One table per evaluation: accuracy, kernel speed, end-to-end speed, memory and energy of each
//! configuration.

use mxlab_harness::measure::Estimate;
use mxlab_kernels::format::MatrixFormat;

use super::records::{Found, Records};
use super::study::tables::written;
use super::table::{Cell, Table};
use super::timings::seconds;
use crate::config::QuantConfig;
use crate::record::eval::EvalRecord;
use crate::record::result::TaskResult;
use crate::task::metric::{Metric, Unit};

/// The tables: one for each task of each evaluation.
pub fn tables(records: &Records) -> Vec<Table> {
    let mut tables: Vec<(&str, Table)> = Vec::new();
    for found in &records.evaluations {
        let run = &found.record;
        let first = tables.len();
        for result in &run.results {
            let Some(main) = result.metrics.first() else {
                continue;
            };
            let of_task = |(task, _): &&mut (&str, Table)| *task == result.task;
            let table = match tables[first..].iter_mut().find(of_task) {
                Some((_, table)) => table,
                None => {
                    tables.push((&result.task, empty(run, result, main.metric)));
                    let last = tables.len() - 1;
                    &mut tables[last].1
                }
            };
            table.rows.push(row(records, found, result));
        }
    }
    tables.into_iter().map(|(_, table)| table).collect()
}

fn empty(run: &EvalRecord, result: &TaskResult, metric: &Metric) -> Table {
    let model = &run.model;
    let caption = format!(
        "{} on {}, {} examples; {} on {}",
        model.name, result.task, result.examples, model.dtype, model.device
    );
    let caption = match &model.stored_weights {
        None => caption,
        Some(weights) => format!(
            "{caption}. Stored weights: {weights}. Another format of weights quantises them a \
             second time, so formats near the stored ones look better than they are"
        ),
    };
    let delta = format!("Δ {}", metric.title);
    let header = [
        "configuration",
        "format",
        metric.title,
        &delta,
        "Δ log-lik",
        "weights MiB",
        "KV B/token",
        "product, 1 token",
        "examples/s",
        "tokens/s",
        "J/token",
    ];
    Table::new(caption, 2, &header)
}

fn row(records: &Records, found: &Found<EvalRecord>, result: &TaskResult) -> Vec<Cell> {
    let (run, record) = (&found.record, &found.path);
    let main = result.metrics.first();
    let value = main.map(|own| estimate(own.metric, own.estimate, false));
    let delta = main.and_then(|own| Some(estimate(own.metric, own.from_baseline?, true)));
    let likelihood = result.metric(Metric::LOGLIKELIHOOD);
    let likelihood =
        likelihood.and_then(|own| Some(estimate(own.metric, own.from_baseline?, true)));
    let is_baseline = result.baseline.is_none();
    let difference = |text: Option<String>| match is_baseline {
        true => Cell::text("-"),
        false => Cell::measured(text),
    };
    let timing = run
        .timings
        .iter()
        .find(|own| own.task == result.task && own.config == result.config);
    let config = run.configs.iter().find(|own| own.name == result.config);
    let speed = config.and_then(|config| end_to_end(records, &run.model.name, config));
    let linked = |cell: Cell| match &speed {
        Some(speed) => cell.of(&speed.record),
        None => cell,
    };
    let tokens = speed
        .as_ref()
        .map(|speed| format!("{:.1}{}", speed.tokens, speed.workload));
    let joules = speed.as_ref().and_then(|speed| speed.joules);
    vec![
        Cell::text(&result.config).of(record),
        Cell::text(result.formats().join("; ")),
        Cell::measured(value).of(record),
        difference(delta),
        difference(likelihood),
        Cell::text(format!(
            "{:.2}",
            result.footprint.weight_bytes as f64 / (1 << 20) as f64
        )),
        Cell::text(result.footprint.kv_bytes_per_token.to_string()),
        config.map_or(Cell::measured(None), |config| product(records, config)),
        Cell::measured(timing.map(|own| format!("{:.0}", own.examples_per_second))).of(record),
        linked(Cell::measured(tokens)),
        linked(Cell::measured(joules.map(|joules| format!("{joules:.3e}")))),
    ]
}

fn estimate(metric: &Metric, estimate: Estimate, is_difference: bool) -> String {
    let Estimate { value, stderr } = estimate;
    let text = match (metric.unit, is_difference) {
        (Unit::Percent, true) => format!("{:+.2}", 100.0 * value),
        (_, true) => format!("{value:+.4}"),
        (_, false) => written(metric, value),
    };
    match (stderr, metric.unit, is_difference) {
        (None, ..) => text,
        (Some(stderr), Unit::Percent, true) => format!("{text}±{:.2}", 100.0 * stderr),
        (Some(stderr), ..) => format!("{text}±{}", written(metric, stderr)),
    }
}

/// Time of the largest product with one token whose weights have the configuration's format.
fn product(records: &Records, config: &QuantConfig) -> Cell {
    let kernel = match &config.weights {
        None => "linear_bf16".to_owned(),
        Some(MatrixFormat::Ggml(format)) => format!("_{format}_"),
        Some(MatrixFormat::Block(format)) => {
            let (element, scale) = (format.element(), format.scale());
            format!("_{element}_{scale}_k{}_", format.block_size())
        }
    };
    let measured = records.benches.iter().flat_map(|found| {
        let measured = found.record.measured.iter();
        measured.map(move |measured| (&found.path, measured))
    });
    let of_format = measured.filter(|(_, measured)| {
        let case = &measured.case;
        let name = format!("{}_", case.kernel);
        case.operations > 0 && case.tokens == Some(1) && name.contains(&kernel)
    });
    // From the first record, so that configurations are comparable; of equal ones the last.
    let largest = of_format
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .max_by_key(|(_, measured)| {
            (
                measured.case.rows * measured.case.cols,
                measured.case.operations,
            )
        });
    match largest {
        None => Cell::measured(None),
        Some((path, measured)) => {
            let case = &measured.case;
            let time = seconds(measured.timing.median());
            let whose = match config.weights {
                None => format!(" ({})", case.kernel),
                Some(_) => String::new(),
            };
            Cell::text(format!("{time}, {}x{}{whose}", case.rows, case.cols)).of(path)
        }
    }
}

/// A timed generation of a model under a configuration.
struct Speed {
    tokens: f64,
    /// The workload: tokens of prompt and continuation.
    workload: String,
    joules: Option<f64>,
    record: String,
}

/// From a study's speed records or a generation's: the first with this model and these formats.
fn end_to_end(records: &Records, model: &str, config: &QuantConfig) -> Option<Speed> {
    // Equal except for the name.
    let is_same = |other: &QuantConfig| {
        let name = config.name.clone();
        let other = other.clone();
        QuantConfig { name, ..other } == *config
    };
    for (_, study) in &records.studies {
        for (path, speed) in &study.speeds {
            if speed.head.model.name == model && is_same(&speed.head.config) {
                let count = speed.repeats.len() as f64;
                let tokens: f64 = speed.repeats.iter().map(|own| own.tokens_per_second).sum();
                let joules: Option<f64> = speed
                    .repeats
                    .iter()
                    .map(|own| Some(own.energy?.joules))
                    .sum();
                let generated = speed.output_tokens.saturating_sub(1) as f64;
                return Some(Speed {
                    tokens: tokens / count,
                    workload: format!(" ({}+{})", speed.prompt_tokens, speed.output_tokens),
                    joules: joules.map(|joules| joules / count / generated),
                    record: path.clone(),
                });
            }
        }
    }
    let mut generated = records.generated.iter();
    let found = generated.find(|found| {
        let own = &found.record;
        own.model.name == model && is_same(&own.config)
    })?;
    let timings = &found.record.timings;
    Some(Speed {
        tokens: timings.tokens_per_second?,
        workload: String::new(),
        joules: timings.joules_per_token,
        record: found.path.clone(),
    })
}
