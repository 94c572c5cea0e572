//! WikiText: articles, detokenised.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::json;

use super::{NamedTask, Origin, Split};
use crate::task::fields::{Fault, Fields};
use crate::task::metric::Metric;
use crate::task::{Content, Protocol};

pub const WIKITEXT: NamedTask = NamedTask {
    name: "wikitext",
    about: "WikiText-2, every token of its articles: perplexity of words and bytes",
    protocol: &PROTOCOL,
    num_fewshot: 0,
    origin: Origin::Dataset {
        test: Split {
            files: &[
                "wikitext2_test.jsonl",
                "wiki.test.raw",
                "wikitext2_test.txt",
            ],
            hub: (
                "EleutherAI/wikitext_document_level",
                "wikitext-2-raw-v1/wikitext-2-raw-v1-test.parquet",
            ),
        },
        training: None,
    },
};

pub const PROTOCOL: Protocol = Protocol {
    name: "wikitext",
    parse,
    harness: ["", "{{page}}"],
    metrics: &[
        Metric::BITS_PER_BYTE,
        Metric::WORD_PERPLEXITY,
        Metric::BYTE_PERPLEXITY,
        Metric::LOGLIKELIHOOD,
    ],
    generation: None,
};

/// Literal replacements, in this order: `BEFORE` and `MARKS` before the patterns, `AFTER` after
/// them.
const BEFORE: [(&str, &str); 1] = [("s '", "s'")];
const MARKS: [(&str, &str); 9] = [
    (" @-@ ", "-"),
    (" @,@ ", ","),
    (" @.@ ", "."),
    (" : ", ": "),
    (" ; ", "; "),
    (" . ", ". "),
    (" ! ", "! "),
    (" ? ", "? "),
    (" , ", ", "),
];
const AFTER: [(&str, &str); 8] = [
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" \u{b0} ", "\u{b0}"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
];

/// Text between brackets or quotes, and the spaces beside it. Spaces are Python's.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\(S([^\)]*?)S\)", "($1)"),
        (r"\[S([^\]]*?)S\]", "[$1]"),
        (r"\{S([^}]*?)S\}", "{$1}"),
        (r#""S([^"]*?)S""#, "\"$1\""),
        (r"'S([^']*?)S'", "'$1'"),
    ]
    .map(|(pattern, replacement)| {
        let pattern = pattern.replace('S', r"[\s\x1c-\x1f]*");
        (Regex::new(&pattern).expect("a pattern"), replacement)
    })
    .to_vec()
});

static SPACES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[\s\x1c-\x1f]+").expect("a pattern"));
static QUOTED_DIGIT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"/' [0-9]/").expect("a pattern"));

/// The detokenised text of an article.
fn detokenized(page: &str) -> String {
    let replace = |text: String, pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        pairs.fold(text, |text, (from, to)| text.replace(from, to))
    };
    let text = replace(page.to_owned(), &BEFORE);
    // As in the harness, where the character class is part of the replacement.
    let text = QUOTED_DIGIT.replace_all(&text, "/'[0-9]/").into_owned();
    let text = replace(text, &MARKS);
    let text = PATTERNS.iter().fold(text, |text, (pattern, replacement)| {
        pattern.replace_all(&text, *replacement).into_owned()
    });
    replace(text, &AFTER)
}

/// The text of a page. Words and bytes are counted in the tokenised text.
fn parse(fields: Fields) -> Result<Content, Fault> {
    let page = fields.text("page")?;
    let text = detokenized(page);
    if text.is_empty() {
        return Err(Fault::new("page", "empty"));
    }
    Ok(Content::Document {
        words: SPACES.split(page).count(),
        bytes: page.len(),
        text,
    })
}

/// JSON lines with the articles of a text, if it has any. Articles begin at headings of the first
/// level.
pub fn articles(text: &str) -> Option<String> {
    let mut lines = String::new();
    let mut article: Vec<&str> = Vec::new();
    let mut has_headings = false;
    let mut finish = |article: &mut Vec<&str>| {
        let page = article.join("\n");
        article.clear();
        if !page.trim().is_empty() {
            lines += &json!({ "page": page }).to_string();
            lines.push('\n');
        }
    };
    for line in text.split('\n') {
        let heading = line.replace("= = =", "===").replace("= =", "==");
        let heading = heading.trim();
        if heading.starts_with("= ") && heading.ends_with(" =") {
            finish(&mut article);
            has_headings = true;
        }
        article.push(line);
    }
    finish(&mut article);
    has_headings.then_some(lines)
}
