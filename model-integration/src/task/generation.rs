//! Answers that are generated: when they end, and what they say. Patterns are those of lm-evaluation-harness' `gsm8k`.

use std::sync::LazyLock;

use regex::Regex;

macro_rules! pattern {
    ($text:expr) => {
        LazyLock::new(|| Regex::new($text).expect("a pattern"))
    };
}

/// Most tokens of an answer.
pub const MAX_TOKENS: usize = 256;

/// An answer ends before the first of these.
pub const UNTIL: [&str; 3] = ["Question:", "</s>", "<|im_end|>"];

/// What stands for an answer that says none.
const INVALID: &str = "[invalid]";

/// How a number is taken out of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The first after `#### `.
    Strict,
    /// The last of all.
    Flexible,
}

impl Filter {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Strict, Self::Flexible];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict-match",
            Self::Flexible => "flexible-extract",
        }
    }

    /// The number that a text says.
    pub fn extract(self, text: &str) -> String {
        static STRICT: LazyLock<Regex> = pattern!(r"#### (-?[0-9.,]+)");
        static FLEXIBLE: LazyLock<Regex> = pattern!(r"-?[$0-9.,]{2,}|-?[0-9]+");
        let found = match self {
            Self::Strict => STRICT.captures(text).map(|groups| groups[1].to_owned()),
            Self::Flexible => FLEXIBLE
                .find_iter(text)
                .last()
                .map(|m| m.as_str().to_owned()),
        };
        found.map_or_else(|| INVALID.to_owned(), |number| number.trim().to_owned())
    }
}

/// The text up to the first of [`UNTIL`]; `None` if none of them has come.
pub fn cut(text: &str) -> Option<&str> {
    let ends = UNTIL.iter().filter_map(|until| text.find(until));
    ends.min().map(|end| &text[..end])
}

/// Whether an extracted number is that of a solution, but for commas, dollars, a last point and what comes before `#### `.
pub fn is_match(number: &str, solution: &str) -> bool {
    normalized(number) == normalized(solution)
}

fn normalized(text: &str) -> String {
    static BEFORE: LazyLock<Regex> = pattern!(r"(?s).*#### ");
    // As Python's `$`: also before a newline that ends the text.
    static LAST_POINT: LazyLock<Regex> = pattern!(r"\.(\n?)\z");
    let text = text.replace([',', '$'], "");
    let text = BEFORE.replace_all(&text, "");
    LAST_POINT.replace_all(&text, "$1").to_lowercase()
}
