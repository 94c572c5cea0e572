//! Ctrl-C, and the signal that asks a process to end.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Set by the first Ctrl-C or SIGTERM, with a line that says what happens then; the second one ends
/// the program at once.
///
/// # Errors
/// If signals cannot be listened for.
pub fn stop_on_signals(stopping: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    let mut first: Option<Instant> = None;
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            // Who signals a group and its leader signals twice.
            if first.is_some_and(|first| first.elapsed() > Duration::from_secs(1)) {
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
