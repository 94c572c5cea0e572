//! A local hub that can misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use mxlab::checkpoint::hub::HubOptions;
use tiny_http::{Header, Request, Response, Server};

use crate::checkpoint::tiny::Files;

/// How the hub misbehaves.
#[derive(Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// Answers every request with this status.
    Status(u16),
    /// Redirects requests for weights to a server that hangs up midway.
    Cut,
    /// Sends fewer bytes of the weights than announced, in a complete response.
    Short,
    /// Each file belongs to another commit.
    Moving,
}

/// A hub with one model repository, `org/tiny`, and one dataset, `org/task`.
pub struct Hub {
    server: Arc<Server>,
    endpoint: String,
    requests: Arc<Mutex<Vec<Asked>>>,
}

/// Path and `Authorization` of a request.
pub type Asked = (String, Option<String>);

impl Hub {
    pub fn start(model: Files, fault: Fault) -> Self {
        let mut files = BTreeMap::new();
        for (name, content) in model {
            files.insert(format!("/org/tiny/resolve/v1.0/{name}"), content.clone());
            files.insert(format!("/org/tiny/resolve/main/{name}"), content);
        }
        let dataset = "/datasets/org/task/resolve/main/data/test.jsonl";
        files.insert(dataset.to_owned(), b"{\"text\": \"the cat\"}\n".to_vec());
        let server = Arc::new(Server::http("127.0.0.1:0").unwrap());
        let endpoint = format!("http://{}", server.server_addr());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (serving, log) = (server.clone(), requests.clone());
        thread::spawn(move || {
            for request in serving.incoming_requests() {
                let token = header_value(&request, "Authorization");
                log.lock().unwrap().push((request.url().to_owned(), token));
                answer(request, &files, fault);
            }
        });
        Self {
            server,
            endpoint,
            requests,
        }
    }

    pub fn options(&self, cache: &Path) -> HubOptions {
        HubOptions {
            endpoint: self.endpoint.clone(),
            cache: Some(cache.to_owned()),
            token: None,
            offline: false,
            retries: 0,
            progress: false,
        }
    }

    pub fn requests(&self) -> Vec<Asked> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

fn header_value(request: &Request, name: &'static str) -> Option<String> {
    let header = request
        .headers()
        .iter()
        .find(|header| header.field.equiv(name));
    header.map(|header| header.value.to_string())
}

fn answer(request: Request, files: &BTreeMap<String, Vec<u8>>, fault: Fault) {
    let url = request.url().to_owned();
    let status = match fault {
        Fault::Status(status) => Some(status),
        _ if !files.contains_key(&url) => Some(404),
        _ => None,
    };
    if let Some(status) = status {
        return request.respond(Response::empty(status)).unwrap();
    }
    let file = &files[&url];
    let range = header_value(&request, "Range").unwrap();
    let (start, end) = bounds(&range, file.len());
    let is_weights = url.ends_with("model.safetensors");
    let is_redirect = fault == Fault::Cut && is_weights;
    let body = match fault {
        _ if is_redirect => &[],
        Fault::Short if is_weights && end > 1 => &file[start..end - 10],
        _ => &file[start..end],
    };
    let commit = match fault {
        Fault::Moving => format!("{:040x}", url.len()),
        _ => "0123456789abcdef0123456789abcdef01234567".to_owned(),
    };
    let name = url.rsplit('/').next().unwrap().replace('.', "-");
    let mut response = Response::from_data(body).with_status_code(206);
    let mut add = |header: String| response.add_header(header.parse::<Header>().unwrap());
    add(format!(
        "Content-Range: bytes {start}-{}/{}",
        end - 1,
        file.len()
    ));
    add(format!("ETag: \"etag-of-{name}\""));
    add(format!("X-Repo-Commit: {commit}"));
    if is_redirect {
        add(format!("Location: {}", hang_up_midway(file.clone())));
        response = response.with_status_code(302);
    }
    request.respond(response).unwrap();
}

/// First and last + 1 byte of a `Range` header.
fn bounds(range: &str, length: usize) -> (usize, usize) {
    let range = range.trim().strip_prefix("bytes=").unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let end = end.parse().map_or(length, |last: usize| last + 1);
    (start.parse().unwrap(), end)
}

/// The address of a server that answers one request for `file`. It stops midway if more than the
/// first byte is requested.
fn hang_up_midway(file: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/file", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut range = String::new();
        for line in lines
            .by_ref()
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
        {
            if let Some(value) = line.to_lowercase().strip_prefix("range:") {
                range = value.to_owned();
            }
        }
        let (start, end) = bounds(&range, file.len());
        let sent = if end > 1 { (start + end) / 2 } else { end };
        let (length, last, total) = (end - start, end - 1, file.len());
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\
             Content-Range: bytes {start}-{last}/{total}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&file[start..sent]).unwrap();
    });
    address
}
