//! Named tasks: parsing of lines and of answers.

use mxlab::task::metric::{Judge, Metric};
use mxlab::task::named::{gsm8k, wikitext};
use mxlab::task::{Content, FewShot, Kind, jsonl, load, protocols};

use super::{parse, sources};

fn fault(line: &str) -> String {
    let parsed = jsonl::parse("toy", "toy.jsonl", line.as_bytes());
    parsed.expect_err(line).to_string()
}

pub fn choices(context: &str, choices: &[&str], gold: usize) -> Content {
    Content::Choices {
        context: context.to_owned(),
        choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
        gold,
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
    // Brackets are removed, then double spaces become single; the second part starts with a capital
    // and continues in lower case.
    let expected = choices(
        "Cooking: A man stirs. He smiles and",
        &["sits.. Ends", "runs off ."],
        1,
    );
    assert_eq!(task.examples[0].content, expected);
    let error = fault(&line.replace("\"1\"", "\"2\""));
    assert!(error.contains("field `label`: 2 of 2 choices"), "{error}");
}

/// Expected values are from Python's `re` and `str` in the harness' function.
#[test]
fn articles_are_as_they_were_before_they_were_tokenised() {
    let text = " \n = One = \n \n It 's \" a b \" ( c ) , 1 @,@ 000 @-@ fold ; N = = Two = = \n x \
        . y \n = Three = \n z ' q ' w \n";
    let lines = wikitext::articles(text).expect("headings");
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
    // The words of the tokenised article, including the empty ones at both ends.
    assert_eq!((*words, *bytes), (10, 24));
}

/// Expected values are from the harness' patterns in Python's `re`.
#[test]
fn numbers_are_extracted_as_the_harness_does() {
    let judged = |id: &str| match Metric::with_id(id).expect(id).judge {
        Judge::Text(filter, is_right) => (filter.extract, is_right),
        Judge::Scores(_) => panic!("{id} is scored"),
    };
    let ((extract_strict, is_right), (extract_flexible, _)) =
        (judged("strict_match"), judged("flexible_match"));
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
        assert_eq!(extract_strict(text), strict, "{text}");
        assert_eq!(extract_flexible(text), flexible, "{text}");
    }
    let problem = Content::Problem {
        context: String::new(),
        solution: "She has 1 + 1 = <<1+1=2>>2.\nThen #### no.\n#### 1,218".to_owned(),
    };
    for (number, expected) in [
        ("1218", true),
        ("$1,218.", true),
        ("1218.0", false),
        ("[invalid]", false),
        ("", false),
    ] {
        assert_eq!(is_right(&problem, number), expected, "{number}");
    }
    let generation = gsm8k::PROTOCOL.generation.expect("answers are generated");
    assert_eq!(generation.cut("7\n\nQuestion: and </s>"), Some("7\n\n"));
    assert_eq!(generation.cut("7 </s>Question:"), Some("7 "));
    assert_eq!(generation.cut("7 Question"), None);
}

/// Records name metrics, so these names stay, and each is parsed as its metric.
#[test]
fn metrics_are_named_in_records() {
    let ids = [
        "acc",
        "acc_norm",
        "flexible_match",
        "strict_match",
        "perplexity",
        "word_perplexity",
        "byte_perplexity",
        "bits_per_byte",
        "loglikelihood",
    ];
    for id in ids {
        let text = format!("\"{id}\"");
        let metric: &Metric = serde_json::from_str(&text).expect(id);
        assert_eq!(serde_json::to_string(metric).expect(id), text);
    }
    for metric in protocols().flat_map(|protocol| protocol.metrics) {
        let read = Metric::with_id(metric.id).expect("known");
        assert_eq!(read.title, metric.title, "two metrics are `{}`", metric.id);
    }
    let error = serde_json::from_str::<&Metric>("\"f2\"").expect_err("no such metric");
    assert!(error.to_string().contains("\"f2\""), "{error}");
}

/// A named task uses its own protocol, whatever the fields of its file are.
#[test]
fn a_named_task_is_not_recognised_by_fields() {
    let folder = tempfile::tempdir().expect("a folder");
    let offline = |_: &str, _: &str| Err(anyhow::anyhow!("there is no network"));
    let sources = sources(Some(folder.path()), &offline);
    let write = |line: &str| {
        std::fs::write(folder.path().join("hellaswag_val.jsonl"), line).expect("writable");
        load("hellaswag", &FewShot::default(), &sources)
    };
    let good = r#"{"activity_label": "a", "ctx_a": "b", "ctx_b": "c", "endings": ["d"], "label": 0, "answerKey": "A", "question": "Q"}"#;
    let task = write(good).expect("HellaSwag");
    assert_eq!((task.protocol.name, task.read_as), ("hellaswag", None));
    let error = format!(
        "{:#}",
        write(r#"{"text": "a b"}"#).expect_err("another shape")
    );
    let expected = "line 1: field `activity_label`: missing (read as a named task, by its protocol \
                    `hellaswag`)";
    assert!(error.contains(expected), "{error}");
}
