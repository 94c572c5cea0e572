//! Kernels that crash or hang, after which the device is lost.
//!
//! A crash is sticky: the driver answers every later call with it. A hang is worse: most calls wait
//! for it, even those that free memory. So the first fault is kept, each later call returns it
//! without asking the driver, and nothing is freed any more.
//!
//! The first call that waits reports a crash, so it belongs to a launch since the last wait. Those
//! launches are kept by stream, and the error names them only.

use super::{DeviceError, Result};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The most names of launches to keep; a run of one kernel is one name.
const NAMES: usize = 16;

/// Launches since the last wait, and the fault, if there was one.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: Mutex<Vec<Pending>>,
    fault: OnceLock<DeviceError>,
    /// The driver waits for each launch: `CUDA_LAUNCH_BLOCKING=1`.
    is_blocking: bool,
}

/// The pending launches of a stream.
#[derive(Debug)]
struct Pending {
    stream: u64,
    launches: u64,
    names: Vec<String>,
}

impl Faults {
    /// No fault so far.
    pub fn new() -> Self {
        Self {
            is_blocking: std::env::var_os("CUDA_LAUNCH_BLOCKING").is_some_and(|value| value == "1"),
            ..Self::default()
        }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        // What is inside is whole between any two statements.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes launches on a stream that the driver has accepted.
    pub fn launched<'n>(&self, stream: u64, kernels: impl IntoIterator<Item = &'n str>) {
        if self.is_blocking {
            return;
        }
        let mut pending = self.pending();
        let index = pending.iter().position(|pending| pending.stream == stream);
        let index = index.unwrap_or_else(|| {
            pending.push(Pending {
                stream,
                launches: 0,
                names: Vec::new(),
            });
            pending.len() - 1
        });
        let Pending {
            launches, names, ..
        } = &mut pending[index];
        for kernel in kernels {
            *launches += 1;
            if names.len() < NAMES && names.last().is_none_or(|last| last != kernel) {
                names.push(kernel.to_owned());
            }
        }
    }

    /// Notes that everything on a stream ended well; on all streams if `None`.
    pub fn finished(&self, stream: Option<u64>) {
        let is_other = |pending: &Pending| stream.is_some_and(|stream| stream != pending.stream);
        self.pending().retain(is_other);
    }

    /// Whether no launch is pending.
    pub fn is_idle(&self) -> bool {
        self.pending().is_empty()
    }

    /// # Errors
    /// The earlier fault.
    pub fn check(&self) -> Result<()> {
        self.fault.get().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    /// Notes that a call of the driver reported a lost device. `launching` is its kernel, if it was
    /// a launch.
    pub fn lost(&self, reason: String, launching: Option<&str>) -> DeviceError {
        let pending = self.pending();
        let mut launches: u64 = pending.iter().map(|pending| pending.launches).sum();
        let names = pending.iter().flat_map(|pending| pending.names.clone());
        let mut kernels: Vec<String> = names.collect();
        drop(pending);
        if let (0, Some(kernel)) = (launches, launching) {
            launches = 1;
            kernels.push(kernel.to_owned());
        }
        self.keep(DeviceError::Lost {
            kernels,
            launches,
            reason,
        })
    }

    /// Waits until `ask` says that it is done.
    ///
    /// # Errors
    /// That of `ask`; [`DeviceError::Watchdog`] after `limit`, which names `kernel`, or the launch
    /// that is pending.
    pub fn wait(
        &self,
        kernel: &str,
        limit: Duration,
        ask: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            if ask()? {
                return Ok(());
            }
            let waited = begun.elapsed();
            if waited > limit {
                return Err(self.keep(DeviceError::Watchdog {
                    kernel: match kernel {
                        "" => self.last(),
                        kernel => kernel.to_owned(),
                    },
                    seconds: limit.as_secs_f32(),
                }));
            }
            // Short kernels are waited for awake; a long one does not need the core.
            if waited > Duration::from_millis(2) {
                std::thread::sleep(Duration::from_micros(200));
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// The last launch that is pending.
    fn last(&self) -> String {
        let pending = self.pending();
        let last = pending.last().and_then(|pending| pending.names.last());
        last.cloned().unwrap_or_default()
    }

    /// Keeps the first fault and returns it.
    fn keep(&self, fault: DeviceError) -> DeviceError {
        self.fault.get_or_init(|| fault).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_kernel_that_ends_is_waited_for() {
        let faults = Faults::default();
        let asked = Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            Ok(asked.get() == 5)
        };
        assert!(faults.wait("k", Duration::from_secs(60), ask).is_ok());
        assert_eq!(asked.get(), 5);
        assert!(faults.check().is_ok());
    }

    #[test]
    fn a_kernel_that_hangs_is_named_now_and_later() {
        let faults = Faults::default();
        let hangs = || Ok(false);
        let told = faults.wait("loops", Duration::from_millis(5), hangs);
        let told = told.expect_err("it hangs").to_string();
        assert!(
            told.contains("`loops`") && told.contains("0.005 s"),
            "{told}"
        );
        let _ = faults.wait("another", Duration::ZERO, hangs);
        let later = faults.check().expect_err("there was a fault").to_string();
        assert_eq!(later, told);
    }

    #[test]
    fn a_crash_belongs_to_a_launch_that_was_not_waited_for() {
        let crash = || "CUDA_ERROR_ILLEGAL_ADDRESS".to_owned();
        let faults = Faults::default();
        faults.launched(1, ["before"]);
        faults.launched(2, ["elsewhere"]);
        faults.finished(Some(1));
        faults.finished(Some(2));
        faults.launched(1, ["guilty"]);
        // The launch of a later kernel is refused, and is not to blame.
        let told = faults.lost(crash(), Some("later")).to_string();
        assert!(told.starts_with("`guilty` failed"), "{told}");
        assert!(told.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{told}");
        assert!(
            !told.contains("later") && !told.contains("before"),
            "{told}"
        );

        let faults = Faults::default();
        faults.launched(1, ["a", "b", "b"]);
        let told = faults.lost(crash(), None).to_string();
        assert!(told.contains("one of 3 launches"), "{told}");
        assert!(
            told.contains("a, b") && told.contains("CUDA_LAUNCH_BLOCKING"),
            "{told}"
        );

        // Launches that the driver waits for are to blame themselves.
        let faults = Faults::default();
        let told = faults.lost(crash(), Some("waited for")).to_string();
        assert!(told.starts_with("`waited for` failed"), "{told}");
    }
}
