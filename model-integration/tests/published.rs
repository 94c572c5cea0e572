//! Published data sets: what their lines ask, and what the answers amount to.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use mxlab::config::{FormatFlags, load as load_config};
use mxlab::engine::Score;
use mxlab::eval::log::TextEntry;
use mxlab::eval::metric::{Column, Metric};
use mxlab::eval::plan::Plan;
use mxlab::eval::progress::Silent;
use mxlab::eval::runner::Given;
use mxlab::eval::{Evaluation, Settings};
use mxlab::model::cpu::CpuEngine;
use mxlab::task::generation::{Filter, cut, is_match};
use mxlab::task::{
    Content, DataSources, FewShot, Kind, PromptEncoder, Task, jsonl, load, wikitext,
};

use crate::toy;
use toy::{BOS, CharTokenizer, ToyEngine};

fn parse(lines: &str) -> Task {
    jsonl::parse("toy", "toy.jsonl", lines.as_bytes()).expect("a task")
}

fn fault(line: &str) -> String {
    let parsed = jsonl::parse("toy", "toy.jsonl", line.as_bytes());
    parsed.expect_err(line).to_string()
}

fn choices(context: &str, choices: &[&str], gold: usize) -> Content {
    Content::Choices {
        context: context.to_owned(),
        choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
        gold,
    }
}

fn score(loglikelihood: f64) -> Score {
    Score {
        loglikelihood,
        is_greedy: false,
        shortfall: 0.0,
    }
}

