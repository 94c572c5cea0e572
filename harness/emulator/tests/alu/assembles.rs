//! Every form that is accepted is one that NVIDIA's assembler takes.

use crate::alu::forms::accepted;
use not_run::not_run;
use ptx_emulator::syntax::ast::Type;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;

#[test]
fn every_accepted_form_assembles() {
    let accepted = accepted();
    let mut source = String::from(
        ".version 8.8\n.target sm_100a\n.address_size 64\n.visible .entry forms() {\n",
    );
    let header = source.lines().count();
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
    assert!(accepted.len() > 2000, "{} forms", accepted.len());

    let path = std::env::temp_dir().join(format!("ptx-emulator-forms-{}.ptx", std::process::id()));
    std::fs::write(&path, &source).expect("a temporary file");
    let ptxas = std::env::var_os("PTXAS").unwrap_or_else(|| "ptxas".into());
    let run = Command::new(ptxas)
        .args(["-arch=sm_100a", "-O0", "-o", "/dev/null"])
        .arg(&path)
        .output();
    let _ = std::fs::remove_file(&path);
    let Ok(run) = run else {
        not_run("every_accepted_form_assembles", "ptxas");
        return;
    };
    let messages = String::from_utf8_lossy(&run.stderr);
    let mut refused = String::new();
    for message in messages.lines().filter(|line| line.contains("error")) {
        let line = message
            .split("line ")
            .nth(1)
            .and_then(|rest| rest.split(';').next());
        let form = line
            .and_then(|line| line.trim().parse::<usize>().ok())
            .and_then(|line| accepted.get(line.checked_sub(header + 1)?));
        let text = form.map_or("", |form| form.0.as_str());
        let _ = writeln!(refused, "{text:40} {message}");
    }
    assert!(
        run.status.success(),
        "{refused}{}",
        messages.lines().take(3).collect::<String>()
    );
    let _ = writeln!(std::io::stderr(), "{} forms assemble", accepted.len());
}
