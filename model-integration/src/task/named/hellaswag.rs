//! HellaSwag: the activity, the two parts of the context, and the endings, without WikiHow's
//! brackets.

use std::sync::LazyLock;

use regex::Regex;

use super::{NamedTask, Origin, Split};
use crate::task::fields::{Fault, Fields};
use crate::task::metric::Metric;
use crate::task::{Content, Protocol};

const REPOSITORY: &str = "Rowan/hellaswag";

pub const HELLASWAG: NamedTask = NamedTask {
    name: "hellaswag",
    about: "HellaSwag, four endings of a scene: acc, acc_norm",
    protocol: &PROTOCOL,
    num_fewshot: 0,
    origin: Origin::Dataset {
        test: Split {
            files: &["hellaswag_val.jsonl"],
            hub: (REPOSITORY, "data/validation-00000-of-00001.parquet"),
        },
        training: Some(Split {
            files: &["hellaswag_train.jsonl"],
            hub: (REPOSITORY, "data/train-00000-of-00001.parquet"),
        }),
    },
};

pub const PROTOCOL: Protocol = Protocol {
    name: "hellaswag",
    parse,
    harness: ["{{context}}", "{{gold}}"],
    metrics: Metric::OF_CHOICES,
    generation: None,
};

fn parse(fields: Fields) -> Result<Content, Fault> {
    let (activity, start) = (fields.text("activity_label")?, fields.text("ctx_a")?);
    let end = capitalized(fields.text("ctx_b")?);
    let context = cleaned(&format!("{activity}: {start} {end}"));
    let endings = fields.texts("endings")?;
    let endings = endings.iter().map(|ending| cleaned(ending)).collect();
    Content::choices(context, endings, fields.index("label")?, "label")
}

/// The first letter in upper case, all others in lower case.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + &letters.as_str().to_lowercase()
}

/// Text without the remains of WikiHow's markup.
fn cleaned(text: &str) -> String {
    static BRACKETS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[.*?\]").expect("a pattern"));
    let text = text.trim().replace(" [title]", ". ");
    BRACKETS.replace_all(&text, "").replace("  ", " ")
}
