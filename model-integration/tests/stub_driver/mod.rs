//! A CUDA driver without a GPU, for tests of the `mxlab` binary: `libcuda.c`, compiled by `cc`.
//!
//!     let Some(driver) = StubDriver::build("my_test", &[]) else { return };
//!     let mut command = driver.mxlab(&["verify", "--device", "cuda"]);
//!     let output = command.env("STUB_FAULT", "copy_x__sm80").output();
//!     driver.log(); // what was loaded and launched
//!
//! `libcuda.c` says which variables it reads.
#![allow(dead_code)]

use not_run::not_run;
use std::path::Path;
use std::process::Command;

/// A folder with the library and the log of its calls.
pub struct StubDriver {
    folder: tempfile::TempDir,
}

impl StubDriver {
    /// The driver without some of its functions; `None`, with a message, if there is no `cc`.
    ///
    /// # Panics
    /// If it does not compile.
    pub fn build(test: &str, lacking: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stub_driver/libcuda.c");
        let hidden: String = lacking.iter().map(|name| format!("{name};")).collect();
        let local = match hidden.as_str() {
            "" => String::new(),
            names => format!("local: {names}"),
        };
        std::fs::write(path("exports"), format!("{{ global: cu*; {local} }};")).expect("writable");
        let compiled = Command::new("cc")
            .args([
                "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
            ])
            .arg(path("libcuda.so.1"))
            .arg(source)
            .arg(format!(
                "-Wl,--version-script={}",
                path("exports").display()
            ))
            .output();
        let output = match compiled {
            Ok(output) => output,
            Err(error) => {
                not_run(test, &format!("a C compiler, cc ({error})"));
                return None;
            }
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the stub does not compile: {said}");
        // For every library name, so that this machine's own driver is not found.
        std::fs::copy(path("libcuda.so.1"), path("libcuda.so")).expect("writable");
        Some(Self { folder })
    }

    /// The `mxlab` binary with this driver in place of the system's; `log` is kept.
    pub fn mxlab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command
            .args(arguments)
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("STUB_LOG", self.log_path());
        for variable in [
            "STUB_VERSION",
            "STUB_DEVICES",
            "STUB_SM",
            "STUB_MEMORY",
            "STUB_FAULT",
            "STUB_HANG",
            "STUB_REFUSE",
            "STUB_REFUSE_PTX",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// Removes the driver: from now on it cannot be opened.
    ///
    /// # Panics
    /// If it is gone already.
    pub fn remove(&self) {
        for name in ["libcuda.so", "libcuda.so.1"] {
            std::fs::remove_file(self.folder.path().join(name)).expect("a library");
        }
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    /// The calls since the last call of this: `load elf BYTES`, `load ptx`, `kernel NAME elf|ptx`,
    /// `launch NAME`.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let _ = std::fs::remove_file(self.log_path());
        text.lines().map(str::to_owned).collect()
    }
}
