//! `mxlab load` through the binary, against a server that answers right or wrong.

mod failures;
mod served;
mod soak;
mod stub;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use stub::{Asked, Stub, right};

fn load(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["load", url]).args(arguments);
    command.env_remove("OPENAI_API_KEY");
    command.output().expect("mxlab runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The record that a successful command prints.
fn record(url: &str, arguments: &[&str]) -> Value {
    let output = load(url, &[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn refused(url: &str, arguments: &[&str]) -> (i32, String) {
    let output = load(url, arguments);
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (output.status.code().expect("a code"), text(&output.stderr))
}

#[test]
fn levels_are_measured_kept_and_reported() {
    let stub = Stub::start(right);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("load.json");
    let name = path.display().to_string();
    let arguments = [
        "--concurrency=1,3",
        "--rate=200",
        "--requests=6",
        "--tokenizer=embedded",
        "--prompt-tokens=3-9",
        "--output-tokens=5",
        "--target=ttft=60s",
        "--output-path",
        &name,
    ];
    let first = record(&stub.url, &arguments);
    assert_eq!(
        first,
        serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap()
    );
    assert_eq!(first["kind"], "load");
    assert_eq!(first["settings"]["model"], "stub");
    assert_eq!(first["is_complete"], true);
    let levels = first["levels"].as_array().unwrap();
    assert_eq!(levels.len(), 3);
    for level in levels {
        assert_eq!(level["requests"], 6, "{level}");
        assert_eq!(
            (&level["failed"], &level["ended_early"]),
            (&0.into(), &0.into())
        );
        assert_eq!(
            (&level["output_tokens"], &level["met"]),
            (&30.into(), &1.0.into())
        );
        let ttft = &level["ttft"];
        assert!(ttft["p50"].as_f64() <= ttft["p95"].as_f64());
        assert!(ttft["max"].as_f64() <= level["e2e"]["max"].as_f64());
        let samples = level["samples"].as_array().unwrap();
        let prompts = samples
            .iter()
            .map(|sample| sample["prompt_tokens"].as_u64().unwrap());
        assert!(prompts.clone().all(|length| (3..=9).contains(&length)));
        assert_eq!(
            prompts.sum::<u64>(),
            level["prompt_tokens"].as_u64().unwrap()
        );
        let rate = level["output_tokens_per_second"].as_f64().unwrap();
        let least = 30.0 / level["seconds"].as_f64().unwrap();
        assert!(rate >= 0.99 * least, "{rate} {least}");
    }

    // The finished record is printed again, a cut one is completed, both without what is there.
    let count = || {
        let asked = stub.asked();
        let completions = asked.iter().filter(|asked| asked.path == "/v1/completions");
        completions.count()
    };
    let before = count();
    assert_eq!(record(&stub.url, &arguments), first);
    assert_eq!(count(), before, "a finished record is not measured again");
    let mut cut = first.clone();
    cut["levels"].as_array_mut().unwrap().truncate(2);
    cut["is_complete"] = false.into();
    fs::write(&path, cut.to_string()).unwrap();
    let again = record(&stub.url, &arguments);
    let (again, first) = (&again["levels"], &first["levels"]);
    assert_eq!((&again[0], &again[1]), (&first[0], &first[1]));
    assert_eq!(again.as_array().unwrap().len(), 3);

    // Other settings leave the record alone.
    let before = fs::read(&path).unwrap();
    let (code, error) = refused(&stub.url, &[&arguments[..], &["--seed=1"]].concat());
    assert_eq!(code, 1);
    assert!(error.contains("--overwrite"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    record(
        &stub.url,
        &[&arguments[..], &["--seed=1", "--overwrite"]].concat(),
    );
    assert_ne!(fs::read(&path).unwrap(), before);

    let mut report = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    report.args(["report", "--records"]).arg(folder.path());
    let output = report.output().expect("mxlab runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = fs::read_to_string(folder.path().join("report/REPORT.html")).unwrap();
    let markdown = fs::read_to_string(folder.path().join("report/REPORT.md")).unwrap();
    let chart = fs::read_to_string(folder.path().join("report/charts/load-ttft.svg")).unwrap();
    for text in [&page, &markdown, &chart] {
        assert!(
            text.contains("time to first token against throughput"),
            "{text}"
        );
    }
    assert!(markdown.contains("charts/load-tpot.svg"), "{markdown}");
    assert!(markdown.contains("| 3 in flight"), "{markdown}");
}

/// The levels that are done when a signal comes are printed, within the width of a terminal.
#[test]
fn interrupted_levels_are_printed() {
    let is_stalled = |asked: &Asked| asked.body["model"] == "m" && asked.number >= 2;
    let stub = Stub::start(move |asked, stream| {
        if is_stalled(asked) {
            sleep(Duration::from_secs(60));
        }
        right(asked, stream)
    });
    let interrupted = |arguments: &[&str], most: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command.args([
            "load",
            &stub.url,
            "--model=m",
            "--requests=2",
            "--warm-up=0",
        ]);
        command.args(arguments).env_remove("OPENAI_API_KEY");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("mxlab runs");
        while stub.asked().len() < most {
            sleep(Duration::from_millis(10));
        }
        let process = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &process]).status();
        assert!(sent.expect("kill runs").success());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130));
        (text(&output.stdout), text(&output.stderr))
    };
    // Two requests one by one, then two at a time that never end.
    let levels = ["--concurrency=1,2", "--target=ttft=1s,e2e=60s"];
    let (table, said) = interrupted(&levels, 4);
    assert_eq!(table.matches("\n1 in flight ").count(), 2, "{table}");
    assert!(!table.contains("2 in flight"), "{table}");
    for column in ["goodput/s", "TTFT p50", "TPOT p50", "E2E p50"] {
        assert!(table.contains(column), "{table}");
    }
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{table}");
    assert!(said.contains("interrupted after 1 of 2 levels"), "{said}");
    assert!(said.contains("--output-path would"), "{said}");

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("load.json").display().to_string();
    let (table, said) = interrupted(&["--output-path", &path], 5);
    assert_eq!(table, "", "no level is done");
    assert!(said.contains("the same command measures"), "{said}");
}

/// A server that stalls once. Whoever was to come in this time waits, though the generator holds
/// back their requests.
#[test]
fn latencies_count_from_when_a_request_was_due() {
    let stub = Stub::start(|asked, stream| {
        if asked.number == 10 {
            sleep(Duration::from_millis(1000));
        }
        right(asked, stream)
    });
    let found = record(
        &stub.url,
        &[
            "--model=m",
            "--rate=40",
            "--requests=50",
            "--warm-up=0",
            "--most-in-flight=1",
            "--output-tokens=2",
        ],
    );
    let level = &found["levels"][0];
    let of = |sample: &Value, name: &str| sample[name].as_f64().unwrap();
    let samples = level["samples"].as_array().unwrap();
    let late = |sample: &&Value| of(sample, "first") - of(sample, "due") > 0.3;
    let count = samples.iter().filter(late).count();
    // 28 are due on average in the first 0.7 s of the stall.
    assert!(count > 14, "{count} of 50 waited");
    assert!(level["ttft"]["p50"].as_f64() > Some(0.1), "{level}");
    assert!(level["held_back"]["max"].as_f64() > Some(0.5), "{level}");
    assert!(level["most_waiting"].as_u64() > Some(14), "{level}");
}

/// More requests than can be made, for a server that stands still: as many as are measured begin,
/// and those in flight.
#[test]
fn rates_beyond_reach_end() {
    let stub = Stub::start(|_, _| {
        sleep(Duration::from_secs(5));
        false
    });
    let output = load(
        &stub.url,
        &[
            "--model=m",
            "--rate=100000",
            "--requests=40",
            "--warm-up=0",
            "--most-in-flight=20",
            "--prompt-tokens=2000",
            "--timeout=1",
            "--format=json",
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let record: Value = serde_json::from_slice(&output.stdout).expect("a record");
    let level = &record["levels"][0];
    assert_eq!(
        (&level["failed"], &level["most_waiting"]),
        (&40.into(), &40.into())
    );
    // The second half waits for the first one.
    assert!(level["held_back"]["max"].as_f64() > Some(0.9), "{level}");
}

#[test]
fn requests_are_those_of_the_seed() {
    let bodies = |arguments: &[&str]| {
        let stub = Stub::start(right);
        record(
            &stub.url,
            &[arguments, &["--model=m", "--requests=4", "--warm-up=2"]].concat(),
        );
        let asked = stub.asked();
        asked
            .into_iter()
            .take(6)
            .map(|asked| asked.body)
            .collect::<Vec<_>>()
    };
    let drawn = [
        "--tokenizer=embedded",
        "--output-tokens=2-9",
        "--shared-tokens=3",
    ];
    let own = bodies(&drawn);
    assert_eq!(own, bodies(&drawn));
    assert_ne!(own, bodies(&[&drawn[..], &["--seed=1"]].concat()));
    let prompt = |index: usize| own[index]["prompt"].as_array().unwrap();
    assert_eq!(prompt(0).len(), 131);
    assert_eq!(prompt(0)[..3], prompt(1)[..3]);
    assert_ne!(prompt(0)[3..], prompt(1)[3..]);
    let lengths: Vec<&Value> = own.iter().map(|body| &body["max_tokens"]).collect();
    assert!(
        lengths.windows(2).any(|pair| pair[0] != pair[1]),
        "{lengths:?}"
    );

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("requests.jsonl");
    fs::write(
        &file,
        "\"a text\"\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}], \"max_tokens\": 3}\n",
    )
    .unwrap();
    let file = file.display().to_string();
    let listed = [
        "--prompt-file",
        &file,
        "--api=chat",
        "--ignore-eos",
        "--fields={\"top_p\": 0.5}",
    ];
    let own = bodies(&listed);
    assert_eq!(own[0]["messages"][0]["content"], "a text");
    assert_eq!(
        (&own[0]["max_tokens"], &own[1]["max_tokens"]),
        (&64.into(), &3.into())
    );
    assert_eq!(
        (&own[2]["messages"], &own[2]["top_p"]),
        (&own[0]["messages"], &0.5.into())
    );
    assert_eq!(
        (&own[0]["ignore_eos"], &own[0]["stream"]),
        (&true.into(), &true.into())
    );
}

/// The key reaches the server, and nothing that is kept.
#[test]
fn keys_are_not_recorded() {
    let stub = Stub::start(right);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, "s3cret\n").unwrap();
    let file = file.display().to_string();
    let found = record(&stub.url, &["--requests=1", "--api-key-file", &file]);
    assert!(!found.to_string().contains("s3cret"));
    let asked = stub.asked();
    assert_eq!(asked[0].path, "/v1/models");
    for asked in asked {
        let head = asked.head.to_lowercase();
        assert!(head.contains("authorization: bearer s3cret\r\n"), "{head}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("requests.jsonl");
    fs::write(&file, "\"a\"\n{\"prompt\": 1\n").unwrap();
    let file = file.display().to_string();
    let local = "http://127.0.0.1:1";
    for (url, arguments, code, says) in [
        ("127.0.0.1:80", &[][..], 2, "expected a URL such as"),
        (
            local,
            &["--prompt-tokens=0"][..],
            2,
            "normal:MEAN:DEVIATION",
        ),
        (local, &["--rate", "-1"][..], 2, "requests a second"),
        (local, &["--duration", "-1"][..], 2, "expected seconds"),
        (local, &["--target=ttft=fast"][..], 2, "ttft=200ms"),
        (local, &["--target=ttft=5"][..], 2, "ttft=200ms"),
        (local, &["--isa=portable"][..], 2, "computes nothing"),
        (local, &["--fields=[]"][..], 2, "a JSON object"),
        (
            local,
            &["--model=m", "--prompt-file", &file][..],
            1,
            "line 2",
        ),
        (
            local,
            &["--model=m", "--tokenizer=synthetic:nothing"][..],
            1,
            "--tokenizer",
        ),
        (local, &[][..], 1, "does not list its models"),
    ] {
        let (found, error) = refused(url, arguments);
        assert_eq!(found, code, "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
