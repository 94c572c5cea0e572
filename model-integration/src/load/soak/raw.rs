//! Clients below HTTP: slow ones, and ones that are killed.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Soak;
use super::act::{End, of_length};
use crate::load::failure::{Failure, beginning};
use crate::load::prompts::Asked;

/// Bytes that a slow client sends or reads at a time.
const PIECE: usize = 64;
/// Its pause between them.
const PAUSE: Duration = Duration::from_millis(5);
/// Most time of a slow request.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest answer of a slow request.
const MOST_BYTES: usize = 1 << 20;

/// Sends a request and reads its answer a few bytes at a time.
pub async fn slow(soak: &Soak, asked: &Asked) -> End {
    match timeout(TIMEOUT, slowly(soak, asked)).await {
        Err(_) => failed("timeout of a slow client", "no end of the answer"),
        Ok(Err(error)) => failed("closed on a slow client", &error.to_string()),
        Ok(Ok(end)) => end,
    }
}

async fn slowly(soak: &Soak, asked: &Asked) -> io::Result<End> {
    let mut stream = connect(soak).await?;
    for piece in request(soak, asked).chunks(PIECE) {
        stream.write_all(piece).await?;
        sleep(PAUSE).await;
    }
    let mut answer = Vec::new();
    let mut piece = [0; PIECE];
    loop {
        let length = stream.read(&mut piece).await?;
        answer.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&answer);
        if text.contains("data: [DONE]") {
            let usage = text.rsplit("\"completion_tokens\":").next();
            let digits = usage.unwrap_or_default().trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit());
            let tokens = digits[..end.unwrap_or(0)].parse().ok();
            return Ok(of_length(tokens, asked));
        }
        let is_overload = text.starts_with("HTTP/1.1 429") || text.starts_with("HTTP/1.1 503");
        if is_overload {
            return Ok(End::Overloaded);
        }
        if length == 0 || answer.len() > MOST_BYTES || text.starts_with("HTTP/1.1 4") {
            return Ok(failed("closed on a slow client", &beginning(&answer)));
        }
        sleep(PAUSE).await;
    }
}

/// Sends a part of a request, by `part` in 2^32, and resets the connection; half of the time the
/// whole request.
pub async fn killed(soak: &Soak, asked: &Asked, part: u32) -> End {
    let request = request(soak, asked);
    let length = (2.0 * f64::from(part) / f64::from(u32::MAX) * request.len() as f64) as usize;
    let kill = async {
        let mut stream = connect(soak).await?;
        stream
            .write_all(&request[..length.min(request.len())])
            .await?;
        // The system then sends a reset instead of an orderly end.
        stream.set_zero_linger()?;
        io::Result::Ok(())
    };
    match timeout(TIMEOUT, kill).await {
        Ok(Ok(())) => End::Gone,
        Ok(Err(error)) => {
            let failure = Failure::connecting(&error);
            failed(&failure.kind(), &failure.to_string())
        }
        Err(_) => failed("timeout connecting", "no connection"),
    }
}

fn failed(kind: &str, example: &str) -> End {
    End::Failed {
        kind: kind.to_owned(),
        example: example.to_owned(),
    }
}

async fn connect(soak: &Soak) -> io::Result<TcpStream> {
    let endpoint = soak.client.endpoint();
    TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await
}

fn request(soak: &Soak, asked: &Asked) -> Vec<u8> {
    let path = soak.prompts.api.path();
    let head = soak.client.endpoint().head(path, asked.body.len());
    [&head, &*asked.body].concat()
}
