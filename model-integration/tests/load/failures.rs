//! Endpoints that answer wrongly: every request is counted, under the name of what went wrong.

use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::stub::{Asked, HEAD, Stub, chunk, end, json_of, right, token, write};
use super::{load, record, text};

type Answer = fn(&Asked, &mut TcpStream) -> bool;

/// A kind of failure, and answers that bring it about.
const WRONG: &[(&str, Answer)] = &[
    ("closed early", |_, _| false),
    ("closed early", |_, stream| {
        write(stream, "HTTP/1.1 200 OK\r\ncontent-ty");
        false
    }),
    ("closed early", |asked, stream| {
        write(stream, HEAD);
        write(stream, &token(asked).repeat(2));
        false
    }),
    ("closed early", |asked, stream| {
        // Whole as HTTP, but not as an answer.
        write(stream, &format!("{HEAD}{}0\r\n\r\n", token(asked)))
    }),
    ("not HTTP", |_, stream| {
        write(stream, "SSH-2.0-OpenSSH_9.6\r\n");
        false
    }),
    ("not HTTP", |_, stream| {
        write(stream, &format!("{HEAD}many\r\ndata: 1\r\n"));
        false
    }),
    ("no event stream", |_, stream| {
        json_of(stream, "200 OK", "<html>It works!</html>")
    }),
    ("error event", |_, stream| {
        json_of(stream, "200 OK", "{\"error\": {\"message\": \"no\"}}")
    }),
    ("error event", |asked, stream| {
        let error = chunk("data: {\"error\": {\"message\": \"out of memory\"}}\n\n");
        write(stream, &format!("{HEAD}{}{error}0\r\n\r\n", token(asked)))
    }),
    ("malformed event", |_, stream| {
        write(
            stream,
            &format!("{HEAD}{}0\r\n\r\n", chunk("data: word\n\n")),
        )
    }),
    ("malformed event", |_, stream| {
        let event = chunk("data: {\"choices\": 3}\n\n");
        write(stream, &format!("{HEAD}{event}0\r\n\r\n"))
    }),
    ("no token", |asked, stream| {
        write(stream, &format!("{HEAD}{}", end(asked, 0)))
    }),
    ("too long", |_, stream| {
        let piece = chunk(&"x".repeat(1 << 16));
        write(stream, HEAD) && (0..64).all(|_| write(stream, &piece))
    }),
    ("status 500", |_, stream| {
        json_of(stream, "500 Internal Server Error", "{}")
    }),
    ("status 404", |_, stream| {
        json_of(
            stream,
            "404 Not Found",
            "{\"error\": {\"message\": \"no model\"}}",
        )
    }),
    ("timeout waiting for the first token", |_, _| {
        sleep(Duration::from_secs(5));
        false
    }),
    ("timeout waiting for the first token", |_, stream| {
        write(stream, HEAD);
        sleep(Duration::from_secs(5));
        false
    }),
    ("timeout waiting for the next token", |asked, stream| {
        write(stream, &format!("{HEAD}{}", token(asked)));
        sleep(Duration::from_secs(5));
        false
    }),
];

