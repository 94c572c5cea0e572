//! Texts that end an answer.

/// A growing text that ends before the first of some texts.
#[derive(Clone, Debug, Default)]
pub struct StopText {
    stops: Vec<String>,
    /// The end of the text so far, if a stop may begin there.
    held: String,
}

impl StopText {
    /// Ends before the first of `stops`, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Adds text. Returns what is certain now, and whether a stop was found behind it.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        if self.stops.is_empty() {
            return (text.to_owned(), false);
        }
        self.held += text;
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(at) = found.min() {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return (text, true);
        }
        let may_begin = |at: &usize| {
            let end = &self.held[*at..];
            self.stops.iter().any(|stop| stop.starts_with(end))
        };
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let first = self.held.len().saturating_sub(longest);
        let places = self.held.char_indices().map(|(at, _)| at);
        let at = places.filter(|&at| at >= first).find(may_begin);
        let rest = self.held.split_off(at.unwrap_or(self.held.len()));
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is left at the end, in which no stop is complete.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut stop = StopText::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut texts = Vec::new();
        for piece in pieces {
            let (text, is_found) = stop.push(piece);
            texts.push(text);
            if is_found {
                return (texts, true);
            }
        }
        texts.push(stop.finish());
        (texts, false)
    }

    #[test]
    fn a_stop_is_found_across_pieces_and_nothing_of_it_leaves() {
        for (stops, pieces, texts, is_found) in [
            (
                &["\n\n"][..],
                &["a", "\n", "\nb"][..],
                &["a", "", ""][..],
                true,
            ),
            (&["\n\n"], &["a\n", "b"], &["a", "\nb", ""], false),
            (&["aab"], &["aa", "ab"], &["", "a"], true),
            (&["xyz", "y"], &["ax", "y"], &["a", "x"], true),
            (&["end"], &["the e", "n"], &["the ", "", "en"], false),
            (&["\u{e9}t"], &["caf\u{e9}", "t"], &["caf", ""], true),
            (&[], &["a", "b"], &["a", "b", ""], false),
        ] {
            let (found, was_found) = stopped(stops, pieces);
            assert_eq!(found, texts, "{stops:?} in {pieces:?}");
            assert_eq!(was_found, is_found, "{stops:?} in {pieces:?}");
        }
    }
}
