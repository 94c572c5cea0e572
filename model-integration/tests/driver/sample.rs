//! A few kernels, and bundles of them.

use not_run::not_run;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::AtomicBool;

use mxlab_harness::assemble::{Assembler, ToolError};
use mxlab_harness::bundle::{Order, Source, Summary, bundle};
use mxlab_kernels::registry::{Entry, kernels};

/// Six kernels of one family.
pub const SCALES: &str = "scale_fp4_e2m1_e8m0_floor_ocp_*_k16_*";

/// The kernels of the registry whose id matches.
pub fn entries(pattern: &str) -> Vec<Box<dyn Entry>> {
    let pattern = glob::Pattern::new(pattern).expect("a pattern");
    let entries: Vec<_> = kernels()
        .filter(|entry| pattern.matches(&entry.id()))
        .collect();
    assert!(!entries.is_empty(), "{pattern}");
    entries
}

/// The source that is assembled for a kernel.
pub fn source(entry: &dyn Entry) -> Source {
    Source {
        id: entry.id().into(),
        family: entry.family().to_owned(),
        ptx: entry.ptx(),
    }
}

/// ptxas; `None`, with a message, if it is not installed.
pub fn assembler(test: &str) -> Option<Assembler> {
    match Assembler::find() {
        Ok(assembler) => Some(assembler),
        Err(error @ ToolError::Missing { .. }) => {
            not_run(test, &error.needed());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A folder of images of these kernels for sm_90.
pub fn made(folder: &Path, assembler: &Assembler, sources: Vec<Source>) -> Summary {
    let order = Order {
        chip: "sm_90".parse().expect("a chip"),
        folder: folder.to_owned(),
        jobs: 2,
    };
    let stop = AtomicBool::new(false);
    bundle(sources.into_iter(), &order, assembler, &stop, &|_| {}).expect("a bundle")
}

/// A kernel after an edit: its body begins with another instruction.
pub fn edited(mut source: Source) -> Source {
    let body = source.ptx.find("{\n").expect("a body") + 2;
    source.ptx.insert_str(
        body,
        "    .reg .b32 %r_edited;\n    mov.u32 %r_edited, 0;\n",
    );
    source
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command failed with exit code 1 and without a panic, and its last line is an error with
/// these words.
pub fn assert_one_line(output: &Output, words: &[&str]) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    let lines: Vec<&str> = error
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert_eq!(error.lines().last(), Some(lines[0]), "{error}");
    for word in words {
        assert!(lines[0].contains(word), "no `{word}` in: {error}");
    }
}
