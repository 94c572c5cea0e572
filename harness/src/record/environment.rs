use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Build;

/// Where and from what a record was made. `None` is what could not be found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Start of the run, RFC 3339 in UTC.
    pub date: String,
    /// The command line.
    pub command: Vec<String>,
    /// Version of the workspace.
    pub version: String,
    /// Commit that the binary was built from.
    pub commit: Option<String>,
    /// Whether tracked files differed from that commit.
    pub dirty: Option<bool>,
    /// `rustc --version` of the build.
    pub rustc: Option<String>,
    /// Target triple of the build.
    pub target: Option<String>,
    /// What it ran on.
    pub machine: Machine,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: Option<String>,
    /// Processors that this process may use.
    pub cores: Option<usize>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Operating system and its version.
    pub os: String,
    /// Vector extensions found at run time.
    pub isa: Vec<String>,
}

impl Environment {
    /// Asks the system; never fails, what it does not say is `None`.
    pub fn capture() -> Self {
        let build = Build::declared();
        Self {
            date: utc_now(),
            command: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: build.commit.map(str::to_owned),
            dirty: build.is_dirty,
            rustc: build.rustc.map(str::to_owned),
            target: build.target.map(str::to_owned),
            machine: Machine::capture(),
        }
    }
}

impl Machine {
    /// Asks the system; never fails, what it does not say is `None`.
    pub fn capture() -> Self {
        Self {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_bytes: memory_bytes(),
            os: os_name(),
            isa: isa(),
        }
    }
}

/// Version and commit of this build in one line, `0.1.0 (1a2b3c4d5e, dirty)`: what must agree
/// for two parts of a result to belong together.
pub fn build_version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let build = Build::declared();
    let dirty = match build.is_dirty {
        Some(true) => ", dirty",
        _ => "",
    };
    match build.commit {
        Some(commit) => format!("{version} ({}{dirty})", &commit[..commit.len().min(10)]),
        None => version.to_owned(),
    }
}

/// The time now, RFC 3339 in UTC, to the second.
pub fn utc_now() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    rfc3339(seconds)
}

fn rfc3339(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, day + 1)
}

/// The value of the first `key : value` line of a file of such lines.
fn field(path: &str, key: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once([':', '='])?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(not(target_os = "macos"))]
fn cpu_model() -> Option<String> {
    field("/proc/cpuinfo", "model name").or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
}

#[cfg(not(target_os = "macos"))]
fn memory_bytes() -> Option<u64> {
    let total = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: u64 = total.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(target_os = "macos")]
fn cpu_model() -> Option<String> {
    sysctl("machdep.cpu.brand_string")
}

#[cfg(target_os = "macos")]
fn memory_bytes() -> Option<u64> {
    sysctl("hw.memsize")?.parse().ok()
}

#[cfg(target_os = "macos")]
fn sysctl(name: &str) -> Option<String> {
    let output = std::process::Command::new("sysctl")
        .args(["-n", name])
        .output()
        .ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn os_name() -> String {
    let name = field("/etc/os-release", "PRETTY_NAME");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    match (name, kernel) {
        (Some(name), Some(kernel)) => format!("{name}, kernel {}", kernel.trim()),
        (Some(name), None) => name,
        _ => std::env::consts::OS.to_owned(),
    }
}

#[cfg(target_arch = "x86_64")]
fn isa() -> Vec<String> {
    let mut found = Vec::new();
    macro_rules! detect {
        ($($feature:tt),*) => {
            $(if is_x86_feature_detected!($feature) {
                found.push($feature.to_owned());
            })*
        };
    }
    detect!(
        "avx",
        "f16c",
        "fma",
        "avx2",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512vbmi",
        "avx512vbmi2",
        "avx512vnni",
        "avx512bf16",
        "avx512fp16",
        "gfni"
    );
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn isa() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
