//! Every row is legal PTX, and every form that the emulator accepts: NVIDIA's assembler takes them.

use super::forms::accepted;
use mxlab_harness::conformance::{batches, chapters};
use not_run::not_run;
use ptx_emulator::syntax::ast::Type;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

/// What ptxas says of a module, each message behind the line that it is about; empty if it takes
/// the module. `None`, noted as not run for `test`, where there is no ptxas.
pub fn refused_lines(test: &str, target: &str, text: &str) -> Option<String> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("a temporary file");
    let ptxas = std::env::var_os("PTXAS").unwrap_or_else(|| "ptxas".into());
    let run = Command::new(ptxas)
        .arg(format!("-arch={target}"))
        .args(["-O0", "-o", "/dev/null"])
        .arg(file.path())
        .output();
    let Ok(run) = run else {
        not_run(test, "ptxas");
        return None;
    };
    if run.status.success() {
        return Some(String::new());
    }
    let messages = String::from_utf8_lossy(&run.stderr);
    let mut refused = String::new();
    for message in messages.lines() {
        let number = message.split("line ").nth(1);
        let number = number.and_then(|rest| rest.split(';').next()?.trim().parse::<usize>().ok());
        let line = number.and_then(|number| text.lines().nth(number.saturating_sub(1)));
        let _ = writeln!(refused, "{}: {message}", line.unwrap_or(""));
    }
    Some(refused)
}

#[test]
fn every_row_assembles() {
    let mut refused = String::new();
    for chapter in chapters() {
        for (rows, text) in batches(&chapter.rows) {
            let Some(lines) = refused_lines("every_row_assembles", rows[0].target(), &text) else {
                return;
            };
            refused.push_str(&lines);
        }
    }
    assert!(refused.is_empty(), "{refused}");
}

#[test]
fn every_accepted_form_assembles() {
    let accepted = accepted();
    assert!(accepted.len() > 2000, "{} forms", accepted.len());
    let mut source = String::from(
        ".version 8.8\n.target sm_100a\n.address_size 64\n.visible .entry forms() {\n",
    );
    for (text, registers) in &accepted {
        source.push_str("{ ");
        for (name, ty) in registers {
            let ty = match ty {
                Type::F16 | Type::Bf16 => "b16".into(),
                Type::F16x2 | Type::Bf16x2 => "b32".into(),
                other => format!("{other:?}").to_lowercase(),
            };
            let _ = write!(source, ".reg .{ty} {name}; ");
        }
        let _ = writeln!(source, "{text}; }}");
    }
    source.push_str("ret; }\n");
    if let Some(refused) = refused_lines("every_accepted_form_assembles", "sm_100a", &source) {
        assert!(refused.is_empty(), "{refused}");
    }
}
