//! The progress of an evaluation.

use std::cell::Cell;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Receives the progress of a run.
pub trait Progress {
    /// `label` begins.
    fn begin(&self, label: &str);

    /// These tokens and examples are done, in this run or an earlier one.
    fn advance(&self, tokens: u64, examples: usize);

    /// The run has ended.
    fn end(&self);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _label: &str) {}
    fn advance(&self, _tokens: u64, _examples: usize) {}
    fn end(&self) {}
}

/// A bar on stderr with the remaining time, hidden unless stderr is a terminal. Its unit is the
/// token: time is about proportional to tokens, and the longest examples come first.
pub struct Bar {
    bar: ProgressBar,
    examples: Cell<usize>,
    total: usize,
}

impl Bar {
    /// A bar for this many tokens and examples.
    pub fn new(tokens: u64, examples: usize) -> Self {
        let template = "{prefix:<18} [{bar:30}] {msg} examples, {elapsed} elapsed, {eta} left";
        let style = ProgressStyle::with_template(template).expect("a well-formed template");
        let bar = ProgressBar::with_draw_target(Some(tokens), ProgressDrawTarget::stderr());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(format!("0/{examples}"));
        Self {
            bar,
            examples: Cell::new(0),
            total: examples,
        }
    }
}

impl Progress for Bar {
    fn begin(&self, label: &str) {
        self.bar.set_prefix(label.to_owned());
    }

    fn advance(&self, tokens: u64, examples: usize) {
        self.examples.set(self.examples.get() + examples);
        let message = format!("{}/{}", self.examples.get(), self.total);
        self.bar.set_message(message);
        self.bar.inc(tokens);
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
