//! What a client may take.

use std::time::Duration;

/// Limits of the server.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Most bytes of a body.
    pub body_bytes: usize,
    /// Most requests for answers at a time, running and waiting.
    pub requests: usize,
    /// Most open connections.
    pub connections: usize,
    /// Most time from the arrival of a request to its last token.
    pub answer: Duration,
    /// Most time for a head, for a body, and for the client to take what is sent.
    pub client: Duration,
}

/// Most bytes of a head.
pub const HEAD_BYTES: usize = 64 << 10;

/// Raises the number of files that the process may open to what `connections` need.
///
/// The system may allow fewer. Connections beyond that are refused when they come.
pub fn allow_connections(connections: usize) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls read or write one `rlimit`, which lives on this stack.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let wanted = (connections as libc::rlim_t + 256).min(limit.rlim_max);
            limit.rlim_cur = limit.rlim_cur.max(wanted);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
