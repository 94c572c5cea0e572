//! What a connection has to do.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// What one connection has to do. A server that stops waits for it.
#[derive(Debug, Default)]
pub struct Activity {
    answers: AtomicUsize,
    writes: AtomicBool,
}

/// An answer that the connection's client waits for, until it is dropped.
#[derive(Debug)]
pub struct Due(Arc<Activity>);

impl Activity {
    /// An answer is due from now on.
    pub fn begin(self: &Arc<Self>) -> Due {
        self.answers.fetch_add(1, Relaxed);
        Due(Arc::clone(self))
    }

    /// Sets whether bytes wait for the client to take them.
    pub fn set_writes(&self, writes: bool) {
        self.writes.store(writes, Relaxed);
    }

    /// Whether an answer is due or on its way.
    pub fn is_busy(&self) -> bool {
        self.answers.load(Relaxed) > 0 || self.writes.load(Relaxed)
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.0.answers.fetch_sub(1, Relaxed);
    }
}
