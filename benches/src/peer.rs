//! Peers: separate programs that time other implementations in the same rounds.
//!
//! A peer reads a line of JSON and answers with one:
//!
//! | asked | answer |
//! |---|---|
//! | `{"list": {"shapes": [[rows, cols], ...], "tokens": [n, ...]}}` | name, versions, cases |
//! | `{"list": {..., "model": {"path": "...", "prompt": n, "decode": n}}}` | those of a model |
//! | `{"open": index}` | `{"ok": true}` |
//! | `{"time": index, "runs": n}` | `{"seconds": s}`, of all runs |
//! | `{"close": index}` | `{"ok": true}` |
//!
//! or `{"error": "..."}`. The lists of shapes and tokens may be empty. The answer to `list` is
//! `{"name": "...", "versions": {"torch": "..."}, "cases": [...]}`, with cases as in records. The
//! peer's standard error is shown. It is told our threads by `OMP_NUM_THREADS` and our instruction
//! set by `MXLAB_ISA`.

use crate::cpu::Arithmetic;
use crate::record::PeerRecord;
use crate::suite::Selection;
use crate::{BenchError, Case, Opened, Target};
use mxlab_harness::measure::Timed;
use mxlab_kernels::cpu::Isa;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

/// A program that times others' kernels.
pub struct Peer {
    name: String,
    process: RefCell<Process>,
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    versions: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Done {
    ok: bool,
}

#[derive(Deserialize)]
struct Took {
    seconds: f64,
}

impl Peer {
    /// Starts a program, or a Python file with `python`, and asks for its cases of a selection.
    ///
    /// # Errors
    /// If it cannot be started, or its answer is wrong.
    pub fn start(
        program: &Path,
        python: &Path,
        selection: &Selection,
    ) -> Result<(Vec<Box<dyn Target>>, PeerRecord), BenchError> {
        let name = program.display().to_string();
        let is_python = program
            .extension()
            .is_some_and(|extension| extension == "py");
        let mut command = match is_python {
            true => {
                let mut command = Command::new(python);
                command.arg(program);
                command
            }
            false => Command::new(program),
        };
        let failed = |reason: String| BenchError::Peer {
            name: name.clone(),
            reason,
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // As many threads as ours, and our instruction set.
        command.env("OMP_NUM_THREADS", rayon::current_num_threads().to_string());
        command.env("MXLAB_ISA", Isa::best().name());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no standard input or output".to_owned()));
        };
        let peer = Rc::new(Self {
            name,
            process: RefCell::new(Process {
                child,
                input,
                output: BufReader::new(output),
            }),
        });
        let Selection { shapes, tokens, .. } = selection;
        let mut list = json!({ "shapes": shapes, "tokens": tokens });
        if let Some(model) = &selection.model {
            list["model"] = json!(model);
        }
        let question = json!({ "list": list });
        let listed: Listed = peer.ask(&question)?;
        let record = PeerRecord {
            program: peer.name.clone(),
            name: listed.name,
            versions: listed.versions,
        };
        let cases = listed.cases.into_iter().enumerate();
        let target = |(index, mut case): (usize, Case)| -> Box<dyn Target> {
            if let Some(operands) = &case.arithmetic {
                let fastest = Arithmetic::fastest(operands);
                case.arithmetic = fastest.map(|kind| kind.name().to_owned());
            }
            Box::new(PeerTarget {
                peer: peer.clone(),
                index,
                case,
            })
        };
        Ok((cases.map(target).collect(), record))
    }

    fn failed(&self, reason: String) -> BenchError {
        BenchError::Peer {
            name: self.name.clone(),
            reason,
        }
    }

    fn ask<T: DeserializeOwned>(&self, question: &Value) -> Result<T, BenchError> {
        let failed = |reason: String| self.failed(reason);
        let mut process = self.process.borrow_mut();
        let mut answer = String::new();
        let sent = writeln!(process.input, "{question}").and_then(|()| process.input.flush());
        let read = sent.and_then(|()| process.output.read_line(&mut answer));
        let has_ended = match &read {
            Ok(bytes) => *bytes == 0,
            Err(error) => error.kind() == ErrorKind::BrokenPipe,
        };
        if has_ended {
            let ended = process.child.wait();
            let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            return Err(failed(format!("it ended: {ended}")));
        }
        read.map_err(|error| failed(error.to_string()))?;
        let value: Value = serde_json::from_str(&answer)
            .map_err(|error| failed(format!("{error} in its answer `{}`", answer.trim())))?;
        if let Some(error) = value.get("error") {
            let error = error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned);
            return Err(failed(error));
        }
        serde_json::from_value(value)
            .map_err(|error| failed(format!("{error} in its answer `{}`", answer.trim())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has no more to do; what it thinks of that does not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct PeerTarget {
    peer: Rc<Peer>,
    index: usize,
    case: Case,
}

/// A case that the program holds ready.
struct Open<'t>(&'t PeerTarget);

impl Target for PeerTarget {
    fn case(&self) -> &Case {
        &self.case
    }

    fn memory(&self) -> u64 {
        2 * self.case.bytes
    }

    fn open(&self) -> Result<Box<dyn Opened + '_>, BenchError> {
        let Done { ok } = self.peer.ask(&json!({ "open": self.index }))?;
        match ok {
            true => Ok(Box::new(Open(self))),
            false => Err((self.peer).failed("it did not open the case".to_owned())),
        }
    }
}

impl Timed for Open<'_> {
    type Error = BenchError;

    fn time(&mut self, runs: u32) -> Result<f64, BenchError> {
        let Self(target) = self;
        let question = json!({ "time": target.index, "runs": runs });
        let Took { seconds } = target.peer.ask(&question)?;
        match seconds.is_finite() && seconds > 0.0 {
            true => Ok(seconds),
            false => Err(target.peer.failed(format!("{seconds} is no time"))),
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Self(target) = self;
        // If it fails, the next question will.
        let _: Result<Done, _> = target.peer.ask(&json!({ "close": target.index }));
    }
}