fn failures(url: &str) -> Value {
    let arguments = [
        "--model=m",
        "--requests=2",
        "--warm-up=0",
        "--timeout=1",
        "--format=json",
    ];
    let output = load(url, &arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let record: Value = serde_json::from_slice(&output.stdout).expect("a record");
    let level = &record["levels"][0];
    assert_eq!(
        (&level["requests"], &level["failed"]),
        (&2.into(), &2.into())
    );
    assert_eq!(level["ttft"], Value::Null);
    let failures = level["failures"].clone();
    for (kind, own) in failures.as_object().expect("an object") {
        let example = own["example"].as_str().expect("a text");
        let line = error.lines().find(|line| line.ends_with(example));
        let line = line.unwrap_or_else(|| panic!("{example}: {error}"));
        assert!(line.starts_with("1 in flight: 2 failed"), "{line}");
        assert!(line.contains(kind), "{line}");
        assert!(!line.contains(&format!("{kind}: {kind}")), "{line}");
    }
    failures
}

#[test]
fn wrong_answers_are_counted_by_kind() {
    std::thread::scope(|scope| {
        for (index, &(kind, answer)) in WRONG.iter().enumerate() {
            scope.spawn(move || {
                let stub = Stub::start(answer);
                let found = failures(&stub.url);
                let kinds: Vec<&String> = found.as_object().expect("an object").keys().collect();
                assert_eq!(kinds, [kind], "answer {index}: {found}");
                assert_eq!(found[kind]["measured"], 2, "answer {index}");
            });
        }
    });
}

#[test]
fn an_absent_server_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    assert_eq!(failures(&url)["refused"]["measured"], 2);
    assert_eq!(
        failures("http://nowhere.invalid")["unresolved"]["measured"],
        2
    );
    let stub = Stub::start(right);
    let https = stub.url.replace("http:", "https:");
    assert_eq!(failures(&https)["TLS"]["measured"], 2);
}

#[test]
fn some_failures_leave_the_others() {
    let stub = Stub::start(|asked, stream| match asked.number % 3 {
        0 => json_of(stream, "500 Internal Server Error", "down"),
        1 => {
            write(stream, HEAD);
            false
        }
        _ => right(asked, stream),
    });
    let arguments = [
        "--model=m",
        "--requests=9",
        "--warm-up=0",
        "--target=e2e=60s",
    ];
    let found = record(&stub.url, &arguments);
    let level = &found["levels"][0];
    assert_eq!(level["failed"], 6, "{level}");
    assert_eq!(
        level["failures"]["status 500"]["example"],
        "status 500: down"
    );
    assert_eq!(level["met"], 1.0 / 3.0, "failures meet no target");
    let samples = level["samples"].as_array().expect("a list");
    let failed = samples
        .iter()
        .filter(|sample| sample.get("failure").is_some());
    assert_eq!(failed.count(), 6);
}

/// A request that is refused for now is sent again when the server says, and its latency counts
/// from the beginning.
#[test]
fn retries_wait_as_the_server_says() {
    let busy: Answer = |asked, stream| match asked.number {
        0 => {
            let head =
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
            write(stream, head)
        }
        _ => right(asked, stream),
    };
    let stub = Stub::start(busy);
    let arguments = ["--model=m", "--requests=1", "--warm-up=0", "--retries=1"];
    let found = record(&stub.url, &arguments);
    let level = &found["levels"][0];
    assert_eq!(
        (&level["failed"], &level["retries"]),
        (&0.into(), &1.into())
    );
    assert!(level["ttft"]["max"].as_f64() >= Some(1.0), "{level}");
    let asked = stub.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));

    let stub = Stub::start(busy);
    let found = record(&stub.url, &["--model=m", "--requests=2", "--warm-up=0"]);
    let level = &found["levels"][0];
    assert_eq!(
        (&level["failed"], &level["retries"]),
        (&1.into(), &0.into())
    );
    assert_eq!(level["failures"]["status 429"]["measured"], 1);
    let asked = stub.asked();
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1));
}

/// Failures of the warm-up are told apart from those that were asked for.
#[test]
fn failures_beside_the_measured_requests_are_counted_apart() {
    let stub = Stub::start(|_, stream| json_of(stream, "500 Internal Server Error", "down"));
    let output = load(&stub.url, &["--model=m", "--requests=2", "--warm-up=1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = "1 in flight: 2 measured and 1 other requests failed, status 500: down\n";
    assert_eq!(text(&output.stderr), said);
}

/// A server that closes a connection after an answer has done nothing wrong.
#[test]
fn kept_connections_may_be_closed() {
    let stub = Stub::start(|asked, stream| match asked.number % 3 {
        // It closes when the next request is there, as if both had been sent at once.
        1 => false,
        _ => right(asked, stream),
    });
    let found = record(&stub.url, &["--model=m", "--requests=6", "--warm-up=0"]);
    assert_eq!(found["levels"][0]["failed"], 0, "{found}");
}
