//! Documents of a text without headings.

use serde_json::json;

use super::fields::{Fault, Fields};
use super::named::wikitext;
use super::{Content, Protocol};

/// The fewest characters of a document, except of the last.
const FEWEST: usize = 4000;

/// Documents as they are written: unlike those of WikiText, none has spaces to take away.
pub const PROTOCOL: Protocol = Protocol {
    name: "text",
    parse,
    ..wikitext::PROTOCOL
};

/// The text of a document.
fn parse(fields: Fields) -> Result<Content, Fault> {
    let text = fields.text("page")?;
    if text.is_empty() {
        return Err(Fault::new("page", "empty"));
    }
    Ok(Content::Document {
        words: text.split_whitespace().count().max(1),
        bytes: text.len(),
        text: text.to_owned(),
    })
}

/// JSON lines with the documents of a text, cut at its blank lines.
pub fn documents(text: &str) -> String {
    let mut lines = String::new();
    let mut document = String::new();
    let mut characters = 0;
    let mut paragraphs = text.split("\n\n").peekable();
    while let Some(paragraph) = paragraphs.next() {
        document += paragraph;
        characters += paragraph.chars().count();
        if characters >= FEWEST || paragraphs.peek().is_none() {
            if !document.trim().is_empty() {
                lines += &json!({ "page": document }).to_string();
                lines.push('\n');
            }
            document.clear();
            characters = 0;
        } else {
            document += "\n\n";
            characters += 2;
        }
    }
    lines
}
