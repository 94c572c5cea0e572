//! Programs that use everything: ours and the assembler's opinion of them.

use not_run::not_run;
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use ptx_emulator::syntax::parse;

pub(super) const SAMPLES: [(&str, &str); 4] = [
    ("declarations", include_str!("samples/declarations.ptx")),
    ("instructions", include_str!("samples/instructions.ptx")),
    ("hopper", include_str!("samples/hopper.ptx")),
    ("compiled", include_str!("samples/compiled.ptx")),
];

/// `$PTXAS`, or else `ptxas` where the path has it. Says `not run` where neither is there.
fn ptxas() -> Option<PathBuf> {
    let named = env::var_os("PTXAS").map(PathBuf::from);
    let found = named.or_else(|| {
        let folders: OsString = env::var_os("PATH")?;
        env::split_paths(&folders)
            .map(|folder| folder.join("ptxas"))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        not_run("comparison with the assembler", "ptxas");
    }
    found
}

/// The binary that ptxas makes of `source`.
fn assemble(ptxas: &Path, name: &str, source: &str) -> Vec<u8> {
    let folder = env::temp_dir().join(format!("ptx-syntax-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let (text, binary) = (folder.join("in.ptx"), folder.join("out.cubin"));
    fs::write(&text, source).expect("a temporary file");
    let target = parse(source).expect("valid PTX").target.remove(0);
    let output = Command::new(ptxas)
        .arg(format!("-arch={target}"))
        .arg("-o")
        .arg(&binary)
        .arg(&text)
        .output()
        .expect("ptxas runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {said}\n{source}");
    let bytes = fs::read(&binary).expect("the output of ptxas");
    fs::remove_dir_all(&folder).expect("the temporary folder goes");
    bytes
}

#[test]
fn samples_are_ptx() {
    let Some(ptxas) = ptxas() else { return };
    for (name, source) in SAMPLES {
        assemble(&ptxas, name, source);
    }
}

#[test]
fn printed_samples_are_ptx() {
    let Some(ptxas) = ptxas() else { return };
    for (name, source) in SAMPLES {
        let printed = parse(source).expect(name).to_string();
        assemble(&ptxas, &format!("{name}-printed"), &printed);
    }
}

/// The assembler computes the expected values of the constant table too.
#[test]
fn constants_are_those_of_ptxas() {
    let Some(ptxas) = ptxas() else { return };
    let (texts, values): (Vec<_>, Vec<_>) = super::constants::INTEGERS.into_iter().unzip();
    let source = format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .const .b64 v[] = {{{}}};\n\
         .visible .entry k() {{ ret; }}\n",
        texts.join(",\n")
    );
    let expected: Vec<u8> = values.into_iter().flat_map(u64::to_le_bytes).collect();
    let binary = assemble(&ptxas, "constants", &source);
    let is_there = binary
        .windows(expected.len())
        .any(|bytes| bytes == expected);
    assert!(is_there, "ptxas computes other values");
    let variable = &parse(&source).expect("valid PTX").variables[0];
    assert_eq!(variable.initial.as_deref(), Some(expected.as_slice()));
}
