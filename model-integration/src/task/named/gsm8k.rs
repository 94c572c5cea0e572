//! GSM8K. Prompt: `Question: ...\nAnswer:`. A solution is prose that ends with `#### ` and the
//! answer. Stop words and patterns are those of lm-evaluation-harness' `gsm8k`.

use std::sync::LazyLock;

use regex::Regex;

use super::{NamedTask, Origin, Split};
use crate::task::fields::{Fault, Fields};
use crate::task::metric::{Filter, Judge, Metric};
use crate::task::{Content, Generation, Protocol};

macro_rules! pattern {
    ($text:expr) => {
        LazyLock::new(|| Regex::new($text).expect("a pattern"))
    };
}

const REPOSITORY: &str = "openai/gsm8k";

pub const GSM8K: NamedTask = NamedTask {
    name: "gsm8k",
    about: "GSM8K, problems in words, 5 of them solved before: exact match of the answer",
    protocol: &PROTOCOL,
    num_fewshot: 5,
    origin: Origin::Dataset {
        test: Split {
            files: &["gsm8k_test.jsonl", "test.jsonl"],
            hub: (REPOSITORY, "main/test-00000-of-00001.parquet"),
        },
        training: Some(Split {
            files: &["gsm8k_train.jsonl", "train.jsonl"],
            hub: (REPOSITORY, "main/train-00000-of-00001.parquet"),
        }),
    },
};

pub const PROTOCOL: Protocol = Protocol {
    name: "gsm8k",
    parse,
    harness: ["Question: {{question}}\nAnswer:", "{{answer}}"],
    metrics: &[FLEXIBLE_MATCH, STRICT_MATCH],
    generation: Some(Generation {
        max_tokens: 256,
        until: &["Question:", "</s>", "<|im_end|>"],
        filters: &[&STRICT, &FLEXIBLE],
    }),
};

/// Fraction of problems whose answer, the last number of the text, is right.
const FLEXIBLE_MATCH: &Metric = &Metric {
    name: "exact_match",
    ..Metric::part(
        "flexible_match",
        "flexible %",
        Judge::Text(&FLEXIBLE, is_right),
    )
};

/// Fraction of problems whose answer, the number after `#### `, is right.
const STRICT_MATCH: &Metric = &Metric {
    name: "exact_match",
    ..Metric::part("strict_match", "strict %", Judge::Text(&STRICT, is_right))
};

/// The last number of a text.
const FLEXIBLE: Filter = Filter {
    name: "flexible-extract",
    extract: |text| {
        static NUMBER: LazyLock<Regex> = pattern!(r"-?[$0-9.,]{2,}|-?[0-9]+");
        let last = NUMBER.find_iter(text).last();
        extracted(last.map(|found| found.as_str()))
    },
};

/// The first number after `#### `.
const STRICT: Filter = Filter {
    name: "strict-match",
    extract: |text| {
        static ANSWER: LazyLock<Regex> = pattern!(r"#### (-?[0-9.,]+)");
        let first = ANSWER.captures(text).and_then(|groups| groups.get(1));
        extracted(first.map(|found| found.as_str()))
    },
};

/// A number, or the placeholder for an answer without one.
fn extracted(number: Option<&str>) -> String {
    number.map_or("[invalid]", str::trim).to_owned()
}

fn parse(fields: Fields) -> Result<Content, Fault> {
    let solution = fields.text("answer")?;
    if !solution.contains("#### ") {
        return Err(Fault::new("answer", "has no `#### ` before its result"));
    }
    Ok(Content::Problem {
        context: format!("Question: {}\nAnswer:", fields.text("question")?),
        solution: solution.to_owned(),
    })
}

/// Whether a number equals that of the solution. Commas, dollars, a final point and everything up
/// to `#### ` are ignored.
fn is_right(content: &Content, number: &str) -> bool {
    normalized(number) == normalized(content.solution())
}

fn normalized(text: &str) -> String {
    static BEFORE: LazyLock<Regex> = pattern!(r"(?s).*#### ");
    // As Python's `$`, which also matches before a final newline.
    static LAST_POINT: LazyLock<Regex> = pattern!(r"\.(\n?)\z");
    let text = text.replace([',', '$'], "");
    let text = BEFORE.replace_all(&text, "");
    LAST_POINT.replace_all(&text, "$1").to_lowercase()
}
