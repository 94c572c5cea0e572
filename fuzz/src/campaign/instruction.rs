//! An instruction as a job: a row of the conformance suite.

use super::{Bench, Job, Verdict, Visit};
use mxlab_harness::conformance::{Chapter, Row, RowVerdict, chapters};
use mxlab_harness::device::Properties;

/// A row of the conformance suite. It is *equal* where its verdict is right, *differs* where that
/// is wrong.
pub struct InstructionJob {
    chapter: &'static str,
    row: Row,
}

impl InstructionJob {
    /// Every row, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        let rows = |chapter: Chapter| {
            let name = chapter.name;
            let row = move |row| Self { chapter: name, row };
            chapter.rows.into_iter().map(row)
        };
        chapters().into_iter().flat_map(rows)
    }

    /// Whether a device has the target of the row.
    pub fn runs_on(&self, device: &Properties) -> bool {
        device.runs(self.row.target())
    }
}

impl Job for InstructionJob {
    fn id(&self) -> String {
        self.row.id()
    }

    fn family(&self) -> &'static str {
        self.chapter
    }

    fn repeats(&self) -> bool {
        false
    }

    fn visit(&self, bench: &Bench) -> Visit {
        let wrong = |failure: String| Verdict::Wrong {
            failure,
            seed: None,
            problem: None,
        };
        let (verdict, compared) = match self.row.run(bench.device, bench.stream) {
            Ok(RowVerdict::Equal { compared }) => (Verdict::Right, compared),
            Ok(RowVerdict::Differs { count, of, first }) => {
                let failure = format!(
                    "{} of inputs {:x?} in thread {} is {:#x}, expected {}; {count} of {of} differ",
                    first.register, first.inputs, first.thread, first.got, first.expected
                );
                (wrong(failure), of)
            }
            Ok(RowVerdict::Refused { reason }) => (Verdict::Refused { reason }, 0),
            Ok(RowVerdict::NotForThisChip { target }) => {
                let reason = format!("it needs a chip of target {target}");
                (Verdict::Refused { reason }, 0)
            }
            Err(error) if error.is_of_device() => {
                let crashed = Verdict::Crashed {
                    failure: format!("{}: {error}", self.row.text().trim()),
                    seed: None,
                };
                (crashed, 0)
            }
            Err(error) => (wrong(error.to_string()), 0),
        };
        Visit {
            verdict,
            problems: u64::from(compared > 0),
            elements: compared as u64,
            code: bench.device.code_of_last_load(),
        }
    }
}
