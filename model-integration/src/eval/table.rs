//! The table of an evaluation, in one of several formats.

use std::fmt::Write;

use mxlab_harness::measure::Estimate;
use serde_json::json;

use crate::columns;
use crate::record::eval::Timing;
use crate::record::result::{MetricResult, TaskResult};
use crate::task::metric::{Metric, Unit};

/// The format of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Aligned columns, 100 characters wide with the usual names.
    #[default]
    Table,
    /// Markdown.
    Md,
    /// Comma-separated values, unrounded, one line for each configuration and task.
    Csv,
    /// A JSON array of results with their timings.
    Json,
}

/// The content of a cell without a number.
const NOT_MEASURED: &str = "not measured";

const NOTE: &str = "\
±: standard error. Δ: difference from the baseline on the same examples, with its paired error.
Δ log-lik: of the mean log-likelihood, of a word where documents are scored. ex/s: examples a
second. MiB: weights, packed where quantised. KV B: bytes of keys and values a token.
";

/// The column heads of a task's table.
fn header(rows: &[Row]) -> [String; 9] {
    let metric = |index: usize| {
        let metrics = rows.first().map(|(result, _)| &result.metrics);
        let metric = metrics.and_then(|metrics| metrics.get(index));
        metric.map_or("", |result| result.metric.title)
    };
    [
        "config".to_owned(),
        "format".to_owned(),
        metric(0).to_owned(),
        format!("Δ {}", metric(0)),
        metric(1).to_owned(),
        format!("Δ {}", Metric::LOGLIKELIHOOD.title),
        "ex/s".to_owned(),
        "MiB".to_owned(),
        "KV B".to_owned(),
    ]
}

/// Renders the results of a run; `timings` has the same order.
pub fn render(format: TableFormat, results: &[TaskResult], timings: &[Timing]) -> String {
    match format {
        TableFormat::Table => {
            let tables = by_task(results, timings, aligned);
            format!("{tables}\n{}\n{NOTE}", legend(results))
        }
        TableFormat::Md => {
            let tables = by_task(results, timings, markdown);
            format!("{tables}\n```\n{}```\n\n{NOTE}", legend(results))
        }
        TableFormat::Csv => csv(results, timings),
        TableFormat::Json => json(results, timings),
    }
}

type Row<'a> = (&'a TaskResult, &'a Timing);

/// A heading and a table for each task.
fn by_task(results: &[TaskResult], timings: &[Timing], table: fn(&[Row]) -> String) -> String {
    let mut tasks: Vec<&str> = Vec::new();
    for result in results {
        if !tasks.contains(&result.task.as_str()) {
            tasks.push(&result.task);
        }
    }
    let mut text = String::new();
    for task in tasks {
        let rows = results.iter().zip(timings);
        let rows: Vec<Row> = rows.filter(|(result, _)| result.task == task).collect();
        let first = rows[0].0;
        let truncated = match first.truncated {
            0 => String::new(),
            count => format!(", {count} of them truncated from the left"),
        };
        let separator = if text.is_empty() { "" } else { "\n" };
        let _ = write!(
            text,
            "{separator}{task}: {} examples{truncated}\n\n{}",
            first.examples,
            table(&rows)
        );
    }
    text
}

fn aligned(rows: &[Row]) -> String {
    let cells: Vec<_> = rows.iter().map(|row| cells(row).to_vec()).collect();
    columns::aligned(2, &header(rows).each_ref().map(String::as_str), &cells)
}

