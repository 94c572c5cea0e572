//! Templates to PTX text.

use super::TEMPLATES;
use crate::family::LIST;
use crate::kernel::{OperandKind, Signature};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;
use std::sync::LazyLock;

/// Every template. An undefined name compares unequal to everything without an error. So a template
/// tests flags, or calls `raise` for a name that it does not know.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.unwrap_or_else(|error| panic!("template syntax: {error:#}")));
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.add_function(
        "raise",
        |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(
                minijinja::ErrorKind::InvalidOperation,
                message,
            ))
        },
    );
    environment.add_filter("hex", |bits: u32| format!("0x{bits:08X}"));
    environment.add_filter("double", |bits: u64| format!("0d{bits:016X}"));
    environment.add_filter("float", |bits: u32| format!("0f{bits:08X}"));
    let families = LIST.iter().flat_map(|family| family.templates);
    for (name, source) in TEMPLATES.iter().chain(families) {
        environment
            .add_template(name, source)
            .unwrap_or_else(|error| panic!("template {name}: {error:#}"));
    }
    environment
});

/// Renders the template of a kernel. The template sees the signature as `signature` and `more` as
/// `v`. The macros of `macros/signature.j2` write the header, the parameters and the size of thread
/// blocks.
///
/// # Panics
/// If a template is broken; templates are part of this crate and every family is rendered by its
/// tests.
pub(crate) fn render_kernel(name: &str, signature: &Signature, more: &impl Serialize) -> String {
    let parameters = signature.operands().iter().map(|operand| {
        let kind = match operand.kind {
            OperandKind::Buffer(_) | OperandKind::Null => "u64",
            OperandKind::Size | OperandKind::Derived(_) => "u32",
            OperandKind::Number(_) => "f32",
        };
        minijinja::context! { name => operand.name, type => kind }
    });
    let signature = minijinja::context! {
        id => &**signature.id(),
        threads => signature.threads(),
        header => signature.header(),
        parameters => parameters.collect::<Vec<Value>>(),
    };
    let more = Value::from(Serde(more));
    rendered(
        name,
        minijinja::context! { signature => signature, v => more },
    )
}

fn rendered(name: &str, context: Value) -> String {
    let rendered = ENVIRONMENT
        .get_template(name)
        .and_then(|template| template.render(context));
    match rendered {
        Ok(text) => text,
        Err(error) => panic!("template {name}: {error:#}"),
    }
}
