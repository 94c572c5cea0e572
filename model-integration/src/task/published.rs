//! The lines of published data sets, as lm-evaluation-harness' tasks of their names ask them.

use std::sync::LazyLock;

use regex::Regex;

use super::Content;
use super::jsonl::{Fault, Fields};

/// ARC, in AI2's lines (`question` is an object with a stem and labelled choices) or the hub's (`question` is a text,
/// `choices` has lists of texts and labels): "Question: ...\nAnswer:" and the texts of the choices.
///
/// # Errors
/// Naming the field.
pub fn arc(fields: &Fields) -> Result<Content, Fault> {
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

/// HellaSwag: the activity, the context's two parts, and the endings, cleaned of WikiHow's brackets.
///
/// # Errors
/// Naming the field.
pub fn hellaswag(fields: &Fields) -> Result<Content, Fault> {
    let (activity, start) = (fields.text("activity_label")?, fields.text("ctx_a")?);
    let end = capitalized(fields.text("ctx_b")?);
    let context = cleaned(&format!("{activity}: {start} {end}"));
    let endings = fields.texts("endings")?;
    let endings = endings.iter().map(|ending| cleaned(ending)).collect();
    Content::choices(context, endings, fields.index("label")?, "label")
}

/// The first letter large, all others small.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + &letters.as_str().to_lowercase()
}

/// Text without what WikiHow's markup left in it.
fn cleaned(text: &str) -> String {
    static BRACKETS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[.*?\]").expect("a pattern"));
    let text = text.trim().replace(" [title]", ". ");
    BRACKETS.replace_all(&text, "").replace("  ", " ")
}

/// GSM8K: "Question: ...\nAnswer:", solved in words that end with `#### ` and the answer.
///
/// # Errors
/// Naming the field.
pub fn gsm8k(fields: &Fields) -> Result<Content, Fault> {
    let solution = fields.text("answer")?;
    if !solution.contains("#### ") {
        return Err(Fault::new("answer", "has no `#### ` before its result"));
    }
    Ok(Content::Problem {
        context: format!("Question: {}\nAnswer:", fields.text("question")?),
        solution: solution.to_owned(),
    })
}
