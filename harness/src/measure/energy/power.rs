//! Energy from power, sampled on a thread of its own.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);

/// Samples power until it is stopped.
#[derive(Debug)]
pub(super) struct PowerSampler {
    stop: Sender<()>,
    thread: JoinHandle<Vec<(f64, f64)>>,
}

impl PowerSampler {
    /// Samples `watts` at once and every [`INTERVAL`]; missing values are left out.
    pub fn start(watts: impl Fn() -> Option<f64> + Send + 'static) -> Self {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let mut samples = Vec::new();
            loop {
                let seconds = start.elapsed().as_secs_f64();
                samples.extend(watts().map(|watts| (seconds, watts)));
                match stopped.recv_timeout(INTERVAL) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let seconds = start.elapsed().as_secs_f64();
            samples.extend(watts().map(|watts| (seconds, watts)));
            samples
        });
        Self { stop, thread }
    }

    /// Joules since the start; `None` if power was unknown.
    pub fn stop(self) -> Option<f64> {
        // The thread is there until it is told, or its channel is dropped.
        let _ = self.stop.send(());
        trapezoids(&self.thread.join().ok()?)
    }
}

/// The integral of (seconds, watts) over time; `None` of less than two samples.
fn trapezoids(samples: &[(f64, f64)]) -> Option<f64> {
    let pairs = samples.windows(2);
    let joules = pairs.map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0);
    (samples.len() > 1).then(|| joules.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_integrated() {
        // 100 W for a second, a ramp to 300 W over two: 100 + 400.
        let samples = [(0.0, 100.0), (1.0, 100.0), (3.0, 300.0)];
        assert_eq!(trapezoids(&samples), Some(500.0));
        assert_eq!(trapezoids(&samples[..1]), None);
    }

    #[test]
    fn a_sampler_ends_when_told() {
        let start = Instant::now();
        let sampler = PowerSampler::start(|| Some(50.0));
        std::thread::sleep(Duration::from_millis(150));
        let joules = sampler.stop().expect("power");
        let most = 50.0 * start.elapsed().as_secs_f64();
        assert!(joules >= 50.0 * 0.15 && joules <= most, "{joules}");
        assert_eq!(PowerSampler::start(|| None).stop(), None);
    }
}
