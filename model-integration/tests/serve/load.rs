//! More than the server can do at a time, clients that go away, and the end.

use std::io::{Read, Write};
use std::thread;

use serde_json::{Value, json};

use super::client::{Server, parse, read_all};

fn long(stream: bool) -> Value {
    json!({
        "prompt": "Anna", "max_tokens": 500, "ignore_eos": true, "temperature": 0,
        "stream": stream,
    })
}

#[test]
fn too_many_requests_are_answered_429() {
    let server = Server::start(&["--cache", "4", "--max-requests", "2"]);
    let mut running = [(); 2].map(|()| server.begin("/v1/completions", &long(true)));
    // Their first bytes prove that they are in.
    for stream in &mut running {
        stream.read_exact(&mut [0; 8]).expect("an answer");
    }
    let answer = server.post("/v1/completions", &long(false));
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(server.metric("mxlab_requests_overloaded_total"), 1);
    assert_eq!(server.get("/health").status, 200);
    // A client that goes away makes room.
    drop(running);
    server.wait_for("mxlab_sequences_cancelled_total", |cancelled| {
        cancelled == 2
    });
    server.check();
}

#[test]
fn bodies_on_their_way_take_no_place() {
    let server = Server::start(&["--cache", "4", "--max-requests", "2"]);
    let head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n{";
    let coming = [(); 20].map(|()| {
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).expect("sent");
        stream
    });
    server.wait_for("mxlab_connections", |open| open == 21);
    server.check();
    // Many large ones share the room for 16 of the greatest, and the rest is refused.
    let large = vec![b' '; 2 << 20];
    let large = [(); 40].map(|()| {
        let mut stream = server.connect();
        let sent = stream.write_all(head.as_bytes());
        let _ = sent.and_then(|()| stream.write_all(&large));
        stream
    });
    server.wait_for("mxlab_requests_overloaded_total", |refused| refused > 0);
    server.check();
    drop((coming, large));
    server.wait_for("mxlab_connections", |open| open == 1);
    // Their room is free again.
    let mut body = json!({"prompt": "T", "max_tokens": 1, "user": "x".repeat(3 << 20)});
    for _ in 0..30 {
        server.complete(&body);
    }
    body["prompt"] = "a ".repeat(1_500_000 / 4).into();
    assert_eq!(server.post("/v1/completions", &body).status, 400);
}

#[test]
fn a_request_without_time_ends() {
    // 32 sequences of 500 tokens take longer than a second.
    let server = Server::start(&["--cache", "16", "--max-time", "1", "--threads", "1"]);
    let mut body = long(false);
    body["n"] = 200.into();
    let answer = server.post("/v1/completions", &body);
    assert_eq!(answer.status, 504, "{}", answer.body);
    server.wait_for("mxlab_sequences_running", |running| running == 0);
    assert_eq!(server.metric("mxlab_sequences_waiting"), 0);
    server.check();
}

#[test]
fn a_signal_lets_requests_finish_and_another_ends_them() {
    for is_patient in [true, false] {
        let mut server = Server::start(&["--cache", "4"]);
        let mut body = long(true);
        body["n"] = 20.into();
        let mut stream = server.begin("/v1/completions", &body);
        let mut begun = [0; 8];
        stream.read_exact(&mut begun).expect("an answer");
        // Nobody waits for half a request.
        let mut halves = [
            &b"GET /hea"[..],
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ]
        .map(|half| {
            let mut stream = server.connect();
            stream.write_all(half).expect("sent");
            stream
        });
        server.wait_for("mxlab_connections", |open| open == 4);
        server.signal("-TERM");
        if is_patient {
            for half in &mut halves {
                assert_eq!(read_all(half), "");
            }
            let rest = read_all(&mut stream);
            let whole = String::from_utf8_lossy(&begun).into_owned() + &rest;
            let events = parse(&whole).events();
            assert_eq!(
                events.last().expect("events")["choices"][0]["finish_reason"],
                "length"
            );
            assert_eq!(server.wait().code(), Some(0));
        } else {
            thread::sleep(std::time::Duration::from_millis(200));
            server.signal("-TERM");
            assert_eq!(server.wait().code(), Some(130));
        }
    }
}

#[test]
fn a_slow_reader_harms_nobody() {
    let server = Server::start(&["--cache", "4", "--client-time", "1"]);
    let mut body = long(true);
    body["n"] = 8.into();
    body["logprobs"] = 20.into();
    // More bytes than the system buffers, and nobody reads.
    let slow: Vec<_> = (0..6)
        .map(|_| server.begin("/v1/completions", &body))
        .collect();
    server.check();
    server.wait_for("mxlab_sequences_running", |running| running == 0);
    // Their connections end, though the clients are still there.
    server.wait_for("mxlab_connections", |open| open == 1);
    drop(slow);
    server.check();
}
