//! Rules for the user's files: the fields of the first line select a protocol.
//!
//! Named tasks do not use them: they have their own parser.

use std::fmt;

use serde_json::{Map, Value};

use super::fields::{Fault, Fields};
use super::metric::Metric;
use super::named::{arc, gsm8k, hellaswag, lambada, wikitext};
use super::{Content, Protocol};

/// A rule: lines with these fields are read with this protocol.
#[derive(Debug)]
pub struct Shape {
    /// The kind of question, in words.
    pub about: &'static str,
    /// Fields that a line must have; it may have others.
    pub fields: &'static [&'static str],
    /// The protocol.
    pub protocol: &'static Protocol,
}

/// Every rule; the first that matches is used.
pub const SHAPES: &[Shape] = &[
    Shape {
        about: "multiple choice as in ARC",
        fields: &["question", "answerKey"],
        protocol: &arc::PROTOCOL,
    },
    Shape {
        about: "multiple choice as in HellaSwag",
        fields: &["activity_label", "ctx_a", "ctx_b", "endings", "label"],
        protocol: &hellaswag::PROTOCOL,
    },
    Shape {
        about: "problems as in GSM8K, answers generated",
        fields: &["question", "answer"],
        protocol: &gsm8k::PROTOCOL,
    },
    Shape {
        about: "multiple choice",
        fields: &["context", "choices", "gold"],
        protocol: &Protocol {
            name: "choices",
            parse: choices,
            harness: ["{{context}}", "{{gold}}"],
            metrics: Metric::OF_CHOICES,
            generation: None,
        },
    },
    Shape {
        about: "documents as in WikiText",
        fields: &["page"],
        protocol: &wikitext::PROTOCOL,
    },
    Shape {
        about: "cloze",
        fields: &["context", "target"],
        protocol: &Protocol {
            name: "cloze",
            parse: cloze,
            harness: ["{{context}}", "{{target}}"],
            metrics: Metric::OF_CLOZE,
            generation: None,
        },
    },
    Shape {
        about: "cloze of the last word",
        fields: &["text"],
        protocol: &lambada::PROTOCOL,
    },
];

impl Shape {
    /// The first rule that matches a line.
    pub fn of(line: &Map<String, Value>) -> Option<&'static Self> {
        let has = |field: &&str| line.contains_key(*field);
        SHAPES.iter().find(|shape| shape.fields.iter().all(has))
    }

    /// All rules in one line, for messages.
    pub fn known() -> String {
        let known: Vec<String> = SHAPES.iter().map(Self::to_string).collect();
        known.join("; ")
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let plural = if self.fields.len() > 1 { "s" } else { "" };
        let fields = quoted(self.fields);
        write!(f, "{}, by field{plural} {fields}", self.about)
    }
}

/// Quoted names, separated by commas.
pub fn quoted(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn cloze(fields: Fields) -> Result<Content, Fault> {
    let target = fields.text("target")?;
    if target.is_empty() {
        return Err(Fault::new("target", "empty"));
    }
    Ok(Content::Cloze {
        context: fields.text("context")?.to_owned(),
        target: target.to_owned(),
    })
}

fn choices(fields: Fields) -> Result<Content, Fault> {
    let (context, choices) = (fields.text("context")?.to_owned(), fields.texts("choices")?);
    Content::choices(context, choices, fields.index("gold")?, "gold")
}
