//! Server-sent events, by the rules of the HTML standard: lines end with `\n`, `\r\n` or `\r`, an
//! empty line ends an event, and lines that begin with `data:` are its data.

use super::failure::Failure;

/// Longest data of an event, and longest line.
const MOST_BYTES: usize = 1 << 20;

/// Cuts bytes, in pieces of any size, into the data of events.
#[derive(Default)]
pub struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last byte was `\r`, which a `\n` may follow.
    after_return: bool,
}

impl Events {
    /// The data of the events that end in `bytes`.
    ///
    /// # Errors
    /// [`Failure::TooLong`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut ended = Vec::new();
        for &byte in bytes {
            let follows = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if follows => {}
                b'\n' | b'\r' => ended.extend(self.end_line()),
                byte => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MOST_BYTES {
                return Err(Failure::TooLong("1 MiB in an event"));
            }
        }
        Ok(ended)
    }

    /// The data of an event that the end of the stream cut off before its empty line.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.end_line().or_else(|| self.end_line())
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        if let Some(value) = line.strip_prefix(b"data") {
            let value = match value {
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                [] => value,
                // The name of another field begins with `data`.
                _ => return None,
            };
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Events;

    /// However a stream is cut, its events are the same.
    #[test]
    fn any_cut_gives_the_same_events() {
        let stream = b"\xef: comment\r\ndata: one\r\n\r\ndata:two\ndata:  lines\nid: 7\n\n\
            event: x\rdata: three\r\rdatum: no\ndatabase: no\n\ndata\n\ndata: cut";
        let expected = ["one", "two\n lines", "three", "", "cut"];
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut events = Events::default();
                let cuts = [&stream[..first], &stream[first..second], &stream[second..]];
                let mut found = Vec::new();
                for cut in cuts {
                    found.extend(events.push(cut).expect("short"));
                }
                found.extend(events.finish());
                let found: Vec<_> = found
                    .into_iter()
                    .map(|data| String::from_utf8(data).expect("UTF-8"))
                    .collect();
                assert_eq!(found, expected, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn endless_events_are_refused() {
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let ends = (0..2000).any(|_| events.push(&line).is_err());
        assert!(ends);
    }
}
