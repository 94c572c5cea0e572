//! Handles Ctrl-C and SIGTERM.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Signalling a group and its leader signals the leader twice within this time.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// A flag that the first Ctrl-C or SIGTERM sets, printing `stopping`. The second one ends the
/// program at once.
///
/// # Errors
/// If the signals cannot be handled.
pub fn stop_on_signals(stopping: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            if first.is_some_and(|first| first.elapsed() > SAME_SIGNAL) {
                process::exit(130);
            }
            return;
        }
        first = Some(Instant::now());
        eprintln!("\n{stopping}; Ctrl-C again to leave at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
