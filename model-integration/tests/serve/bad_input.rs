//! What clients must not send.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Server, parse, read_all};

/// Checks the shape of a refusal; returns its message.
fn refused(server: &Server, path: &str, body: &[u8], status: u16) -> String {
    let answer = server.request("POST", path, "", body);
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    assert_eq!(answer.status, status, "{shown}: {}", answer.body);
    let error = &answer.json()["error"];
    for field in ["message", "type"] {
        assert!(error[field].is_string(), "{shown}: {error}");
    }
    for field in ["param", "code"] {
        assert!(error.get(field).is_some(), "{shown}: {error}");
    }
    error["message"].as_str().expect("a message").to_owned()
}

#[test]
fn bodies_that_do_not_work_are_refused_by_name() {
    let server = Server::start(&["--cache", "4", "--max-body", "64"]);
    let completions = "/v1/completions";
    for (body, says) in [
        (&b"{\"prompt\": "[..], "not JSON"),
        (b"[1]", "an array; expected a JSON object"),
        (b"", "not JSON"),
        (b"{\"prompt\": \"\xff\xfe\"}", "not JSON"),
        (&b"[".repeat(60_000), "not JSON"),
    ] {
        let message = refused(&server, completions, body, 400);
        assert!(message.contains(says), "{message}");
    }
    let longest = "x ".repeat(3000);
    let stops = vec!["a"; 10_000];
    for (field, value, says) in [
        ("prompt", json!(""), "a prompt is empty"),
        ("prompt", json!([""]), "a prompt is empty"),
        ("prompt", json!(["Anna", ""]), "a prompt is empty"),
        ("prompt", json!(null), "`prompt` is missing"),
        ("prompt", json!([]), "a prompt is empty"),
        ("prompt", json!([[]]), "a prompt is empty"),
        ("prompt", json!(7), "`prompt` is 7"),
        ("prompt", json!({"a": 1}), "an object"),
        (
            "prompt",
            json!([896]),
            "`prompt[0]` is 896; expected token ids from 0 to 895",
        ),
        (
            "prompt",
            json!([1, -1]),
            "`prompt[1]` is -1; expected token ids",
        ),
        (
            "prompt",
            json!([1.5]),
            "`prompt[0]` is 1.5; expected token ids",
        ),
        (
            "prompt",
            json!([[1, null]]),
            "`prompt[0][1]` is null; expected token ids",
        ),
        (
            "prompt",
            json!([["a"]]),
            "`prompt[0][0]` is a string; expected token ids",
        ),
        (
            "prompt",
            json!([1, "a"]),
            "`prompt[1]` is a string; expected the same as before",
        ),
        (
            "prompt",
            json!(["a", [1], 7]),
            "`prompt[2]` is 7; expected the same as before",
        ),
        (
            "prompt",
            json!([[1], [2, [3]]]),
            "`prompt[1][1]` is an array",
        ),
        ("prompt", json!(vec![1; 10_000]), "a prompt of 10000 tokens"),
        (
            "prompt",
            json!("x".repeat(60_000)),
            "a prompt of 60000 bytes",
        ),
        (
            "prompt",
            json!(vec!["a"; 257]),
            "257 prompts; expected at most 256",
        ),
        ("prompt", json!(longest), "at most 512 tokens"),
        (
            "prompt",
            json!(vec![1; 512]),
            "expected at most 512 together",
        ),
        (
            "max_tokens",
            json!(-1),
            "`max_tokens` is -1; expected an integer from 0 to 512",
        ),
        ("max_tokens", json!(0), "`max_tokens` is 0"),
        (
            "max_completion_tokens",
            json!(513),
            "`max_completion_tokens` is 513",
        ),
        ("max_tokens", json!(1e30), "`max_tokens` is 1e+30"),
        ("max_tokens", json!("7"), "`max_tokens` is a string"),
        ("max_tokens", json!(512), "make"),
        ("temperature", json!(-0.1), "`temperature` is -0.1"),
        ("temperature", json!("hot"), "`temperature` is a string"),
        ("top_p", json!(1.1), "`top_p`"),
        ("top_k", json!(-2), "`top_k`"),
        ("min_p", json!(2), "`min_p`"),
        ("seed", json!(1.5), "`seed`"),
        ("n", json!(0), "`n` is 0"),
        ("n", json!(100_000), "`n` is 100000"),
        (
            "stop",
            json!(stops),
            "`stop` has 10000 texts; expected at most 16",
        ),
        ("stop", json!([""]), "`stop` has a text of 0 bytes"),
        ("stop", json!([1]), "`stop` is 1"),
        ("logit_bias", json!({"896": 1}), "`logit_bias` has \"896\""),
        ("logit_bias", json!({"x": 1}), "`logit_bias` has \"x\""),
        ("logit_bias", json!({"1": 101}), "`logit_bias` is 101"),
        ("logit_bias", json!([1]), "`logit_bias` is an array"),
        ("presence_penalty", json!(3), "`presence_penalty`"),
        ("frequency_penalty", json!(-3), "`frequency_penalty`"),
        ("repetition_penalty", json!(0), "`repetition_penalty`"),
        ("logprobs", json!(21), "`logprobs` is 21"),
        ("logprobs", json!(true), "`logprobs` is true"),
        ("stream", json!("yes"), "`stream` is a string"),
        (
            "stream_options",
            json!({"include_usage": true}),
            "needs `stream`",
        ),
        ("echo", json!(1), "`echo` is 1"),
        ("suffix", json!("end"), "`suffix` is not supported"),
        ("best_of", json!(3), "`best_of` is not supported"),
        (
            "tools",
            json!([{"type": "function"}]),
            "`tools` is not supported",
        ),
        (
            "response_format",
            json!({"type": "json_object"}),
            "`response_format` is not supported",
        ),
    ] {
        let mut body = json!({"prompt": "Anna", "max_tokens": 2});
        body[field] = value;
        let message = refused(&server, completions, body.to_string().as_bytes(), 400);
        assert!(message.contains(says), "{field}: {message}");
    }
    let other = json!({"prompt": "Anna", "model": "gpt-4"}).to_string();
    let message = refused(&server, completions, other.as_bytes(), 404);
    assert!(
        message.contains("no model \"gpt-4\"; this server has `embedded`"),
        "{message}"
    );
    // A client that sends everything before it reads gets to know why.
    let large = json!({"prompt": "x".repeat(6_000_000)}).to_string();
    let message = refused(&server, completions, large.as_bytes(), 413);
    assert!(message.contains("expected at most 65536"), "{message}");
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]}).to_string();
    let message = refused(&server, "/v1/chat/completions", chat.as_bytes(), 400);
    assert!(message.contains("no chat template"), "{message}");
    refused(&server, "/v1/embeddings", b"{}", 404);
    for (method, path, allowed) in [
        ("GET", completions, "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
    ] {
        let answer = server.request(method, path, "", b"");
        assert_eq!(answer.status, 405);
        let allow = format!("\r\nallow: {}\r\n", allowed.to_lowercase());
        assert!(answer.head.contains(&allow), "{}", answer.head);
    }
    assert_eq!(server.get("/v1/models/%65mbedded").status, 200);
    let head = server.request("HEAD", "/health", "", b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));

    // Neutral values and unknown fields pass.
    let answer = server.complete(&json!({
        "prompt": "Anna", "max_tokens": 1, "suffix": null, "tools": [], "best_of": 1,
        "response_format": {"type": "text"}, "user": "me", "nonsense": {"a": 1}, "stop": null,
        "logit_bias": {}, "temperature": 0, "verbosity": "medium",
    }));
    assert_eq!(answer["usage"]["completion_tokens"], 1);
    assert_eq!(server.metric("mxlab_fields_ignored_total"), 1);
    server.check();
}

