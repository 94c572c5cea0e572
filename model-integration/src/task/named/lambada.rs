//! The last word of a text: LAMBADA, and the embedded stories.
//!
//! A text is split at its last space, and the target keeps that space. Newlines do not split: a
//! last piece that contains one stays whole.

use super::{NamedTask, Origin, Split};
use crate::task::fields::{Fault, Fields};
use crate::task::metric::Metric;
use crate::task::{Content, Protocol};

pub const LAMBADA: NamedTask = NamedTask {
    name: "lambada_openai",
    about: "LAMBADA, the 5153 examples of lm-evaluation-harness' task of that name",
    protocol: &PROTOCOL,
    num_fewshot: 0,
    origin: Origin::Dataset {
        test: Split {
            files: &["lambada_test.jsonl"],
            hub: ("EleutherAI/lambada_openai", "data/lambada_test.jsonl"),
        },
        training: None,
    },
};

pub const EMBEDDED: NamedTask = NamedTask {
    name: "embedded",
    about: "last words of generated stories, part of the binary",
    protocol: &PROTOCOL,
    num_fewshot: 0,
    origin: Origin::Embedded,
};

pub const PROTOCOL: Protocol = Protocol {
    name: "last_word",
    parse,
    harness: [
        "{{text.split(' ')[:-1]|join(' ')}}",
        "{{' '+text.split(' ')[-1]}}",
    ],
    metrics: Metric::OF_CLOZE,
    generation: None,
};

fn parse(fields: Fields) -> Result<Content, Fault> {
    let text = fields.text("text")?;
    let last_space = text.rfind(' ').ok_or_else(|| {
        let reason = "has no space between a context and a target";
        Fault::new("text", reason)
    })?;
    let (context, target) = text.split_at(last_space);
    Ok(Content::Cloze {
        context: context.to_owned(),
        target: target.to_owned(),
    })
}
