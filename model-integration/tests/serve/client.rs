//! A server under test, and a client that sends bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// `mxlab serve` on a free port.
pub struct Server {
    child: Child,
    /// `host:port`.
    pub address: String,
}

/// What the server sent.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The values of server-sent events, without the last mark.
    pub fn events(&self) -> Vec<Value> {
        let mut lines = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let events = lines.by_ref().take_while(|&line| line != "[DONE]");
        let events = events.map(|line| serde_json::from_str(line).expect("an event"));
        let events = events.collect();
        assert!(self.body.ends_with("data: [DONE]\n\n"), "{}", self.body);
        events
    }
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxlab"));
        command.args(["serve", "--port", "0"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("runs");
        let output = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(output).lines();
        let address = lines.find_map(|line| {
            let line = line.expect("a line");
            line.strip_prefix("listening on http://").map(str::to_owned)
        });
        let address = address.expect("the server starts");
        Self { child, address }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends bytes and reads until the server closes the connection.
    pub fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close it before all is sent.
        let _ = stream.write_all(bytes);
        read_all(&mut stream)
    }

    pub fn request(&self, method: &str, path: &str, more: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        parse(&self.send(&[head.as_bytes(), body].concat()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "", b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, "", body.to_string().as_bytes())
    }

    /// A completion that must work.
    pub fn complete(&self, body: &Value) -> Value {
        let answer = self.post("/v1/completions", body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.body);
        answer.json()
    }

    /// Opens a connection, sends a request and reads nothing.
    pub fn begin(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut stream = self.connect();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        let sent = stream.write_all((head + &body).as_bytes());
        sent.expect("sent");
        stream
    }

    /// The value of a metric.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .expect("a number")
    }

    /// Waits until a metric has a value.
    pub fn wait_for(&self, name: &str, is_reached: impl Fn(u64) -> bool) {
        let begin = Instant::now();
        while !is_reached(self.metric(name)) {
            assert!(
                begin.elapsed() < PATIENCE,
                "{name} is {}",
                self.metric(name)
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Still alive, and answers as ever.
    pub fn check(&self) {
        let body = json!({"prompt": "Anna", "max_tokens": 2, "temperature": 0});
        let answer = self.complete(&body);
        assert_eq!(answer["usage"]["completion_tokens"], 2);
    }

    pub fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let sent = kill.args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end of the server.
    pub fn wait(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "the server does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has been closed too.
    let _ = stream.read_to_end(&mut bytes);
    let _ = stream.shutdown(Shutdown::Both);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer from the bytes of a connection.
pub fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    Answer {
        status: status.unwrap_or_else(|| panic!("no status in {text:?}")),
        head: head.to_lowercase(),
        body: if is_chunked {
            unchunked(body)
        } else {
            body.to_owned()
        },
    }
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        let Some(chunk) = rest.get(..length).filter(|chunk| !chunk.is_empty()) else {
            break;
        };
        text += chunk;
        body = rest[length..].trim_start_matches("\r\n");
    }
    text
}