#[test]
fn connections_that_lead_nowhere_end() {
    let server = Server::start(&["--cache", "4", "--client-time", "1"]);
    let begin = Instant::now();
    let idle: Vec<_> = (0..1000).map(|_| server.connect()).collect();
    server.check();
    for (bytes, statuses) in [
        (&b"GARBAGE\r\n\r\n"[..], &[400][..]),
        (
            b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
            &[400],
        ),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            &[413],
        ),
        // A body that never comes; a head that never ends.
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{\"pro",
            &[408],
        ),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", &[0, 408]),
        (
            b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            &[400],
        ),
    ] {
        let shown = String::from_utf8_lossy(bytes);
        let answer = server.send(bytes);
        let status = if answer.is_empty() {
            0
        } else {
            parse(&answer).status
        };
        assert!(statuses.contains(&status), "{shown}: {answer}");
    }
    let endless = [
        &b"GET /health HTTP/1.1\r\n"[..],
        &b"X-A: aaaaaaaaaaaaaaaa\r\n".repeat(10_000),
    ];
    let answer = server.send(&endless.concat());
    assert!(
        answer.is_empty() || parse(&answer).status == 431,
        "{answer}"
    );
    for mut stream in idle {
        assert_eq!(read_all(&mut stream), "");
    }
    server.wait_for("mxlab_connections", |open| open == 1);
    assert!(begin.elapsed() < Duration::from_secs(60));
    server.check();
}

