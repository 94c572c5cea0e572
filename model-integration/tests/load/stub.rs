//! A small server whose answers, right and wrong, are written byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

/// A request that the server got.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub head: String,
    pub body: Value,
    pub at: Instant,
    /// Its number, from 0.
    pub number: usize,
}

/// Answers requests on a port of its own until the test ends.
pub struct Stub {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// A server that answers by `answer`, and closes the connection where that returns false.
    pub fn start(answer: impl Fn(&Asked, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (log.clone(), answer.clone());
                thread::spawn(move || serve(stream.expect("open"), &log, &*answer));
            }
        });
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, &mut TcpStream) -> bool,
) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split_once('\r'));
        let length = length.map_or(0, |(length, _)| length.parse().expect("a length"));
        let mut body = vec![0; length];
        // A client may be killed.
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let asked = {
            let mut log = log.lock().expect("whole");
            let asked = Asked {
                path: head.split(' ').nth(1).expect("a path").to_owned(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                at: Instant::now(),
                number: log.len(),
                head,
            };
            log.push(asked.clone());
            asked
        };
        // The client may be gone.
        if !answer(&asked, &mut stream) {
            return;
        }
    }
}

/// The head of a stream of events.
pub const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// A chunk of the body.
pub fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// An event with a token.
pub fn token(asked: &Asked) -> String {
    let choice = match asked.path.contains("chat") {
        true => json!({"index": 0, "delta": {"content": "word "}, "finish_reason": null}),
        false => json!({"index": 0, "text": "word ", "finish_reason": null}),
    };
    chunk(&format!("data: {}\n\n", json!({"choices": [choice]})))
}

/// The end of an answer of `count` tokens: finish reason, usage, `[DONE]`.
pub fn end(asked: &Asked, count: usize) -> String {
    let prompt = asked.body["prompt"].as_array().map_or(7, Vec::len);
    let finish = json!({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]});
    let usage = json!({
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": count},
    });
    let events = format!("data: {finish}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    chunk(&events) + "0\r\n\r\n"
}

/// A right answer with as many tokens as asked for, or the list of models.
pub fn right(asked: &Asked, stream: &mut TcpStream) -> bool {
    if asked.path.ends_with("/models") {
        let models = json!({"object": "list", "data": [{"id": "stub"}]}).to_string();
        return json_of(stream, "200 OK", &models);
    }
    let count = asked.body["max_tokens"].as_u64().expect("a number") as usize;
    let tokens = token(asked).repeat(count);
    write(stream, &format!("{HEAD}{tokens}{}", end(asked, count)))
}

/// An answer in JSON.
pub fn json_of(stream: &mut TcpStream, status: &str, body: &str) -> bool {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
    write(
        stream,
        &format!("{head}content-length: {length}\r\n\r\n{body}"),
    )
}

/// Writes; whether the client is still there.
pub fn write(stream: &mut TcpStream, text: &str) -> bool {
    stream.write_all(text.as_bytes()).is_ok()
}
