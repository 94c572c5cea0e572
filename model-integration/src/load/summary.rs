//! The record of a level, from its outcomes.

use std::collections::BTreeMap;
use std::time::Instant;

use super::drive::{Outcome, Outcomes, Phase};
use crate::record::load::{CountedBy, Failures, Level, LevelRecord, Percentiles, Sample, Targets};

/// Summarises a level.
pub fn summarise(level: Level, outcomes: &Outcomes, targets: Targets) -> LevelRecord {
    let mut measured: Vec<&Outcome> = outcomes.ended.iter().collect();
    measured.retain(|outcome| outcome.phase == Phase::Measured);
    measured.sort_by_key(|outcome| outcome.due);
    let begin = measured.iter().map(|outcome| outcome.due).min();
    let end = measured.iter().map(|outcome| outcome.end).max();
    let (begin, end) = begin.zip(end).unwrap_or_else(|| {
        let now = Instant::now();
        (now, now)
    });
    let seconds = (end - begin).as_secs_f64();
    let good: Vec<&Outcome> = answered(&measured).collect();
    let counted_by = match good.iter().all(|outcome| outcome.answer.usage.is_some()) {
        true => CountedBy::Usage,
        false => CountedBy::Events,
    };
    let whole: Vec<&Outcome> = answered(&outcomes.ended.iter().collect::<Vec<_>>()).collect();
    let tokens = |outcomes: &[&Outcome]| {
        let tokens = outcomes
            .iter()
            .map(|outcome| output_tokens(outcome, counted_by));
        tokens.sum::<u64>()
    };
    let events: usize = whole
        .iter()
        .map(|outcome| outcome.answer.tokens.len())
        .sum();
    let tokens_per_event = tokens(&whole) as f64 / events.max(1) as f64;
    let events = outcomes.tokens.within(begin, end);
    let ended = whole.iter().filter(|one| (begin..=end).contains(&one.end));
    let timings: Vec<Timings> = good
        .iter()
        .map(|one| Timings::of(one, counted_by))
        .collect();
    let met = timings
        .iter()
        .filter(|timings| timings.meet(targets))
        .count();
    let of = |values: Vec<f64>| percentiles(values);
    let prompts = good.iter().filter_map(|one| one.answer.usage);
    LevelRecord {
        level,
        seconds,
        requests: measured.len(),
        failed: measured.len() - good.len(),
        ended_early: ended_early(&good, counted_by),
        retries: outcomes.ended.iter().map(|outcome| outcome.retries).sum(),
        failures: failures(&outcomes.ended),
        output_tokens_per_second: rate(events as f64 * tokens_per_event, seconds),
        requests_per_second: rate(ended.count() as f64, seconds),
        met: (targets != Targets::default()).then(|| rate(met as f64, measured.len() as f64)),
        counted_by,
        prompt_tokens: prompts.map(|usage| usage.prompt_tokens).sum(),
        output_tokens: tokens(&good),
        ttft: of(timings.iter().map(|timings| timings.ttft).collect()),
        tpot: of(timings.iter().filter_map(|timings| timings.tpot).collect()),
        gap: of(good.iter().flat_map(|outcome| gaps(outcome)).collect()),
        e2e: of(timings.iter().map(|timings| timings.e2e).collect()),
        held_back: of(measured
            .iter()
            .map(|one| (one.sent - one.due).as_secs_f64())
            .collect()),
        most_waiting: outcomes.most_waiting,
        samples: measured
            .iter()
            .map(|one| sample(one, begin, counted_by))
            .collect(),
    }
}

fn answered<'a>(outcomes: &[&'a Outcome]) -> impl Iterator<Item = &'a Outcome> {
    let good = outcomes.iter().filter(|outcome| outcome.failure.is_none());
    good.copied()
}

fn rate(count: f64, of: f64) -> f64 {
    if of > 0.0 { count / of } else { 0.0 }
}

/// The latencies of an answer, in seconds.
struct Timings {
    ttft: f64,
    tpot: Option<f64>,
    e2e: f64,
}

