//! Campaigns whose workers crash, hang, are stopped or killed, or run out of disk.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kernels::{done, json, stdout};

const OF_ONE_FORMAT: &str = "*_fp4_e2m1_ue5m3_*even_ocp_bf16_k16_*";
const LOST_BY_FAULTS: &str = "emulator:lost-by-faults";

fn mxlab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    mxlab(arguments).output().expect("mxlab runs")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The sum of a count over all families of a record.
pub(crate) fn sum(record: &Value, count: &str) -> u64 {
    let families = record["families"].as_array().expect("a list");
    let counts = families.iter().map(|family| family[count].as_u64());
    counts.map(|count| count.expect("a number")).sum()
}

/// Kernel and verdict of every finding.
pub(crate) fn findings(record: &Value) -> Vec<(String, String, String)> {
    let findings = record["findings"].as_array().expect("a list");
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    let finding = |found: &Value| {
        (
            word(&found["kernel"]),
            word(&found["verdict"]),
            word(&found["failure"]),
        )
    };
    findings.iter().map(finding).collect()
}

/// The folder of journals beside a record.
pub(crate) fn journals(record: &Path) -> PathBuf {
    let mut name = record.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

#[test]
fn faulty_kernels_are_named_and_all_others_have_verdicts() {
    let folder = tempfile::tempdir().expect("a folder");
    let ptx = folder.path().join("ptx");
    done(&format!("list {OF_ONE_FORMAT} --save-ptx {}", text(&ptx)));
    let mut files: Vec<PathBuf> = fs::read_dir(&ptx)
        .expect("kernels")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let all = files.len();
    assert!(all >= 8, "{all} kernels");
    // One of each fault, in kernels that have the instruction.
    let mut plant = |family: &str, from: &str, to: &str| -> String {
        let name = |file: &Path| file.file_name()?.to_str().map(str::to_owned);
        let has = |file: &PathBuf| {
            name(file).is_some_and(|name| name.starts_with(family))
                && fs::read_to_string(file).expect("PTX").contains(from)
        };
        let index = files.iter().position(has);
        let file = files.remove(index.unwrap_or_else(|| panic!("no {family} has `{from}`")));
        let changed = fs::read_to_string(&file).expect("PTX").replace(from, to);
        fs::write(&file, changed).expect("writes");
        let name = file.file_stem().expect("a name");
        name.to_str().expect("UTF-8").to_owned()
    };
    let reads_outside = plant(
        "copy",
        "setp.lt.u32     %p_inbounds, %r_chunk, %r_chunks;",
        "setp.ge.u32     %p_inbounds, %r_chunk, %r_chunks;",
    );
    let never_ends = plant("append", "ret;", "$again: bra $again;");
    let is_wrong = plant("quantize", "0x7FFF7FFF", "0x7FFE7FFF");
    let is_no_ptx = plant("round", "ret;", "rett;");

    let (record, kept) = (folder.path().join("r.json"), folder.path().join("kept"));
    let output = output(&[
        "verify",
        "--device",
        LOST_BY_FAULTS,
        "--ptx",
        text(&ptx),
        "--workers",
        "2",
        "--output-path",
        text(&record),
        "--save",
        text(&kept),
    ]);
    let printed = stdout(&output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{printed}{}",
        stderr(&output)
    );
    let json = json(&record);
    let mut found = findings(&json);
    let mut expected = [
        (reads_outside.as_str(), "crashed"),
        (never_ends.as_str(), "crashed"),
        (is_wrong.as_str(), "wrong"),
        (is_no_ptx.as_str(), "refused"),
    ];
    found.sort();
    expected.sort_unstable();
    let named: Vec<(&str, &str)> = found
        .iter()
        .map(|(k, v, _)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(named, expected, "{printed}");
    for (kernel, _, failure) in &found {
        if *kernel == reads_outside {
            let guilty = format!("`{kernel}` failed");
            assert!(failure.contains(&guilty), "{failure}");
            assert!(failure.contains("out of bounds"), "{failure}");
        }
    }
    assert_eq!(sum(&json, "right"), all as u64 - 4);
    assert_eq!(sum(&json, "not_run"), 0);
    assert_eq!(json["end"], "finished");
    // A crash has no problem to save.
    let kept: Vec<_> = fs::read_dir(&kept).expect("kept").collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(printed.contains(&format!("{is_wrong}.json")), "{printed}");
    assert!(!journals(&record).exists());
}

#[test]
fn faults_on_purpose_are_survived() {
    let text = done(&format!("verify --faults --device {LOST_BY_FAULTS}"));
    assert!(
        text.contains("5 kernels right, 0 kernels wrong\n"),
        "{text}"
    );
    let text = done(&format!("verify --faults hang --device {LOST_BY_FAULTS}"));
    assert!(
        text.contains("3 kernels right, 0 kernels wrong\n"),
        "{text}"
    );
    // With --faults, a fault costs the emulator its process, whatever device was requested.
    let text = done("verify --faults --device emulator");
    assert!(
        text.contains("5 kernels right, 0 kernels wrong\n"),
        "{text}"
    );
}

/// A running campaign over many kernels.
struct UnderWay {
    supervisor: Child,
    record: PathBuf,
}

impl UnderWay {
    fn start(record: &Path, flags: &[&str]) -> Self {
        let supervisor = mxlab(&["verify", "--device", "emulator", "--every", "61"])
            .args(flags)
            .args(["--output-path", text(record)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mxlab runs");
        Self {
            supervisor,
            record: record.to_owned(),
        }
    }

    /// The process and the journal of a worker that has finished a few jobs.
    fn worker(&self, number: usize) -> (i32, PathBuf) {
        let journal = journals(&self.record).join(format!("worker-{number}-1.jsonl"));
        let begun = Instant::now();
        loop {
            let lines = fs::read_to_string(&journal).unwrap_or_default();
            if lines.lines().count() > 8 {
                let head: Value = serde_json::from_str(lines.lines().next().expect("a line"))
                    .expect("the head of a journal");
                return (head["pid"].as_i64().expect("a number") as i32, journal);
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{journal:?}");
            sleep(Duration::from_millis(5));
        }
    }

    fn wait(self) -> Output {
        self.supervisor.wait_with_output().expect("it ends")
    }
}

fn signal(process: i32, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status();
    assert!(status.expect("kill runs").success(), "-{name} {process}");
}

fn is_alive(process: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{process}/stat"));
    // Its parent may not have reaped it yet.
    state.is_ok_and(|state| !state.contains(") Z "))
}

/// Stops a worker in the middle of a job, and returns the job.
fn stop_in_a_job((process, journal): &(i32, PathBuf)) -> String {
    loop {
        signal(*process, "STOP");
        sleep(Duration::from_millis(20));
        let lines = fs::read_to_string(journal).expect("a journal");
        let last = lines.lines().next_back().expect("a line");
        let event: Value = serde_json::from_str(last).expect("an event");
        if let Some(job) = event["begun"]["job"].as_str() {
            return job.to_owned();
        }
        signal(*process, "CONT");
        sleep(Duration::from_millis(3));
    }
}

#[test]
fn a_worker_that_is_stopped_and_one_that_is_killed_name_their_kernels() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("r.json");
    let campaign = UnderWay::start(&record, &["--workers", "2", "--watchdog", "2"]);
    let (first, second) = (campaign.worker(0), campaign.worker(1));
    let stopped = stop_in_a_job(&first);
    let killed = stop_in_a_job(&second);
    signal(second.0, "KILL");
    let output = campaign.wait();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let json = json(&record);
    let found = findings(&json);
    let of = |kernel: &str| {
        let finding = found.iter().find(|(name, ..)| name == kernel);
        let (_, verdict, failure) = finding.unwrap_or_else(|| panic!("{kernel}: {found:?}"));
        assert_eq!(verdict, "crashed");
        failure.clone()
    };
    assert_eq!(found.len(), 2, "{found:?}");
    let failure = of(&stopped);
    assert!(failure.contains("no sign of life for 4 s"), "{failure}");
    let failure = of(&killed);
    assert!(failure.contains("signal 9 (SIGKILL"), "{failure}");
    assert_eq!(sum(&json, "not_run"), 0);
    let total = sum(&json, "kernels");
    assert_eq!(sum(&json, "right"), total - 2);
}

#[test]
fn a_campaign_whose_supervisor_is_killed_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("r.json");
    let campaign = UnderWay::start(&record, &["--workers", "2"]);
    let (first, second) = (campaign.worker(0), campaign.worker(1));
    signal(campaign.supervisor.id() as i32, "KILL");
    campaign.wait();
    // Workers do not outlive it.
    let begun = Instant::now();
    while is_alive(first.0) || is_alive(second.0) {
        assert!(begun.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(10));
    }
    // A journal is cut off in the middle of its last event.
    let journal = fs::read(&first.1).expect("a journal");
    fs::write(&first.1, &journal[..journal.len() - 7]).expect("writes");

    // Another campaign does not resume it.
    let line = |seed: &'static str, path: &'static str| {
        [
            "verify",
            "--device",
            "emulator",
            "--every",
            "61",
            "--seed",
            seed,
            "--output-path",
            path,
        ]
        .map(str::to_owned)
    };
    let run = |seed: &'static str, path: &Path| {
        let mut arguments = line(seed, "");
        text(path).clone_into(&mut arguments[8]);
        let arguments = arguments.each_ref().map(String::as_str);
        output(&arguments)
    };
    let other = run("1", &record);
    let message = stderr(&other);
    assert_eq!(other.status.code(), Some(1), "{message}");
    assert!(message.contains("another seed (0, not 1)"), "{message}");

    let resumed = run("0", &record);
    let message = stderr(&resumed);
    assert!(resumed.status.success(), "{message}");
    assert!(message.contains("going on: "), "{message}");
    let whole = folder.path().join("whole.json");
    assert!(run("0", &whole).status.success());
    let (resumed, whole) = (json(&record), json(&whole));
    assert_eq!(resumed["families"], whole["families"]);
    assert_eq!(resumed["findings"], whole["findings"]);
}

#[test]
fn a_full_disk_ends_a_campaign_in_one_line_and_costs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("r.json");
    let run = |before: &str| {
        // A file that exceeds its size limit fails like a full disk.
        let line = format!(
            "{before} exec {} verify --device emulator --every 61 --workers 2 --output-path {}",
            env!("CARGO_BIN_EXE_mxlab"),
            text(&record)
        );
        Command::new("bash")
            .args(["-c", &line])
            .output()
            .expect("bash runs")
    };
    // Blocks of 1 KiB: enough for the record, not for the journals.
    let full = run("trap '' XFSZ; ulimit -f 80;");
    let message = stderr(&full);
    assert_eq!(full.status.code(), Some(1), "{message}");
    let errors: Vec<&str> = message
        .lines()
        .filter(|l| l.starts_with("error:"))
        .collect();
    let [error] = errors[..] else {
        panic!("{message}");
    };
    assert!(
        error.contains("worker-") && error.contains("File too large"),
        "{error}"
    );
    assert!(
        error.contains("free space") && error.contains("r.json"),
        "{error}"
    );
    let partial = json(&record);
    let known = sum(&partial, "right");
    assert!(known > 0 && sum(&partial, "not_run") > 0, "{partial}");

    let whole = run("");
    let message = stderr(&whole);
    assert!(whole.status.success(), "{message}");
    let going_on = message
        .lines()
        .find_map(|line| line.strip_prefix("going on: "));
    let verdicts = going_on.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(verdicts >= Some(known), "{message}");
    assert_eq!(sum(&json(&record), "not_run"), 0);
}

#[test]
fn shards_have_every_kernel_once() {
    let folder = tempfile::tempdir().expect("a folder");
    // Without any time, all jobs are listed as not run.
    let kernels = |shard: &str| -> Vec<String> {
        let record = folder.path().join(shard.replace('/', "-of-"));
        let text = done(&format!(
            "verify --device emulator --shard {shard} --time-limit 1e-9 --output-path {}",
            text(&record)
        ));
        assert!(text.contains(" not run\n"), "{text}");
        let json = json(&record);
        assert_eq!(json["end"], "time is up");
        let list = json["not_run"].as_array().expect("a list").clone();
        list.iter()
            .map(|id| id.as_str().expect("an id").to_owned())
            .collect()
    };
    let whole: BTreeSet<String> = kernels("1/1").into_iter().collect();
    let parts: Vec<String> = ["1/3", "2/3", "3/3"]
        .iter()
        .flat_map(|s| kernels(s))
        .collect();
    assert_eq!(parts.len(), whole.len());
    assert_eq!(parts.into_iter().collect::<BTreeSet<_>>(), whole);
    let listed = done("list --count");
    let count = listed
        .split_whitespace()
        .filter_map(|word| word.parse::<usize>().ok())
        .max();
    assert_eq!(count, Some(whole.len()), "{listed}");
}

#[test]
fn a_time_limit_ends_a_campaign_and_lists_what_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("r.json");
    let begun = Instant::now();
    let text = done(&format!(
        "verify --device emulator --time-limit 0.05 --output-path {}",
        text(&record)
    ));
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(text.contains("0 kernels wrong, "), "{text}");
    let json = json(&record);
    assert_eq!(json["end"], "time is up");
    let not_run = json["not_run"].as_array().expect("a list").len() as u64;
    assert!(sum(&json, "right") > 0 && not_run > 0);
    assert_eq!(sum(&json, "not_run"), not_run);
    assert!(journals(&record).exists(), "the same command goes on");
}
