//! Memory of processes, where Linux tells it.

use std::fs;

/// Peak memory of a process in bytes.
pub fn peak_memory(pid: u32) -> Option<u64> {
    of(pid, "VmHWM:")
}

/// Memory of a process in bytes.
pub fn memory(pid: u32) -> Option<u64> {
    of(pid, "VmRSS:")
}

/// Bytes of memory that the system can give.
pub fn available_memory() -> Option<u64> {
    field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Resets the peak memory of this process.
pub fn reset_peak_memory() {
    // Elsewhere than in Linux peak memory is not measured.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn of(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    self::field(&status, field)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kibibytes)
}
