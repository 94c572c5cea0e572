//! Planted defects, one or more for each rule: each must stop the launch at its own line, block
//! and thread, with its own words.

use crate::machine::launched::{BODY_LINE, Machine, kernel};
use ptx_emulator::launch::LaunchError;
use ptx_emulator::report::Index3;

/// Bodies of kernels that break a rule, one or more for each rule. Above each stand the rule, and
/// what must stop it: the blocks that run, the block and thread that are stopped, the message. The
/// instruction that is wrong has the comment `// here`; the other one that a report names has
/// `// there`, which stands for `THERE` in the message.
const DEFECTS: &str = include_str!("defects.ptx");

/// A kernel that breaks a rule. 64 threads a block and a budget of 10,000 instructions; `out` is
/// 256 words that nobody wrote at 0x10000000, `in` 256 words at 0x10001400.
struct Defect {
    rule: &'static str,
    body: &'static str,
    /// Blocks that run; block and thread that are stopped.
    numbers: [u32; 3],
    message: &'static str,
}

impl Defect {
    /// Every one of the file.
    fn all() -> Vec<Self> {
        let parse = |text: &'static str| {
            let (rule, rest) = text.split_once('\n').expect("a rule");
            let at = rest.find("// grid ").expect("what stops it");
            let (expected, body) = rest[at..].split_once('\n').expect("a body");
            let (place, message) = expected.split_once(": ").expect("a message");
            let numbers = place.split(|c: char| !c.is_ascii_digit());
            let numbers: Vec<u32> = numbers.filter_map(|n| n.parse().ok()).collect();
            Self {
                rule,
                body,
                numbers: numbers.try_into().expect("grid, block and thread"),
                message,
            }
        };
        DEFECTS.split("\n\n").map(parse).collect()
    }
}

const OFFSETS: &str =
    "mul.wide.u32 %rd0, %tid, 4; add.u64 %rd1, %in, %rd0; add.u64 %rd2, %out, %rd0;";

/// Line of the kernel that is the first of a defect's body that bears a mark.
fn marked(body: &str, mark: &str) -> Option<u32> {
    let at = body.lines().position(|line| {
        let comment = line.split_once("//");
        comment.is_some_and(|(_, words)| words.split(' ').any(|word| word == mark))
    })?;
    Some(BODY_LINE + 1 + at as u32)
}

#[test]
fn every_planted_defect_stops_at_its_line_with_its_words() {
    let input: Vec<u32> = (0..256).collect();
    let mut wrong = Vec::new();
    let defects = Defect::all();
    for defect in &defects {
        let [grid, block, thread] = defect.numbers;
        let mut machine = Machine::new(256, &input);
        let source = kernel(&format!("{OFFSETS}\n{}", defect.body));
        let report = match machine.run_with(&source, grid, 64, 10_000) {
            Err(LaunchError::Violation(report)) => report,
            other => {
                wrong.push(format!("{}: {other:?}", defect.rule));
                continue;
            }
        };
        let there = marked(defect.body, "there");
        let message = report.violation.to_string();
        let message = match there {
            // Reports name the column too.
            Some(line) => message
                .rsplit_once(':')
                .map_or_else(String::new, |(message, _)| {
                    message.replace(&format!("line {line}"), "line THERE")
                }),
            None => message,
        };
        let is_right = report.kernel == "k"
            && Some(report.position.line) == marked(defect.body, "here")
            && report.block == Index3([block, 0, 0])
            && report.thread == Index3([thread, 0, 0])
            && message == defect.message;
        if !is_right {
            wrong.push(format!(
                "{}\n  expected {}\n  got      {report}",
                defect.rule, defect.message
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        defects.len(),
        wrong.join("\n")
    );
}

#[test]
fn freed_memory_is_known_by_its_name() {
    let input: Vec<u32> = (0..256).collect();
    let mut machine = Machine::new(256, &input);
    machine.memory.free(machine.input).expect("allocated");
    let body = format!("{OFFSETS}\nld.global.u32 %r0, [%rd1];");
    let error = machine.run(&kernel(&body), 1, 32).expect_err("a violation");
    assert_eq!(
        error.to_string(),
        format!(
            "k: line {}:1: block (0, 0, 0), thread (0, 0, 0): 4 bytes at 0x10001400 belong to \
             `in` (1024 bytes at 0x10001400), which was freed",
            BODY_LINE + 1
        )
    );
}
