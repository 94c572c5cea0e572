//! The commands for PTX kernels, through the binary.

mod campaign;
mod lost_gpu;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

fn run(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mxlab"))
        .args(line.split_whitespace())
        .output()
        .expect("runs")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The output of a command that succeeds.
pub(crate) fn done(line: &str) -> String {
    let output = run(line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{line}: {error}{}",
        stdout(&output)
    );
    stdout(&output)
}

pub(crate) fn json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("written")).expect("JSON")
}

const FEW: &str = "*_fp4_e2m1_ue5m3_*even_ocp_bf16_k16_*";

#[test]
fn verify_walks_the_kernels_of_a_pattern_and_records_it() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let record = folder.path().join("verify.json");
    let line = format!("verify --device emulator --kernel {FEW} --seed 3 --problems 5");
    let text = done(&format!("{line} --output-path {}", record.display()));
    assert!(
        text.contains("quantize") && text.contains("0 kernels wrong"),
        "{text}"
    );
    let record = json(&record);
    assert_eq!(record["kind"], "verify");
    assert_eq!(record["device"]["kind"], "emulator");
    assert_eq!(record["seed"], 3);
    let families = record["families"].as_array().expect("a list");
    assert!(
        families
            .iter()
            .all(|family| family["elements"].as_u64() > Some(0))
    );
    assert_eq!(record["findings"], Value::Array(Vec::new()));
}

#[test]
fn a_problem_is_run_again_from_its_seed_and_from_a_file() {
    let kernel = "scale_fp4_e2m1_e8m0_floor_ocp_f32_k32_ragged__sm80";
    let again = done(&format!(
        "verify --device emulator --replay {kernel}:77 --problem-size 50"
    ));
    assert!(
        again.contains(kernel) && again.ends_with("right\n"),
        "{again}"
    );

    let folder = tempfile::tempdir().expect("temporary directory");
    let path = folder.path().join("kept.json");
    let bits = "1065353216, 3212836864, 0";
    let sizes = "\"rows\": 1, \"cols\": 3, \"src_stride\": 3, \"src_offset\": 0, \
                 \"dst_stride\": 3, \"dst_offset\": 0, \"codes_offset\": 0, \"first_row\": 0, \
                 \"seed\": 0, \"in_place\": 0";
    let problem = |bits: &str| {
        format!(
            "{{\"kernel\": \"{kernel}\", \"was\": \"x\", \"problem\": {{\"sizes\": {{{sizes}}}, \
             \"tensors\": {{\"src\": {{\"element\": \"f32\", \"bits\": [{bits}]}}}}}}}}"
        )
    };
    fs::write(&path, problem(bits)).expect("writable");
    let line = format!("verify --device emulator --replay {}", path.display());
    assert!(done(&line).ends_with("right\n"));
    // An invalid problem names the operand that does not fit.
    fs::write(&path, problem("0")).expect("writable");
    let output = run(&line);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stdout(&output).is_empty());
    assert!(error.contains("`src` does not fit"), "{error}");
    fs::write(&path, "{\"kernel\": 3}").expect("writable");
    let output = run(&line);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("kept.json") && error.contains("line 1"),
        "{error}"
    );
}

#[test]
fn list_shows_what_an_element_costs() {
    let text = done("list --no-ptxas quantize_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32_aligned*");
    let mut rows = text.lines().filter(|line| line.starts_with("quantize_"));
    let cells: Vec<&str> = rows.next().expect("a row").split_whitespace().collect();
    // Input of bf16; output of half a byte and 1/32 byte per element.
    let bytes: f64 = cells[3].parse().expect("a number");
    assert!((bytes - 2.53).abs() < 0.01, "{text}");
    assert!(done("list --count").contains("fake_quantize"));
}

#[test]
fn mutants_are_planted_caught_and_listed() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let record = folder.path().join("mutate.json");
    let kernel = "dequantize_fp8_e4m3_e8m0_f32_k32_aligned*";
    let line = format!(
        "mutate --kernel {kernel} --problems 20 --output-path {}",
        record.display()
    );
    let text = stdout(&run(&line));
    assert!(
        text.contains("constant") && text.contains("dequantize"),
        "{text}"
    );
    let record = json(&record);
    let score = &record["kernels"][0];
    assert!(score["caught"]["operands"].as_u64() > Some(0), "{score}");
    for survivor in score["survivors"].as_array().expect("a list") {
        assert_ne!(survivor["original"], survivor["planted"]);
    }
}

#[test]
fn an_edited_kernel_is_verified_in_place_of_its_own() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let id = "quantize_fp4_e2m1_e8m0_floor_even_ocp_bf16_k32_aligned__sm80";
    done(&format!("list {id} --save-ptx {}", folder.path().display()));
    let ptx = std::fs::read_to_string(folder.path().join(id).with_extension("ptx")).expect("PTX");
    let verify = |change: &str, to: &str| {
        assert!(ptx.contains(change));
        let path = folder.path().join("edited.ptx");
        std::fs::write(&path, ptx.replace(change, to)).expect("writes");
        let output = run(&format!("verify --problems 8 --ptx {}", path.display()));
        (output.status.code(), stdout(&output))
    };
    let (code, text) = verify("// -- amax --", "// another comment");
    assert!(
        code == Some(0) && text.contains("0 kernels wrong"),
        "{text}"
    );
    let (code, text) = verify("0x7FFF7FFF", "0x7FFE7FFF");
    assert!(
        code == Some(1) && text.contains("by the reference"),
        "{text}"
    );
    assert!(text.contains("--ptx"), "{text}");
    let (code, text) = verify("ret;", "rett;");
    let says = text.contains("unknown instruction `rett`");
    assert!(code == Some(1) && says, "{text}");
    let (code, text) = verify("ret;", "$again: bra $again;");
    assert!(code == Some(1) && text.contains("loop for ever"), "{text}");
    let (code, text) = verify(&format!(".entry {id}"), ".entry another");
    assert_eq!((code, text.as_str()), (Some(1), ""));
}
