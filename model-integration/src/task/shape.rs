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
    /// Fields that a line must not have: they belong to another kind of question.
    pub without: &'static [&'static str],
    /// The protocol.
    pub protocol: &'static Protocol,
}

/// Every rule; the first that matches is used.
pub const SHAPES: &[Shape] = &[
    Shape {
        about: "multiple choice as in ARC",
        fields: &["question", "answerKey"],
        without: &[],
        protocol: &arc::PROTOCOL,
    },
    Shape {
        about: "multiple choice as in HellaSwag",
        fields: &["activity_label", "ctx_a", "ctx_b", "endings", "label"],
        without: &[],
        protocol: &hellaswag::PROTOCOL,
    },
    Shape {
        about: "problems as in GSM8K, answers generated",
        fields: &["question", "answer"],
        without: &[],
        protocol: &gsm8k::PROTOCOL,
    },
    Shape {
        about: "multiple choice",
        fields: &["context", "choices", "gold"],
        without: &[],
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
        without: &[],
        protocol: &wikitext::PROTOCOL,
    },
    Shape {
        about: "cloze",
        fields: &["context", "target"],
        without: &[],
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
        without: &["context", "target", "choices", "gold"],
        protocol: &lambada::PROTOCOL,
    },
];

impl Shape {
    /// The first rule that matches a line.
    pub fn of(line: &Map<String, Value>) -> Option<&'static Self> {
        let has = |field: &&str| line.contains_key(*field);
        SHAPES
            .iter()
            .find(|shape| shape.fields.iter().all(has) && !shape.without.iter().any(has))
    }

    /// The fields of a line that no rule matches, and what the nearest rules lack or do not take.
    pub fn nearest(line: &Map<String, Value>) -> String {
        if line.is_empty() {
            return "no fields".to_owned();
        }
        let has = |field: &&&str| line.contains_key(**field);
        let mut near: Vec<(usize, String)> = Vec::new();
        for shape in SHAPES
            .iter()
            .filter(|shape| shape.fields.iter().any(|field| has(&field)))
        {
            let lacking: Vec<_> = shape.fields.iter().filter(|field| !has(field)).collect();
            let excess: Vec<_> = shape.without.iter().filter(has).collect();
            let needs = match lacking.is_empty() {
                true => format!("{} has no {}", shape.about, quoted(excess)),
                false => format!("{} also needs {}", shape.about, quoted(&lacking)),
            };
            near.push((lacking.len(), needs));
        }
        near.sort();
        let near = near
            .into_iter()
            .take(2)
            .map(|(_, needs)| format!("; {needs}"));
        format!("fields {}{}", quoted(line.keys()), near.collect::<String>())
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