impl Timings {
    fn of(outcome: &Outcome, counted_by: CountedBy) -> Self {
        let times = &outcome.answer.tokens;
        let ends = times.first().zip(times.last());
        let first = ends.map_or(outcome.end, |(first, _)| *first);
        let later = output_tokens(outcome, counted_by).saturating_sub(1);
        let tpot = ends.filter(|_| later > 0);
        Self {
            ttft: (first - outcome.due).as_secs_f64(),
            tpot: tpot.map(|(first, last)| (*last - *first).as_secs_f64() / later as f64),
            e2e: (outcome.end - outcome.due).as_secs_f64(),
        }
    }

    fn meet(&self, targets: Targets) -> bool {
        let is_within = |own: f64, most: Option<f64>| most.is_none_or(|most| own <= most);
        is_within(self.ttft, targets.ttft)
            && is_within(self.tpot.unwrap_or(0.0), targets.tpot)
            && is_within(self.e2e, targets.e2e)
    }
}

fn output_tokens(outcome: &Outcome, counted_by: CountedBy) -> u64 {
    match (counted_by, outcome.answer.usage) {
        (CountedBy::Usage, Some(usage)) => usage.completion_tokens,
        _ => outcome.answer.tokens.len() as u64,
    }
}

fn ended_early(outcomes: &[&Outcome], counted_by: CountedBy) -> Option<usize> {
    let ends_early = |outcome: &&&Outcome| {
        let tokens = output_tokens(outcome, counted_by);
        outcome.asked.is_some_and(|asked| tokens < asked)
    };
    let count = outcomes.iter().filter(ends_early).count();
    (counted_by == CountedBy::Usage).then_some(count)
}

fn gaps(outcome: &Outcome) -> impl Iterator<Item = f64> {
    let pairs = outcome.answer.tokens.windows(2);
    pairs.map(|pair| (pair[1] - pair[0]).as_secs_f64())
}

fn failures(outcomes: &[Outcome]) -> BTreeMap<String, Failures> {
    let mut all = BTreeMap::new();
    for outcome in outcomes {
        let Some(failure) = &outcome.failure else {
            continue;
        };
        let own = all.entry(failure.kind()).or_insert_with(|| Failures {
            measured: 0,
            others: 0,
            example: failure.to_string(),
        });
        match outcome.phase {
            Phase::Measured => own.measured += 1,
            Phase::WarmUp | Phase::After => own.others += 1,
        }
    }
    all
}

fn sample(outcome: &Outcome, begin: Instant, counted_by: CountedBy) -> Sample {
    // A warm-up request may have been sent before.
    let since = |time: Instant| time.saturating_duration_since(begin).as_secs_f64();
    let times = &outcome.answer.tokens;
    let usage = outcome.answer.usage;
    Sample {
        due: since(outcome.due),
        sent: since(outcome.sent),
        first: times.first().copied().map(since),
        last: times.last().copied().map(since),
        end: since(outcome.end),
        prompt_tokens: usage.map(|usage| usage.prompt_tokens),
        output_tokens: output_tokens(outcome, counted_by),
        failure: outcome.failure.as_ref().map(super::failure::Failure::kind),
    }
}

/// Percentiles of samples; `None` of none.
pub fn percentiles(mut values: Vec<f64>) -> Option<Percentiles> {
    values.sort_by(f64::total_cmp);
    let max = *values.last()?;
    let at = |part: f64| {
        let place = part * (values.len() - 1) as f64;
        let (low, high) = (
            values[place.floor() as usize],
            values[place.ceil() as usize],
        );
        low + (high - low) * place.fract()
    };
    Some(Percentiles {
        mean: values.iter().sum::<f64>() / values.len() as f64,
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        max,
    })
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    /// As `numpy.percentile`.
    #[test]
    fn percentiles_are_interpolated() {
        let values = (1..=11).rev().map(f64::from).collect();
        let found = percentiles(values).expect("samples");
        assert_eq!(
            [found.mean, found.p50, found.p90, found.max],
            [6.0, 6.0, 10.0, 11.0]
        );
        assert!((found.p95 - 10.5).abs() < 1e-12, "{found:?}");
        assert!((found.p99 - 10.9).abs() < 1e-12, "{found:?}");
        assert_eq!(percentiles(vec![3.0]).expect("one").p99, 3.0);
        assert_eq!(percentiles(Vec::new()), None);
    }
}
