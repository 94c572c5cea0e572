//! Answers: those of `mxlab generate`, in every form.

use std::process::Command;
use std::thread;

use serde_json::{Value, json};

use super::client::{Server, parse, read_all};

const PROMPTS: [&str; 4] = [
    "Anna had a",
    "T",
    "The sky was calm. Later Tom painted the blue",
    "The sky was calm. Later Tom painted the blue door and went to the river with his red kite",
];

/// Ids and end of each continuation by `mxlab generate`.
fn generated(flags: &[&str], prompts: &[&str], more: &[&str]) -> Vec<(Value, Value)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["generate", "--format", "json", "--config"]);
    command.args(flags);
    for prompt in prompts {
        command.args(["--prompt", prompt]);
    }
    let output = command.args(more).output().expect("runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let sequences = record["sequences"].as_array().expect("sequences").iter();
    sequences
        .map(|sequence| (sequence["tokens"].clone(), sequence["text"].clone()))
        .collect()
}

#[test]
fn any_mix_of_requests_gets_the_tokens_of_generate() {
    // The one recent key of a query is its own, which no page has to have.
    let rotated = [
        "--key-rotation",
        "row",
        "--kv-first",
        "3",
        "--key-recent",
        "1",
    ];
    let rotated = [&["mx-kv"][..], &rotated].concat();
    // Pages without exact keys are shared by nobody.
    let recent = ["mx-kv", "--key-recent", "9"];
    let all = [&["baseline"][..], &["mx-linear-kv"], &rotated, &recent];
    for (config, shares) in all.into_iter().zip([true, true, true, false]) {
        // Some 400 positions, or 1500 of four bits, for 24 sequences of up to 370 tokens.
        let flags = [&["--config"], config, &["--cache", "1", "--chunk", "9"]].concat();
        let server = Server::start(&flags);
        let lengths = [20, 120, 240, 350];
        let expected: Vec<Vec<(Value, Value)>> = lengths
            .iter()
            .map(|length| {
                let length = length.to_string();
                generated(config, &PROMPTS, &["--max-tokens", &length, "--ignore-eos"])
            })
            .collect();
        let requests: Vec<(usize, usize)> =
            (0..24).map(|index| (index % 4, index / 4 % 4)).collect();
        thread::scope(|scope| {
            for (index, &(prompt, length)) in requests.iter().enumerate() {
                let (server, expected) = (&server, &expected[length][prompt]);
                scope.spawn(move || {
                    let answer = server.complete(&json!({
                        "prompt": PROMPTS[prompt],
                        "max_tokens": lengths[length],
                        "temperature": 0,
                        "ignore_eos": true,
                        "return_token_ids": true,
                    }));
                    let choice = &answer["choices"][0];
                    let case = format!("{config:?}, request {index}");
                    assert_eq!(choice["token_ids"], expected.0, "{case}");
                    assert_eq!(choice["text"], expected.1, "{case}");
                    assert_eq!(choice["finish_reason"], "length");
                });
                if index % 3 == 2 {
                    // One of four goes away before its answer.
                    let body = json!({"prompt": PROMPTS[prompt], "max_tokens": 300});
                    drop(server.begin("/v1/completions", &body));
                }
            }
        });
        server.wait_for("mxlab_sequences_running", |running| running == 0);
        assert!(server.metric("mxlab_preemptions_total") > 0, "{config:?}");
        let shared = server.metric("mxlab_prompt_tokens_shared_total");
        assert_eq!(shared > 0, shares, "{config:?}");
        assert_eq!(server.metric("mxlab_cache_pages_used"), 0);
        assert_eq!(server.metric("mxlab_sequences_failed_total"), 0);
    }
}

#[test]
fn a_seed_draws_the_tokens_of_generate() {
    let server = Server::start(&["--cache", "4"]);
    let more = ["--temperature", "1.2", "--top-p", "0.9", "--seed", "11"];
    let more = [&more[..], &["--max-tokens", "30"]].concat();
    let expected = generated(&["baseline"], &[PROMPTS[0]; 3], &more);
    let answer = server.complete(&json!({
        "prompt": PROMPTS[0], "n": 3, "temperature": 1.2, "top_p": 0.9, "seed": 11,
        "max_tokens": 30, "return_token_ids": true,
    }));
    for (index, (tokens, text)) in expected.iter().enumerate() {
        assert_eq!(answer["choices"][index]["token_ids"], *tokens);
        assert_eq!(answer["choices"][index]["text"], *text);
    }
    assert_ne!(expected[0], expected[1]);
    // Without a seed every request draws its own.
    let free = json!({"prompt": PROMPTS[0], "temperature": 5, "max_tokens": 20});
    let [one, other] = [(); 2].map(|()| server.complete(&free)["choices"][0]["text"].clone());
    assert_ne!(one, other);
}

