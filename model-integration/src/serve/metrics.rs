//! Counts and times of a server, in Prometheus' text form.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of times, in seconds.
const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];

/// Durations in buckets.
#[derive(Debug, Default)]
pub struct Histogram(Mutex<([u64; BOUNDS.len() + 1], f64)>);

impl Histogram {
    /// Adds a duration.
    pub fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        let mut inner = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        inner.0[bucket] += 1;
        inner.1 += seconds;
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let (buckets, sum) = *self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        head(text, name, help, "histogram");
        let mut count = 0;
        for (bound, of_bucket) in BOUNDS.iter().zip(buckets) {
            count += of_bucket;
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        count += buckets[BOUNDS.len()];
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:literal,)*) => {
        /// What a server counts. Gauges are of the last step.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: AtomicU64,)*
            /// From the arrival of a request to the first token of each sequence.
            pub time_to_first_token: Histogram,
            /// Mean time between the tokens of a sequence, after the first.
            pub time_per_output_token: Histogram,
            /// Time of a step.
            pub step: Histogram,
        }

        impl Metrics {
            fn write_numbers(&self, text: &mut String) {
                $({
                    let name = concat!("mxlab_", stringify!($name));
                    head(text, name, concat!($($help),+).trim(), $kind);
                    let _ = writeln!(text, "{name} {}", self.$name.load(Ordering::Relaxed));
                })*
            }
        }
    };
}

metrics! {
    /// Requests that were accepted.
    requests_total: "counter",
    /// Requests that were refused because of their content.
    requests_invalid_total: "counter",
    /// Requests that were refused because the server was full.
    requests_overloaded_total: "counter",
    /// Sequences that ended with an answer.
    sequences_answered_total: "counter",
    /// Sequences whose client went away.
    sequences_cancelled_total: "counter",
    /// Sequences that ran out of time.
    sequences_expired_total: "counter",
    /// Sequences that failed.
    sequences_failed_total: "counter",
    /// Sequences that wait.
    sequences_waiting: "gauge",
    /// Sequences that run, the size of the batch.
    sequences_running: "gauge",
    /// Tokens of prompts that were computed or found in the cache.
    prompt_tokens_total: "counter",
    /// Positions that were found in the cache.
    prompt_tokens_shared_total: "counter",
    /// Tokens that were generated.
    output_tokens_total: "counter",
    /// Tokens that were generated in a second, over the last step.
    output_tokens_per_second: "gauge",
    /// Sequences that gave their pages back to be computed again.
    preemptions_total: "counter",
    /// Steps.
    steps_total: "counter",
    /// Pages of the cache.
    cache_pages: "gauge",
    /// Pages of the cache that sequences use.
    cache_pages_used: "gauge",
    /// Bytes of the cache.
    cache_bytes: "gauge",
    /// Open connections.
    connections: "gauge",
    /// Fields of requests that were ignored because nobody knows them.
    fields_ignored_total: "counter",
}

impl Metrics {
    /// Adds one to a counter.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Prometheus' text form.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_numbers(&mut text);
        for (histogram, name, help) in [
            (
                &self.time_to_first_token,
                "mxlab_time_to_first_token_seconds",
                "From the arrival of a request to the first token of each sequence.",
            ),
            (
                &self.time_per_output_token,
                "mxlab_time_per_output_token_seconds",
                "Mean time between the tokens of a sequence, after the first.",
            ),
            (&self.step, "mxlab_step_seconds", "Time of a step."),
        ] {
            histogram.write(&mut text, name, help);
        }
        text
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
