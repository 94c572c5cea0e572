//! Processor time of programs that this one ran.

use std::time::Duration;

/// User and system time of all children that have ended; `None` where the system does not tell.
#[cfg(unix)]
pub fn children() -> Option<Duration> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writes the structure that it is given.
    let told = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    if told != 0 {
        return None;
    }
    // SAFETY: zeroed, and then written by the call.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Some(duration(usage.ru_utime) + duration(usage.ru_stime))
}

/// User and system time of all children that have ended; `None` where the system does not tell.
#[cfg(not(unix))]
pub fn children() -> Option<Duration> {
    None
}
