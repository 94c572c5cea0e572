//! Every row is legal PTX: NVIDIA's assembler takes it.

use mxlab_harness::conformance::{batches, chapters};
use not_run::not_run;
use std::io::Write as _;
use std::process::Command;

#[test]
fn every_row_assembles() {
    let ptxas = std::env::var_os("PTXAS").unwrap_or_else(|| "ptxas".into());
    if Command::new(&ptxas).arg("--version").output().is_err() {
        not_run("every_row_assembles", "ptxas");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut modules, mut refused) = (0, String::new());
    for chapter in chapters() {
        for (i, (rows, text)) in batches(&chapter.rows).enumerate() {
            let path = directory.path().join(format!("{}_{i}.ptx", chapter.name));
            std::fs::write(&path, &text).expect("a temporary file");
            let run = Command::new(&ptxas)
                .arg(format!("-arch={}", rows[0].target()))
                .args(["-O0", "-o", "/dev/null"])
                .arg(&path)
                .output()
                .expect("ptxas runs");
            modules += 1;
            if run.status.success() {
                continue;
            }
            let messages = String::from_utf8_lossy(&run.stderr);
            for message in messages.lines().filter(|line| line.contains("line ")) {
                let number = message
                    .split("line ")
                    .nth(1)
                    .and_then(|m| m.split(';').next());
                let number = number.and_then(|n| n.trim().parse::<usize>().ok());
                let line = number.and_then(|n| text.lines().nth(n.saturating_sub(1)));
                refused.push_str(&format!("{}: {message}\n", line.unwrap_or("")));
            }
        }
    }
    assert!(refused.is_empty(), "{refused}");
    let _ = writeln!(std::io::stderr(), "{modules} modules assemble");
}
