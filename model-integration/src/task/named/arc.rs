//! ARC, in AI2's format (`question` is an object with a stem and labelled choices) or the hub's
//! (`question` is a string, `choices` has lists of texts and labels). Prompt: `Question:
//! ...\nAnswer:`, scored with the texts of the choices.

use super::{NamedTask, Origin, Split};
use crate::task::fields::{Fault, Fields};
use crate::task::metric::Metric;
use crate::task::{Content, Protocol};

const REPOSITORY: &str = "allenai/ai2_arc";

pub const CHALLENGE: NamedTask = NamedTask {
    name: "arc_challenge",
    about: "the AI2 reasoning challenge, the harder part: acc, acc_norm",
    protocol: &PROTOCOL,
    num_fewshot: 0,
    origin: Origin::Dataset {
        test: Split {
            files: &["arc_challenge_test.jsonl", "ARC-Challenge-Test.jsonl"],
            hub: (REPOSITORY, "ARC-Challenge/test-00000-of-00001.parquet"),
        },
        training: Some(Split {
            files: &["arc_challenge_train.jsonl", "ARC-Challenge-Train.jsonl"],
            hub: (REPOSITORY, "ARC-Challenge/train-00000-of-00001.parquet"),
        }),
    },
};

pub const PROTOCOL: Protocol = Protocol {
    name: "arc",
    parse,
    harness: ["{{context}}", "{{gold}}"],
    metrics: Metric::OF_CHOICES,
    generation: None,
};

fn parse(fields: Fields) -> Result<Content, Fault> {
    let key = fields.text("answerKey")?;
    let (question, labelled) = match fields.text("question") {
        Ok(question) => {
            let choices = fields.fields("choices")?;
            let labels = choices.texts("label")?;
            let pairs = labels.into_iter().zip(choices.texts("text")?);
            (question, pairs.collect::<Vec<_>>())
        }
        Err(_) => {
            let question = fields.fields("question")?;
            let choices = question.list("choices")?.iter().map(|choice| {
                let choice = choice.as_object().map(Fields);
                let choice =
                    choice.ok_or_else(|| Fault::new("choices", "not a list of objects"))?;
                let label = choice.text("label")?.to_owned();
                Ok((label, choice.text("text")?.to_owned()))
            });
            let choices = choices.collect::<Result<Vec<_>, Fault>>()?;
            (question.text("stem")?, choices)
        }
    };
    let gold = labelled.iter().position(|(label, _)| label == key);
    let gold = gold.ok_or_else(|| {
        let reason = format!("no choice has the label {key:?}");
        Fault::new("answerKey", reason)
    })?;
    let choices = labelled.into_iter().map(|(_, text)| text).collect();
    let context = format!("Question: {question}\nAnswer:");
    Content::choices(context, choices, gold, "answerKey")
}
