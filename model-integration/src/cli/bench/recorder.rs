//! Writes a bench's results to disk after each group, and shows progress.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mxlab_benches::gpu::Gpu;
use mxlab_benches::record::BenchMachine;
use mxlab_benches::run::{Found, Observer};
use mxlab_benches::{BenchError, BenchRecord, Case};
use mxlab_harness::measure::GpuMonitor;
use mxlab_harness::record::FileError;

use crate::record;

fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
    bar.set_style(style.expect("a well-formed template"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Writes results to disk.
pub struct Recorder {
    record: BenchRecord,
    path: Option<PathBuf>,
    monitor: Option<Arc<GpuMonitor>>,
    gpu: Option<Rc<Gpu>>,
    bar: ProgressBar,
}

impl Recorder {
    /// An empty record, written to `path` if there is one.
    pub fn new(
        record: BenchRecord,
        path: Option<PathBuf>,
        monitor: Option<Arc<GpuMonitor>>,
        gpu: Option<Rc<Gpu>>,
    ) -> Self {
        Self {
            record,
            path,
            monitor,
            gpu,
            bar: spinner(),
        }
    }

    /// The current record.
    pub const fn record(&self) -> &BenchRecord {
        &self.record
    }

    /// Ends the run: complete if `found` has the results, else interrupted.
    pub fn finish<E>(&mut self, found: Result<&Found, &E>) {
        self.bar.finish_and_clear();
        self.look();
        if let Ok(found) = found {
            self.take(found);
            self.record.is_complete = true;
        }
    }

    /// Writes the record, if a path is given.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self) -> Result<(), FileError> {
        match &self.path {
            Some(path) => record::write(path, &self.record),
            None => Ok(()),
        }
    }

    fn take(&mut self, found: &Found) {
        self.record.roof.clone_from(&found.roof);
        self.record.measured.clone_from(&found.measured);
        self.record.refused.clone_from(&found.refused);
    }

    /// Notes the state of the GPU, and the kernels it has loaded.
    fn look(&mut self) {
        self.record.kernel_loads = self.gpu.as_ref().map(|gpu| gpu.loads());
        if let (BenchMachine::Device { states, .. }, Some(monitor)) =
            (&mut self.record.machine, &self.monitor)
        {
            let state = monitor.state();
            states.push(state);
        }
    }
}

impl Observer for Recorder {
    fn working_on(&mut self, case: &Case, round: Option<u32>) {
        let shape = case.shape();
        self.bar.set_message(match round {
            None => format!("verifying {} {shape}", case.kernel),
            Some(round) => format!("round {}: {} {shape}", round + 1, case.kernel),
        });
    }

    fn round(&mut self) {
        self.look();
    }

    /// If the record cannot be written now, it may be later; timings are printed in any case.
    fn done(&mut self, found: &Found) -> Result<(), BenchError> {
        self.take(found);
        if let Err(error) = self.write() {
            self.bar.suspend(|| eprintln!("{error}; the run goes on"));
        }
        Ok(())
    }
}
