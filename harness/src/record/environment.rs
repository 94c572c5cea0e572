use std::fs;
use std::time::SystemTime;

use humantime::format_rfc3339_seconds;
use serde::{Deserialize, Serialize};

use super::Build;

/// The machine and the build that made a record; `None` where unknown.
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
    /// The machine that it ran on.
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
    /// Asks the system. It never fails; unknown values are `None`.
    pub fn capture() -> Self {
        let build = Build::declared();
        Self {
            date: format_rfc3339_seconds(SystemTime::now()).to_string(),
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
    /// Asks the system. It never fails; unknown values are `None`.
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

/// Version and commit of this build in one line, `0.1.0 (1a2b3c4d5e, dirty)`. Parts of one result
/// must agree in it.
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