#[test]
fn pieces_add_up_to_the_whole_answer() {
    let server = Server::start(&["--cache", "4"]);
    let body = json!({
        "prompt": [PROMPTS[0], PROMPTS[2]], "n": 2, "temperature": 0, "max_tokens": 25,
        "logprobs": 3, "stop": [" river", "zzz"], "model": "embedded",
    });
    let whole = server.complete(&body);
    let mut streamed = body;
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({"include_usage": true});
    let answer = server.post("/v1/completions", &streamed);
    assert!(
        answer.head.contains("content-type: text/event-stream"),
        "{}",
        answer.head
    );
    let mut events = answer.events();
    let last = events.pop().expect("events");
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], whole["usage"]);
    for choice in whole["choices"].as_array().expect("choices") {
        let of_choice = events.iter().map(|event| {
            assert_eq!(event["usage"], Value::Null);
            &event["choices"][0]
        });
        let of_choice: Vec<&Value> = of_choice
            .filter(|piece| piece["index"] == choice["index"])
            .collect();
        let text: String = of_choice
            .iter()
            .filter_map(|piece| piece["text"].as_str())
            .collect();
        assert_eq!(choice["text"], text);
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let pieces = of_choice
                .iter()
                .filter_map(|piece| piece["logprobs"][list].as_array());
            let all: Vec<&Value> = pieces.flatten().collect();
            assert_eq!(choice["logprobs"][list], json!(all), "{list}");
        }
        let end = of_choice.last().expect("pieces");
        assert_eq!(end["finish_reason"], choice["finish_reason"]);
    }
}

#[test]
fn echo_gives_the_log_probability_of_every_token() {
    let server = Server::start(&["--cache", "4", "--chunk", "7"]);
    let body = |prompt: Value, more: usize, echo: bool| {
        json!({
            "prompt": prompt, "max_tokens": more, "temperature": 0, "logprobs": 1, "echo": echo,
            "return_token_ids": true,
        })
    };
    let answer = server.complete(&body(PROMPTS[2].into(), 6, false));
    let ids = &answer["choices"][0]["token_ids"];
    let tail = &answer["choices"][0]["logprobs"]["token_logprobs"];
    // The chosen tokens score the same as part of a prompt, whatever the chunks.
    let encoded = server.complete(&body(PROMPTS[2].into(), 0, true));
    let prompt = encoded["usage"]["prompt_tokens"].as_u64().expect("a count") as usize;
    let echoed = &encoded["choices"][0];
    assert_eq!(echoed["text"], PROMPTS[2]);
    assert_eq!(echoed["token_ids"], json!([]));
    let logs = echoed["logprobs"]["token_logprobs"]
        .as_array()
        .expect("logs");
    assert_eq!(logs.len(), prompt);
    assert_eq!(logs[0], Value::Null);

    let checkpoint = mxlab::embedded::checkpoint().expect("the embedded model");
    let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
    let mut all: Vec<Value> = tokenizer
        .encode(PROMPTS[2], true)
        .expect("tokens")
        .into_iter()
        .map(Value::from)
        .collect();
    all.extend(ids.as_array().expect("ids").clone());
    let scored = server.complete(&body(json!([all]), 0, true));
    let scored = &scored["choices"][0]["logprobs"]["token_logprobs"];
    let scored = scored.as_array().expect("logs");
    assert_eq!(scored[..prompt], logs[..]);
    assert_eq!(json!(scored[prompt..]), *tail);
}

#[test]
fn a_token_begins_where_its_character_does() {
    let server = Server::start(&["--cache", "4"]);
    let prompt = "Tom ate \u{20ac}\u{e9} with Anna";
    let answer = server.complete(&json!({
        "prompt": prompt, "max_tokens": 4, "temperature": 0, "logprobs": 0, "echo": true,
    }));
    let choice = &answer["choices"][0];
    let text = choice["text"].as_str().expect("a text");
    assert!(text.starts_with(prompt), "{text}");
    let list = |name: &str| choice["logprobs"][name].as_array().expect("a list");
    let mut within = 0;
    for (token, offset) in list("tokens").iter().zip(list("text_offset")) {
        let offset = offset.as_u64().expect("an offset") as usize;
        let token = token.as_str().expect("a token");
        let rest: String = text.chars().skip(offset).collect();
        if token.contains('\u{fffd}') {
            within += 1;
            assert!(rest.starts_with(['\u{20ac}', '\u{e9}']), "{offset}: {rest}");
        } else if token != "<s>" {
            assert!(rest.starts_with(token), "{token:?} at {offset}: {rest}");
        }
    }
    assert!(within > 0, "{:?}", list("tokens"));
}