#[test]
fn a_start_that_cannot_work_says_why_in_a_line() {
    let server = Server::start(&["--cache", "1"]);
    let port = server
        .address
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    // Fits by itself.
    let memory = mxlab::memory::available_memory().expect("Linux");
    let cache = ((memory / 4 * 3) >> 20).to_string();
    for (arguments, code, says) in [
        (
            &["--port", &port, "--cache", "1"][..],
            1,
            "choose another --port",
        ),
        (
            &["--cache", "999999999"],
            1,
            "MiB of free memory; give fewer",
        ),
        (
            &["--cache", "1", "--max-length", "4000"],
            1,
            "--max-length 4000",
        ),
        (
            &["--cache", "17592186044417"],
            1,
            "MiB of free memory; give fewer",
        ),
        (
            &["--model", "synthetic:mixtral-8x7b", "--cache", &cache],
            1,
            "MiB for weights",
        ),
        (&["--api-key", ""], 2, "--api-key: the key is empty"),
        (
            &["--api-key-file", "/dev/null"],
            2,
            "--api-key-file: the key",
        ),
        (&["--api-key-file", "no/such"], 1, "--api-key-file no/such"),
        (&["--model", "no/such/model.gguf"], 1, "no/such"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        let output = command.arg("serve").args(arguments).output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(
            error.contains(says) && error.lines().count() == 1,
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn a_key_is_asked_for_everywhere_but_for_health() {
    let server = Server::start(&["--cache", "1", "--api-key", "sesame"]);
    assert_eq!(server.get("/health").status, 200);
    for (key, status) in [
        ("", 401),
        ("Authorization: Bearer sesam\r\n", 401),
        ("Authorization: Bearer sesame2\r\n", 401),
        ("Authorization: sesame\r\n", 401),
        ("Authorization: Bearer \r\n", 401),
        ("Authorization: Bearer sesame\r\n", 200),
        ("Authorization: bearer sesame\r\n", 200),
    ] {
        for path in ["/v1/models", "/metrics"] {
            assert_eq!(
                server.request("GET", path, key, b"").status,
                status,
                "{key}"
            );
        }
        let body: Value = json!({"prompt": "T", "max_tokens": 1});
        let body = body.to_string();
        let answer = server.request("POST", "/v1/completions", key, body.as_bytes());
        assert_eq!(answer.status, status, "{key}");
    }
}

#[test]
fn a_key_may_come_from_the_environment_but_not_an_empty_one() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["serve", "--cache", "1"]);
    let output = command.env("MXLAB_API_KEY", "").output().expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("MXLAB_API_KEY: the key is empty"), "{error}");
    assert!(!error.contains("--api-key"), "{error}");
}

#[test]
fn a_body_may_be_sent_slowly_but_not_forever() {
    let server = Server::start(&["--cache", "1", "--client-time", "1"]);
    let mut stream = server.connect();
    let head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head).expect("sent");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if stream.write_all(b" ").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() < Duration::from_secs(15));
    server.check();
}