/// The legend: each configuration in full.
fn legend(results: &[TaskResult]) -> String {
    let first_task = results.first().map(|result| &result.task);
    let each_once = || {
        results
            .iter()
            .filter(|result| Some(&result.task) == first_task)
    };
    let width = each_once()
        .map(|result| result.config.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for result in each_once() {
        let mut name = result.config.as_str();
        for line in result.formats() {
            let _ = writeln!(text, "{name:width$}  {line}");
            name = "";
        }
        if let Some(line) = cached_bits(results, &result.config) {
            let _ = writeln!(text, "{name:width$}  {line}");
        }
    }
    text
}

/// The bits of a cached value under a configuration that packs some, in each task.
fn cached_bits(results: &[TaskResult], config: &str) -> Option<String> {
    let of_config = results.iter().filter(|result| result.config == config);
    let of_tasks = of_config.map(|result| {
        let bits = result.kv_bits.filter(|_| result.packs_kv())?;
        Some((result.task.as_str(), significant(bits, 3)))
    });
    let of_tasks: Vec<(&str, String)> = of_tasks.collect::<Option<_>>()?;
    let (_, first) = of_tasks.first()?;
    let words = match of_tasks.iter().all(|(_, bits)| bits == first) {
        true => first.clone(),
        false => {
            let each = of_tasks
                .iter()
                .map(|(task, bits)| format!("{bits} ({task})"));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    Some(format!("{words} bits a cached value"))
}

fn markdown(rows: &[Row]) -> String {
    let header = header(rows);
    let mut text = format!("| {} |\n|---|---|", header.join(" | "));
    text.push_str(&"---:|".repeat(header.len() - 2));
    for row in rows {
        let _ = write!(text, "\n| {} |", cells(row).join(" | "));
    }
    text.push('\n');
    text
}

fn cells((result, timing): &Row) -> [String; 9] {
    let is_baseline = result.baseline.is_none() && result.operands.is_empty();
    let number = |index: usize| {
        let metric = result.metrics.get(index);
        metric.map_or_else(String::new, |result| {
            written(result.metric, result.estimate)
        })
    };
    let difference = |metric: Option<&MetricResult>| {
        let metric = metric?;
        let text = match metric.metric.unit {
            Unit::Percent => percent(metric.from_baseline?, 2),
            Unit::Plain | Unit::Perplexity => plain(metric.from_baseline?, 4),
        };
        Some(signed(&text))
    };
    let changed = |text: Option<String>| match text {
        Some(text) => text,
        None if is_baseline => "-".to_owned(),
        None => NOT_MEASURED.to_owned(),
    };
    [
        result.config.clone(),
        match is_baseline {
            true => "-".to_owned(),
            false => result.operands.clone(),
        },
        number(0),
        changed(difference(result.metrics.first())),
        number(1),
        changed(difference(result.metric(Metric::LOGLIKELIHOOD))),
        significant(timing.examples_per_second, 3),
        significant(result.footprint.weight_bytes as f64 / f64::from(1 << 20), 3),
        result.footprint.kv_bytes_per_token.to_string(),
    ]
}

/// A number with its standard error.
fn written(metric: &Metric, estimate: Estimate) -> String {
    match metric.unit {
        Unit::Percent => percent(estimate, 1),
        Unit::Perplexity => perplexity(estimate),
        Unit::Plain => plain(estimate, 4),
    }
}

fn plain(estimate: Estimate, decimals: usize) -> String {
    let mut text = format!("{:.decimals$}", estimate.value);
    if let Some(stderr) = estimate.stderr {
        let _ = write!(text, "±{stderr:.decimals$}");
    }
    text
}

fn percent(estimate: Estimate, decimals: usize) -> String {
    let scaled = Estimate {
        value: 100.0 * estimate.value,
        stderr: estimate.stderr.map(|stderr| 100.0 * stderr),
    };
    plain(scaled, decimals)
}

/// A perplexity with four significant digits, and its error with as many decimals.
fn perplexity(estimate: Estimate) -> String {
    if estimate.value.is_nan() || estimate.value >= 1e5 {
        let stderr = estimate.stderr.map(|stderr| format!("±{stderr:.1e}"));
        return format!("{:.3e}{}", estimate.value, stderr.unwrap_or_default());
    }
    plain(estimate, decimals(estimate.value, 4))
}

/// A number with its sign, positive ones included; a rounded zero has none.
fn signed(text: &str) -> String {
    let value = text.split('±').next().unwrap_or(text);
    let is_zero = value.chars().all(|c| "-0.".contains(c));
    match text.strip_prefix('-') {
        Some(magnitude) if is_zero => magnitude.to_owned(),
        None if !is_zero && !text.starts_with("NaN") => format!("+{text}"),
        _ => text.to_owned(),
    }
}

fn significant(value: f64, digits: usize) -> String {
    format!("{value:.*}", decimals(value, digits))
}

/// Number of decimals that show `digits` significant digits of a number of at least 0.01.
fn decimals(value: f64, digits: usize) -> usize {
    let before_point = value.abs().max(0.01).log10().floor() as isize + 1;
    usize::try_from(digits as isize - before_point).unwrap_or(0)
}

/// CSV with a column for each number that any task has.
fn csv(results: &[TaskResult], timings: &[Timing]) -> String {
    let mut metrics: Vec<&Metric> = Vec::new();
    for result in results.iter().flat_map(|result| &result.metrics) {
        if !metrics.contains(&result.metric) {
            metrics.push(result.metric);
        }
    }
    let mut text = String::from("task,config,examples,truncated");
    for (prefix, metrics) in [("", &metrics), ("delta_", &metrics)] {
        for metric in metrics {
            let filter = metric.filter().map(|filter| format!("_{}", filter.name));
            let name = metric.name.to_owned() + &filter.unwrap_or_default();
            let _ = write!(text, ",{prefix}{name},{prefix}{name}_stderr");
        }
    }
    text.push_str(",examples_per_second,weight_bytes,kv_bytes_per_token,kv_bits");
    let pair = |estimate: Option<Estimate>| match estimate {
        None => ",,".to_owned(),
        Some(Estimate { value, stderr }) => {
            let stderr = stderr.map(|stderr| stderr.to_string());
            format!(",{value},{}", stderr.unwrap_or_default())
        }
    };
    for (result, timing) in results.iter().zip(timings) {
        let of = |metric: &Metric| result.metric(metric);
        let values = metrics
            .iter()
            .map(|metric| of(metric).map(|of| of.estimate));
        let differences = metrics.iter().map(|metric| of(metric)?.from_baseline);
        let pairs: String = values.chain(differences).map(pair).collect();
        // Names are fit for file names, so they have neither commas nor quotes.
        let _ = write!(
            text,
            "\n{},{},{},{}{pairs},{},{},{},{}",
            result.task,
            result.config,
            result.examples,
            result.truncated,
            timing.examples_per_second,
            result.footprint.weight_bytes,
            result.footprint.kv_bytes_per_token,
            result
                .kv_bits
                .map_or_else(String::new, |bits| bits.to_string()),
        );
    }
    text.push('\n');
    text
}

fn json(results: &[TaskResult], timings: &[Timing]) -> String {
    let rows = results.iter().zip(timings);
    let rows: Vec<_> = rows
        .map(|(result, timing)| json!({"result": result, "timing": timing}))
        .collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}
