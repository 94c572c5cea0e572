//! The process of a server, which ends with its owner.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The beginning of the line by which a server says where it listens.
const LISTENING: &str = "listening on ";
/// How long a server may load its model.
const START: Duration = Duration::from_secs(600);

/// A running server.
pub struct Server {
    child: Child,
    /// Its URL.
    pub url: String,
    /// Its command.
    pub command: Vec<String>,
}

impl Server {
    /// Starts `command`, and waits until it listens.
    ///
    /// # Errors
    /// With what the server printed, if it ends or does not listen in time.
    pub fn start(mut command: Command) -> Result<Self> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = words.join(" ");
        let child = command.spawn().with_context(|| format!("`{shown}`"))?;
        let mut server = Self {
            child,
            url: String::new(),
            command: words,
        };
        let stdout = server.child.stdout.take().context("it is piped")?;
        let mut stderr = server.child.stderr.take().context("it is piped")?;
        let (sender, lines) = channel();
        // Read to the end, so that the server never waits for a reader.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let errors = thread::spawn(move || {
            let mut errors = Vec::new();
            let _ = stderr.read_to_end(&mut errors);
            String::from_utf8_lossy(&errors).trim().to_owned()
        });
        loop {
            match lines.recv_timeout(START) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix(LISTENING) {
                        server.url = url.trim().to_owned();
                        return Ok(server);
                    }
                }
                Err(reason) => {
                    drop(server);
                    let errors = errors.join().unwrap_or_default();
                    match reason {
                        RecvTimeoutError::Timeout => bail!(
                            "`{shown}` does not listen after {} s: {errors}",
                            START.as_secs()
                        ),
                        RecvTimeoutError::Disconnected => {
                            bail!("`{shown}` ended before it listened: {errors}")
                        }
                    }
                }
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    /// It has no answer to give any more, so it need not drain.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