#[test]
fn answers_end_where_they_should() {
    let server = Server::start(&["--cache", "4"]);
    let base = json!({"prompt": PROMPTS[0], "max_tokens": 40, "temperature": 0});
    let whole = server.complete(&base);
    let text = whole["choices"][0]["text"].as_str().expect("a text");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    let used = whole["usage"]["completion_tokens"]
        .as_u64()
        .expect("a count");

    let mut stopped = base.clone();
    stopped["stop"] = " played".into();
    let stopped = server.complete(&stopped);
    let at = text.find(" played").expect("the word");
    assert_eq!(stopped["choices"][0]["text"], text[..at]);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    assert!(stopped["usage"]["completion_tokens"].as_u64() < Some(used));

    let mut short = base.clone();
    short["max_completion_tokens"] = 3.into();
    let short = server.complete(&short);
    assert_eq!(short["usage"]["completion_tokens"], 3);

    // The token that ends texts, made the likeliest.
    let checkpoint = mxlab::embedded::checkpoint().expect("the embedded model");
    let eos = checkpoint.config().eos_token_ids[0];
    let mut ended = base.clone();
    ended["logit_bias"] = json!({eos.to_string(): 100});
    let ended = server.complete(&ended);
    assert_eq!(ended["choices"][0]["text"], "");
    assert_eq!(ended["choices"][0]["finish_reason"], "stop");
    assert_eq!(ended["usage"]["completion_tokens"], 0);

    // A stop that the answer's last bytes, which are no whole character, make.
    let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
    let parts = tokenizer.encode("\u{e9}", false).expect("tokens");
    let part = parts.last().expect("bytes");
    let mut cut = base.clone();
    cut["logit_bias"] = json!({part.to_string(): 100});
    cut["max_tokens"] = 1.into();
    for (stop, text, end) in [
        (json!(null), "\u{fffd}", "length"),
        ("\u{fffd}".into(), "", "stop"),
    ] {
        cut["stop"] = stop;
        let cut = server.complete(&cut);
        assert_eq!(cut["choices"][0]["text"], text);
        assert_eq!(cut["choices"][0]["finish_reason"], end);
    }

    // A bias that forbids the first token, and penalties, change the answer.
    let first = server.complete(&json!({
        "prompt": PROMPTS[0], "max_tokens": 1, "temperature": 0, "return_token_ids": true,
    }));
    let first = first["choices"][0]["token_ids"][0].as_u64().expect("an id");
    for (field, value) in [
        ("logit_bias", json!({first.to_string(): -100})),
        ("frequency_penalty", json!(2)),
        ("presence_penalty", json!(2)),
        ("repetition_penalty", json!(3)),
    ] {
        let mut changed = base.clone();
        changed[field] = value;
        let changed = server.complete(&changed);
        assert_ne!(changed["choices"][0]["text"], text, "{field}");
    }
}

#[test]
fn a_client_may_keep_its_connection_and_split_its_request() {
    use std::io::{Read, Write};
    let server = Server::start(&["--cache", "4"]);
    let mut stream = server.connect();
    let body = json!({"prompt": "T", "max_tokens": 2, "temperature": 0}).to_string();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";
    for _ in 0..2 {
        let (first, second) = body.split_at(10);
        for part in [
            format!("{head}\r\n"),
            format!("{:x}\r\n{first}\r\n", first.len()),
            format!("{:x}\r\n{second}\r\n0\r\n\r\n", second.len()),
        ] {
            stream.write_all(part.as_bytes()).expect("sent");
            thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).expect("an answer");
        let text = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert_eq!(parse(&text).status, 200, "{text}");
    }
    drop(stream);
    let mut stream = server.begin("/v1/completions", &json!({"prompt": "T"}));
    assert_eq!(parse(&read_all(&mut stream)).status, 200);
}

#[test]
fn a_device_serves_what_it_generates() {
    let device = ["--device", "emulator", "--config", "mx-linear-kv"];
    let more = ["--cache", "2", "--sequences", "2", "--chunk", "64"];
    let server = Server::start(&[&device[..], &more].concat());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.arg("generate").args(device);
    command.args(["--prompt", PROMPTS[0], "--max-tokens", "6"]);
    let text = command.output().expect("runs").stdout;
    let text = String::from_utf8(text).expect("UTF-8");
    let body = json!({
        "prompt": PROMPTS[0], "max_tokens": 6, "temperature": 0, "logprobs": 1, "echo": true,
    });
    let answer = server.complete(&body);
    let expected = format!("{}{}", PROMPTS[0], text.trim_end_matches('\n'));
    assert_eq!(answer["choices"][0]["text"], expected);
    let logs = answer["choices"][0]["logprobs"]["token_logprobs"]
        .as_array()
        .expect("logs")
        .len();
    assert_eq!(
        logs as u64,
        answer["usage"]["total_tokens"].as_u64().expect("a count")
    );
    // Three at once in two places: one waits, none fails.
    let mut three = body;
    three["n"] = 3.into();
    let answer = server.complete(&three);
    for choice in answer["choices"].as_array().expect("choices") {
        assert_eq!(choice["finish_reason"], "length");
    }
}

#[test]
fn a_model_of_a_folder_is_named_without_the_way_to_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("stories.v1").display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    command.args(["convert", "--to", "dense", "embedded", &model]);
    assert!(command.output().expect("runs").status.success());
    let server = Server::start(&["--model", &model, "--cache", "1"]);
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "stories.v1");
    assert_eq!(
        server.get("/v1/models/stories.v1").json(),
        models["data"][0]
    );
    let body = json!({"model": "stories.v1", "prompt": "T", "max_tokens": 1});
    assert_eq!(server.complete(&body)["model"], "stories.v1");
}