#[test]
fn arc_is_read_in_both_layouts() {
    let ours = r#"{"id":"a","question":{"stem":"Why?","choices":[{"text":"x y","label":"1"},{"text":"z","label":"2"}]},"answerKey":"2"}"#;
    let hub =
        r#"{"question":"Why?","choices":{"text":["x y","z"],"label":["A","B"]},"answerKey":"B"}"#;
    let task = parse(&format!("{ours}\n{hub}\n"));
    let expected = choices("Question: Why?\nAnswer:", &["x y", "z"], 1);
    assert!(
        task.examples
            .iter()
            .all(|example| example.content == expected)
    );
    assert_eq!(task.kind(), Kind::Choices);
    for (line, reason) in [
        (
            ours.replace("Key\":\"2\"", "Key\":\"3\""),
            "field `answerKey`: no choice has the label \"3\"",
        ),
        (
            hub.replace("[\"A\",\"B\"]", "[1,2]"),
            "field `label`: not a list of strings",
        ),
        (
            hub.replace("\"choices\"", "\"options\""),
            "field `choices`: missing",
        ),
        (r#"{"question":"Why?"}"#.to_owned(), "field `text`: missing"),
    ] {
        let error = fault(&line);
        assert!(
            error.contains("`toy.jsonl` line 1") && error.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn hellaswag_is_cleaned_as_the_harness_cleans_it() {
    let line = r#"{"activity_label":"Cooking","ctx_a":"A man [substeps] stirs.","ctx_b":"he SMILES  and","endings":["sits. [title] Ends","runs  off  ."],"label":"1"}"#;
    let task = parse(line);
    // The brackets go, and then two spaces become one; the second part begins large and goes on small.
    let expected = choices(
        "Cooking: A man stirs. He smiles and",
        &["sits.. Ends", "runs off ."],
        1,
    );
    assert_eq!(task.examples[0].content, expected);
    let error = fault(&line.replace("\"1\"", "\"2\""));
    assert!(error.contains("field `label`: 2 of 2 choices"), "{error}");
}

/// Expected values are those of Python's `re` and `str` in the harness' own function.
#[test]
fn articles_are_as_they_were_before_they_were_tokenised() {
    let text = " \n = One = \n \n It 's \" a b \" ( c ) , 1 @,@ 000 @-@ fold ; N = = Two = = \n x . y \n = Three = \n z ' q ' w \n";
    let lines = wikitext::articles(text);
    let task = parse(&lines);
    let texts: Vec<&str> = task.examples.iter().map(|e| e.content.solution()).collect();
    assert_eq!(
        texts,
        [
            " = One =\n\nIt's \"a b\" (c), 1,000-fold; 1 == Two ==\nx. y ",
            " = Three =\nz 'q' w\n",
        ]
    );
    let Content::Document { words, bytes, .. } = &task.examples[1].content else {
        panic!("a document");
    };
    // Those of the tokenised article, the empty ones at both ends among them.
    assert_eq!((*words, *bytes), (10, 24));
}

#[test]
fn files_of_choices_and_of_several_kinds() {
    let line = r#"{"context": "Q:", "choices": ["a", "b"], "gold": 1}"#;
    let task = jsonl::parse("toy", "toy.jsonl", line.as_bytes()).expect("a task");
    assert_eq!(task.examples[0].content, choices("Q:", &["a", "b"], 1));
    for (content, reason) in [
        (
            r#"{"context": "Q:", "choices": [], "gold": 0}"#.to_owned(),
            "0 of 0 choices",
        ),
        (
            r#"{"context": "Q:", "choices": ["a", ""], "gold": 0}"#.to_owned(),
            "one is empty",
        ),
        (
            r#"{"context": "Q:", "choices": ["a", 3], "gold": 0}"#.to_owned(),
            "not a list of strings",
        ),
        (
            r#"{"context": "Q:", "choices": "ab", "gold": 0}"#.to_owned(),
            "not a list",
        ),
        (
            r#"{"context": "Q:", "choices": ["a"], "gold": -1}"#.to_owned(),
            "not an index",
        ),
        (r#"{"page": ""}"#.to_owned(), "field `page`: empty"),
        (
            format!("{line}\n{{\"text\": \"a b\"}}"),
            "line 2: loglikelihood, where the examples before are multiple_choice",
        ),
    ] {
        let parsed = jsonl::parse("toy", "toy.jsonl", content.as_bytes());
        let error = parsed.expect_err(&content).to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// Every token of a text is scored once, with as much before it as the harness gives it.
#[test]
fn windows_score_every_token_once() {
    let tokenizer = CharTokenizer { adds_bos: false };
    let encoder = PromptEncoder {
        tokenizer: &tokenizer,
        add_bos_token: None,
        max_length: 4,
    };
    let windows = |text: &str| {
        let requests = encoder.windows(text).expect("tokens").requests;
        let window = |request: mxlab::engine::Request| {
            let letter = |&token: &u32| match token {
                BOS => '^',
                token => char::from_u32(token).expect("a letter"),
            };
            let (context, targets) = request
                .tokens
                .split_at(request.tokens.len() - request.targets);
            let text = |tokens: &[u32]| tokens.iter().map(letter).collect::<String>();
            (text(context), text(targets))
        };
        requests.into_iter().map(window).collect::<Vec<_>>()
    };
    let pair = |context: &str, targets: &str| (context.to_owned(), targets.to_owned());
    assert_eq!(windows("abc"), [pair("^", "abc")]);
    assert_eq!(windows("abcd"), [pair("^", "abcd")]);
    // The last window has all that fits before it.
    assert_eq!(windows("abcde"), [pair("^", "abcd"), pair("abcd", "e")]);
    assert_eq!(
        windows("abcdefghij"),
        [pair("^", "abcd"), pair("d", "efgh"), pair("fgh", "ij")]
    );
}

#[test]
fn metrics_by_hand() {
    let tokenizer = CharTokenizer::default();
    let encoder = PromptEncoder {
        tokenizer: &tokenizer,
        add_bos_token: None,
        max_length: 100,
    };
    let columns = |lines: &str, scores: &[f64]| {
        let task = jsonl::parse("toy", "toy.jsonl", lines.as_bytes()).expect("a task");
        let plan = Plan::new(&task, &encoder, &FewShot::default(), None, 2).expect("a plan");
        let scores = scores.iter().map(|&x| score(x)).collect();
        Column::all(&task, &plan, &Given::Scores(scores))
    };
    let of = |columns: &[Column], metric| {
        let column = columns.iter().find(|column| column.metric == metric);
        column.expect("a column").estimate().value
    };
    // The first is right by its log-likelihood alone, the second by a letter's; a tie is the first's.
    let line = |gold: usize| {
        format!(r#"{{"context": "Q", "choices": ["a", "bcdé"], "gold": {gold}}}"#) + "\n"
    };
    let lines = line(0) + &line(1) + &line(0);
    let columns_of_choices = columns(&lines, &[-1.0, -3.0, -2.0, -3.0, -2.0, -2.0]);
    assert_eq!(of(&columns_of_choices, Metric::Acc), 2.0 / 3.0);
    assert_eq!(of(&columns_of_choices, Metric::AccNorm), 1.0 / 3.0);
    assert_eq!(of(&columns_of_choices, Metric::Loglikelihood), -2.0);

    // Two words and four bytes; three words and five bytes.
    let lines = "{\"page\": \"a bc\"}\n{\"page\": \"a b c\"}\n";
    let documents = columns(lines, &[-6.0, -12.0]);
    let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value}");
    close(
        of(&documents, Metric::WordPerplexity),
        (18.0f64 / 5.0).exp(),
    );
    close(of(&documents, Metric::BytePerplexity), 2f64.exp());
    close(
        of(&documents, Metric::BitsPerByte),
        2.0 / std::f64::consts::LN_2,
    );
    close(of(&documents, Metric::Loglikelihood), -18.0 / 5.0);
}

/// A choice is scored after the solved examples, and an evaluation goes on in the middle of an example.
#[test]
fn choices_are_evaluated_like_any_other_task() {
    let lines: String = (0..5)
        .map(|i| {
            format!(
                "{{\"context\": \"Q{i}:\", \"choices\": [\"a\", \"b{i}\", \"c\"], \"gold\": 2}}\n"
            )
        })
        .collect();
    let task = jsonl::parse("quiz", "quiz.jsonl", lines.as_bytes()).expect("a task");
    let folder = tempfile::tempdir().expect("a folder");
    let evaluate = |engine: &ToyEngine| {
        let settings = Settings {
            batch_size: 2,
            limit: None,
            fewshot: FewShot {
                count: Some(1),
                ..FewShot::default()
            },
            add_bos_token: None,
            seed: 0,
            output: Some(folder.path().to_owned()),
            overwrite: false,
            log_samples: true,
        };
        let config = load_config("baseline", &FormatFlags::default()).expect("a configuration");
        let evaluation = Evaluation::new(engine, vec![task.clone()], vec![config], settings);
        let evaluation = evaluation.expect("fits");
        evaluation
            .run(&engine.stop, &Silent)
            .expect("an evaluation")
    };
    let first = ToyEngine::new(100);
    first.stop_after.set(4);
    assert!(evaluate(&first).is_interrupted);
    let second = ToyEngine::new(100);
    let outcome = evaluate(&second);
    assert_eq!(
        first.scored.borrow().len() + second.scored.borrow().len(),
        15
    );
    assert_eq!(outcome.results[0].examples, 5);
    let samples = std::fs::read_to_string(folder.path().join("samples_quiz_baseline.jsonl"));
    let samples = samples.expect("samples");
    let sample: serde_json::Value =
        serde_json::from_str(samples.lines().nth(1).expect("five")).expect("JSON");
    assert_eq!(sample["arguments"]["gen_args_1"]["arg_0"], "Q0: c\n\nQ1:");
    assert_eq!(sample["arguments"]["gen_args_1"]["arg_1"], " b1");
    assert_eq!(sample["filtered_resps"].as_array().map(Vec::len), Some(3));
    assert_eq!(sample["target"], "2");
}

/// Expected values are those of the harness' patterns under Python's `re`.
#[test]
fn numbers_are_extracted_as_the_harness_does() {
    for (text, strict, flexible) in [
        ("so 3 + 4 = 7.\n#### 7", "7", "7"),
        ("#### 1,234.50 and #### 8", "1,234.50", "8"),
        ("it is $18.", "[invalid]", "$18."),
        ("-5 degrees, then 12", "[invalid]", "12"),
        ("-5 degrees", "[invalid]", "-5"),
        ("#### -3.", "-3.", "-3."),
        ("none at all ...", "[invalid]", "..."),
        ("none at all", "[invalid]", "[invalid]"),
        ("", "[invalid]", "[invalid]"),
    ] {
        assert_eq!(Filter::Strict.extract(text), strict, "{text}");
        assert_eq!(Filter::Flexible.extract(text), flexible, "{text}");
    }
    let solution = "She has 1 + 1 = <<1+1=2>>2.\nThen #### no.\n#### 1,218";
    for (number, is_right) in [
        ("1218", true),
        ("$1,218.", true),
        ("1218.0", false),
        ("[invalid]", false),
        ("", false),
    ] {
        assert_eq!(is_match(number, solution), is_right, "{number}");
    }
    assert_eq!(cut("7\n\nQuestion: and </s>"), Some("7\n\n"));
    assert_eq!(cut("7 </s>Question:"), Some("7 "));
    assert_eq!(cut("7 Question"), None);
}

/// Problems are continued greedily; whatever the batch, and after an interruption.
#[test]
fn problems_are_answered_by_generating() {
    let lines: String = ["Tom had a red", "The old", "Once upon a time"]
        .map(|text| format!("{{\"question\": \"{text}\", \"answer\": \"#### 1\"}}\n"))
        .concat();
    let task = jsonl::parse("problems", "problems.jsonl", lines.as_bytes()).expect("a task");
    assert_eq!(task.kind(), Kind::Problem);
    let checkpoint = mxlab::embedded::checkpoint().expect("the embedded model");
    let engine = CpuEngine::new(checkpoint, None, None).expect("an engine");
    let folder = tempfile::tempdir().expect("a folder");
    let evaluate = |batch_size, output: Option<&Path>| {
        let settings = Settings {
            batch_size,
            limit: None,
            fewshot: FewShot {
                count: Some(0),
                ..FewShot::default()
            },
            add_bos_token: None,
            seed: 0,
            output: output.map(Path::to_owned),
            overwrite: false,
            log_samples: output.is_some(),
        };
        let config = load_config("baseline", &FormatFlags::default()).expect("a configuration");
        let evaluation = Evaluation::new(&engine, vec![task.clone()], vec![config], settings);
        let outcome = evaluation
            .expect("fits")
            .run(&AtomicBool::new(false), &Silent);
        outcome.expect("an evaluation")
    };
    let together = evaluate(3, Some(folder.path()));
    assert_eq!(together.results, evaluate(1, None).results);
    let log = mxlab::eval::log::path(folder.path(), "problems", "baseline");
    let whole = std::fs::read_to_string(&log).expect("a log");
    let texts: Vec<String> = whole
        .lines()
        .skip(1)
        .map(|line| {
            serde_json::from_str::<TextEntry>(line)
                .expect("an entry")
                .text
        })
        .collect();
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().any(|text| !text.is_empty()), "{texts:?}");
    // What is in the log is not generated again: a text that the model would not say stays.
    let said = whole.replacen(
        &serde_json::to_string(&texts[0]).expect("JSON"),
        "\"#### 1\"",
        1,
    );
    std::fs::write(&log, said).expect("writable");
    let resumed = evaluate(3, Some(folder.path()));
    let number = |metric| {
        let result = resumed.results[0].metric(metric).expect("a number");
        result.estimate.value
    };
    assert_eq!(number(Metric::StrictMatch), 1.0 / 3.0);
    let samples = std::fs::read_to_string(folder.path().join("samples_problems_baseline.jsonl"));
    let samples = samples.expect("samples");
    assert_eq!(samples.lines().count(), 6);
    assert!(samples.contains("\"filter\":\"strict-match\""), "{samples}");
}

/// Problems are solved before by examples of the training split; where that is missing, what to do is said.
#[test]
fn solved_problems_are_of_the_training_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = |name: &str, count: usize| {
        let line = |index| {
            let problem = json!({ "question": format!("{name} {index}?"), "answer": format!("#### {index}") });
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
        load("gsm8k", &fewshot, &sources)
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
    let contexts: Result<Vec<_>, _> = FewShot::default().contexts(&task).collect();
    for context in contexts.expect("enough") {
        assert_eq!(context.matches("Question: train").count(), 5, "{context}");
        assert_eq!(context.matches("Question: test").count(), 1, "{context}");
    }
}
