//! `mxlab inspect`: output for the flagship kernel, and errors.

use not_run::not_run;
use std::process::{Command, Output};

const FLAGSHIP: &str = "quantize_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32_aligned__sm80";

fn inspect(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.arg("inspect").args(arguments.split_whitespace());
    command
}

fn run(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn wrong_arguments_are_refused() {
    for (arguments, expected) in [
        (FLAGSHIP.replace("bf16", "bf17"), FLAGSHIP.to_owned()),
        (
            format!("{FLAGSHIP} --sm 75"),
            "needs sm_80, not sm_75".to_owned(),
        ),
        (
            format!("{FLAGSHIP} --sm hopper"),
            "invalid SM `hopper`".to_owned(),
        ),
        (
            format!("{FLAGSHIP} --sm 80 --chip H200"),
            "H200 is sm_90, which runs no code for sm_80".to_owned(),
        ),
        (
            format!("{FLAGSHIP} --chip H300"),
            "unknown chip `H300`; expected H200".to_owned(),
        ),
        (
            format!("{FLAGSHIP} --shape 8192"),
            "expected ROWSxCOLS".to_owned(),
        ),
        (
            format!("{FLAGSHIP} --shape 0x32"),
            "expected ROWSxCOLS".to_owned(),
        ),
        (
            format!("{FLAGSHIP} --shape 1x99999999999"),
            "expected ROWSxCOLS".to_owned(),
        ),
    ] {
        let (output, stdout, stderr) = run(&mut inspect(&arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.contains(&expected), "{arguments}: {stderr}");
        assert_eq!(stdout, "", "{arguments}");
    }
}

#[test]
fn absent_tools_are_named_with_what_to_install() {
    let (output, stdout, stderr) = run(inspect(FLAGSHIP).env_remove("PTXAS").env("PATH", ""));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("no ptxas") && stderr.contains("pip install"),
        "{stderr}"
    );
    let (_, _, stderr) = run(inspect(FLAGSHIP).env("PTXAS", "/nowhere/ptxas"));
    assert!(stderr.contains("PTXAS names `/nowhere/ptxas`"), "{stderr}");
    assert_eq!(stdout, "");
}

#[test]
fn the_flagship_is_inspected() {
    let (output, stdout, stderr) = run(&mut inspect(FLAGSHIP));
    if !output.status.success() && stderr.contains("pip install") {
        let tools = ["ptxas", "nvdisasm"].into_iter();
        let lacking = tools.filter(|tool| stderr.contains(&format!("no {tool}")));
        let lacking: Vec<&str> = lacking.collect();
        not_run("the_flagship_is_inspected", &lacking.join(", "));
        return;
    }
    assert!(output.status.success(), "{stderr}");
    for expected in [
        "assembled for sm_90, predicted for H200",
        "spills         0 bytes",
        "occupancy      100 %: 64 of 64 warps, 8 thread blocks of 256",
        "global loads   128 bits",
        "global stores  32, 8 bits",
        "bytes an element        2.531",
        "limited by memory",
    ] {
        assert!(stdout.contains(expected), "{expected}: {stdout}");
    }
    // The SM determines the chip.
    let (_, stdout, _) = run(&mut inspect(&format!("{FLAGSHIP} --sm 86")));
    assert!(
        stdout.contains("assembled for sm_86, predicted for L40S"),
        "{stdout}"
    );
    // Rows and columns are the family's.
    let (_, stdout, _) = run(&mut inspect("attention_decode_h64_bf16_bf16__sm80"));
    assert!(
        stdout.contains("predicted for 262144 positions of key heads x 64 features on H200"),
        "{stdout}"
    );
}
