//! Chat templates: their text beside transformers', and `mxlab generate --chat`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use mxlab::chat::{ChatTemplate, Message, Role};
use mxlab::checkpoint::{Checkpoint, write::NamedTensor, write::save_bf16};
use mxlab::embedded;
use serde_json::Value;
use tempfile::tempdir;

/// Alternating turns, the system's message in the last of the user's.
const TURNS: &str = r"{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = none %}
    {%- set rest = messages %}
{%- endif %}
{% for message in rest %}
    {% if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('roles must alternate, not ' + message.role) }}
    {% endif %}
    {% if message.role == 'user' %}
[U]{{ (system ~ '\n' if loop.last and system is not none else '') + message['content'].strip() }}[/U]
    {%- elif message.role == 'assistant' %}
        {% generation %}{{ message.content + eos_token }}{% endgeneration %}
    {%- endif %}
{% endfor %}
{% if add_generation_prompt is defined and add_generation_prompt %}{{ '[A]' }}{% endif %}";

/// Variables that outlive a loop, macros, Python's methods, JSON.
const STATE: &str = r"{%- set ns = namespace(count=0, first='') %}
{%- for m in messages %}
{%- if m.role == 'assistant' %}{% continue %}{% endif %}
{%- set ns.count = ns.count + m.content.split(' ') | length %}
{%- if not ns.first %}{%- set ns.first = m.content.upper().lstrip() %}{%- endif %}
{%- if ns.count > 100 %}{% break %}{% endif %}
{%- endfor %}
{%- macro turn(m) %}{{ m | tojson }}
{% endmacro %}
{%- for m in messages %}{{ turn(m) }}{% endfor %}
{{- ns.count }} {{ ns.first }} {{ {'a': [1, true, none], 'b': 'é<'} | tojson(indent=2) }}
{%- if tools is not none %} tools{% endif %}{% if not (documents is defined and documents) %} plain{% endif %}
";

const JSON: &str = "{\n  \"a\": [\n    1,\n    true,\n    null\n  ],\n  \"b\": \"é<\"\n} plain";

fn template(text: &str) -> ChatTemplate {
    let token = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    ChatTemplate {
        text: text.to_owned(),
        special_tokens: vec![token("bos_token", "<s>"), token("eos_token", "</s>")],
    }
}

/// The expected texts are those of `apply_chat_template` of transformers 5.24.
#[test]
fn templates_give_the_texts_of_transformers() {
    let user = |text: &str| Message::new(Role::User, text);
    let one = [user(" Hi <b> \"x\" \n")];
    let several = [
        Message::new(Role::System, " Be brief. "),
        user("A a"),
        Message::new(Role::Assistant, "B é"),
        user("C"),
    ];
    let turns = |messages: &[Message]| template(TURNS).render(messages);
    assert_eq!(turns(&one).expect("a text"), "<s>[U]Hi <b> \"x\"[/U][A]");
    let text = "<s>[U]A a[/U]B é</s>[U]Be brief.\nC[/U][A]";
    assert_eq!(turns(&several).expect("a text"), text);
    let refused = turns(&[user("A"), user("B")]).unwrap_err().to_string();
    let words = "refuses these messages: roles must alternate, not user";
    assert!(refused.ends_with(words), "{refused}");

    let state = |messages: &[Message]| template(STATE).render(messages).expect("a text");
    let text = "{\"role\": \"user\", \"content\": \" Hi <b> \\\"x\\\" \\n\"}\n5 HI <B> \"X\" \n ";
    assert_eq!(state(&one), format!("{text}{JSON}"));
    let text = "{\"role\": \"system\", \"content\": \" Be brief. \"}\n\
                {\"role\": \"user\", \"content\": \"A a\"}\n\
                {\"role\": \"assistant\", \"content\": \"B é\"}\n\
                {\"role\": \"user\", \"content\": \"C\"}\n7 BE BRIEF.  ";
    assert_eq!(state(&several), format!("{text}{JSON}"));

    for (text, words) in [
        ("{% if %}", "cannot be read: syntax error"),
        (
            "{{ messages[0].content.nothing() }}",
            "fails: unknown method",
        ),
        ("\n{{ nothing.at_all }}", "(line 2)"),
    ] {
        let error = template(text).render(&one).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// A copy of the embedded model.
fn write_model(folder: &Path) {
    let model = embedded::checkpoint().expect("a model");
    fs::write(folder.join("config.json"), model.config_json()).expect("written");
    fs::write(folder.join("tokenizer.json"), model.tokenizer_json()).expect("written");
    let read = |parameter| {
        let view = model.tensor(parameter).expect("a tensor");
        let mut values = vec![0.0; view.len()];
        view.read_f32(0..view.len(), &mut values);
        values
    };
    let stored: Vec<_> = model.parameters().stored().collect();
    let values: Vec<Vec<f32>> = stored.iter().copied().map(read).collect();
    let tensors = stored.iter().zip(&values).map(|(one, values)| NamedTensor {
        name: &one.name,
        shape: &one.shape,
        values,
    });
    let tensors: Vec<_> = tensors.collect();
    save_bf16(&folder.join("model.safetensors"), &tensors).expect("written");
}

fn generate(model: &Path, flags: &[&str]) -> Output {
    let mut mxlab = Command::new(env!("CARGO_BIN_EXE_mxlab"));
    mxlab.args(["generate", "--format", "json", "--max-tokens", "4"]);
    mxlab.args(flags).arg("--model").arg(model);
    mxlab.output().expect("mxlab runs")
}

#[test]
fn a_prompt_becomes_a_chat() {
    let folder = tempdir().expect("a folder");
    let model = folder.path();
    write_model(model);
    let chat = ["--chat", "--system", "Be kind.", "--prompt", "Anna had a"];
    let output = generate(model, &chat);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains("the model has no chat template"),
        "{message}"
    );

    // A file counts before the settings, and of several named templates `default` does.
    let settings = r#"{"chat_template": [{"name": "rag", "template": "no"},
        {"name": "default", "template": "{{ messages[-1].content }} cat"}]}"#;
    fs::write(model.join("tokenizer_config.json"), settings).expect("written");
    let jinja = "{% for message in messages %}{{ message.content }}\n{% endfor %}Tom";
    for (file, text) in [
        (None, "Anna had a cat"),
        (Some(jinja), "Be kind.\nAnna had a\nTom"),
    ] {
        if let Some(file) = file {
            fs::write(model.join("chat_template.jinja"), file).expect("written");
        }
        let output = generate(model, &chat);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{message}");
        let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let tokens = &record["sequences"][0]["prompt_tokens"];
        let tokens: Vec<u32> = serde_json::from_value(tokens.clone()).expect("tokens");
        let tokenizer = Checkpoint::open(model).expect("a model").tokenizer();
        let tokenizer = tokenizer.expect("a tokenizer");
        assert_eq!(tokens, tokenizer.encode(text, false).expect("tokens"));
    }
}
