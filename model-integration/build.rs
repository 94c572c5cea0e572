//! Captures what only the build knows: the compiler and the commit that the binary is made of.
//! They go into every record, so they must be those of the build, not of the place it runs in.

use std::path::Path;
use std::process::Command;

fn main() {
    // Directories are watched recursively: any source edit re-runs this script, so that the
    // dirty flag is never older than the code.
    for source in [
        "../Cargo.lock",
        "../kernels",
        "../harness",
        "../model-integration",
    ] {
        watch(Path::new(source));
    }
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", file]) {
            watch(Path::new(&path));
        }
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    export("MXLAB_RUSTC", output(&rustc, &["--version"]));
    export("MXLAB_COMMIT", output("git", &["rev-parse", "HEAD"]));
    let dirty = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    export(
        "MXLAB_DIRTY",
        dirty.map(|files| (!files.is_empty()).to_string()),
    );
    export("MXLAB_TARGET", std::env::var("TARGET").ok());
}

/// A path that does not exist would re-run the script on every build.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo:rerun-if-changed={}", path.display());
    }
}

/// Unknown values stay unset, and the record says `null`.
fn export(name: &str, value: Option<String>) {
    if let Some(value) = value {
        println!("cargo:rustc-env={name}={value}");
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
