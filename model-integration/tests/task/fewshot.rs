//! Solved examples before the scored one.

use std::collections::BTreeSet;

use mxlab::task::{DataSources, FewShot, PromptStyle, Sampler, Task, named};
use serde_json::json;

use super::parse;
use crate::toy::CharTokenizer;

fn contexts<'a>(
    shots: &'a FewShot,
    task: &'a Task,
) -> impl Iterator<Item = anyhow::Result<String>> {
    let plain = PromptStyle::default();
    let each = shots.of(task).zip(&task.examples);
    each.map(move |(shots, example)| plain.context(&CharTokenizer::default(), &shots?, example))
}

#[test]
fn fewshot_examples_are_rendered_and_never_the_scored_one() {
    let task = parse(
        "{\"text\": \"one fish\"}\n{\"text\": \"two fish\"}\n{\"text\": \"one fish\"}\n\
         {\"text\": \"red fish\"}\n",
    );
    let first = |count, pool| FewShot {
        count,
        pool,
        sampler: Sampler::FirstN,
    };
    let context = |count, index: usize| {
        contexts(&first(Some(count), None), &task)
            .nth(index)
            .expect("an example")
    };
    assert_eq!(context(0, 0).expect("none"), "one");
    // The target's own space follows the delimiter's, as in lm-evaluation-harness.
    assert_eq!(context(1, 1).expect("one"), "one  fish\n\ntwo");
    assert_eq!(context(2, 3).expect("two"), "one  fish\n\ntwo  fish\n\nred");
    // The first line is left out, and so is the third, its duplicate.
    assert_eq!(context(2, 0).expect("two"), "two  fish\n\nred  fish\n\none");
    let error = context(3, 0).expect_err("too few differ");
    assert!(
        error
            .to_string()
            .contains("2 examples that differ from line 1"),
        "{error}"
    );
    assert!(first(Some(4), None).check(&task).is_err());
    assert!(first(Some(3), None).check(&task).is_ok());

    let pool = parse(r#"{"context": "Q", "target": "A"}"#);
    assert!(first(Some(2), Some(pool.clone())).check(&task).is_err());
    let one = first(Some(1), Some(pool));
    let drawn = FewShot {
        sampler: Sampler::Default,
        ..one.clone()
    };
    for shots in [one, drawn] {
        assert!(shots.check(&task).is_ok());
        let all: Result<Vec<_>, _> = contexts(&shots, &task).collect();
        assert_eq!(all.expect("all")[0], "Q A\n\none");
    }

    // For all draws, neither the scored example nor its duplicate precedes it.
    let drawn = FewShot {
        count: Some(2),
        ..FewShot::default()
    };
    let mut seen = BTreeSet::new();
    for round in 0..8 {
        let many = parse(
            &"{\"text\": \"one fish\"}\n{\"text\": \"two fish\"}\n{\"text\": \"red fish\"}\n"
                .repeat(1 + round),
        );
        for (context, example) in contexts(&drawn, &many).zip(&many.examples) {
            let context = context.expect("two differ");
            let scored = example.content.context();
            assert_eq!(context.matches(scored).count(), 1, "{context}");
            seen.insert(context);
        }
    }
    assert!(seen.len() > 6, "other examples for each: {seen:?}");
}

/// Solved problems come from the training split; without one, the error says what to do.
#[test]
fn solved_problems_are_of_the_training_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = |name: &str, count: usize| {
        let line = |index| {
            let (question, answer) = (format!("{name} {index}?"), format!("#### {index}"));
            let problem = json!({ "question": question, "answer": answer });
            problem.to_string() + "\n"
        };
        let lines: String = (0..count).map(line).collect();
        std::fs::write(folder.path().join(format!("gsm8k_{name}.jsonl")), lines).expect("writable");
    };
    let offline = |_: &str, _: &str| Err(anyhow::anyhow!("there is no network"));
    let load = |count| {
        let fewshot = FewShot {
            count,
            ..FewShot::default()
        };
        let sources = DataSources {
            data_dir: Some(folder.path()),
            embedded: "",
            hub_file: &offline,
        };
        named::load("gsm8k", &fewshot, &sources)
    };
    lines("test", 3);
    assert!(
        load(Some(0))
            .expect("no training split is needed")
            .training
            .is_none()
    );
    let error = format!("{:#}", load(None).expect_err("no training split"));
    for part in [
        "gsm8k_train.jsonl",
        "--fewshot-file",
        "--num-fewshot 0",
        "no network",
    ] {
        assert!(error.contains(part), "{error}");
    }
    lines("train", 30);
    let task = load(None).expect("a task");
    let all: Result<Vec<_>, _> = contexts(&FewShot::default(), &task).collect();
    for context in all.expect("enough") {
        assert_eq!(context.matches("Question: train").count(), 5, "{context}");
        assert_eq!(context.matches("Question: test").count(), 1, "{context}");
    }
}
