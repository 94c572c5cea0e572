//! Finds the architecture that a `config.json` names.

use std::path::Path;

use serde_json::Value;

use super::{Fields, parse_object};
use crate::checkpoint::CheckpointError;
use crate::description::Architecture;
use crate::description::architecture::{ARCHITECTURES, nearest};

/// By `model_type`, or if that is absent by `architectures`. The two must not contradict each
/// other.
pub(super) fn find(fields: Fields) -> Result<&'static Architecture, CheckpointError> {
    let classes = fields.get("architectures");
    let has_class = |architecture: &&Architecture| {
        classes.and_then(Value::as_array).is_some_and(|classes| {
            let mut classes = classes.iter();
            classes.any(|class| class == architecture.class)
        })
    };
    let mut all = ARCHITECTURES.into_iter();
    let model_type = fields.text("model_type")?;
    let found = match model_type {
        Some(name) => all.find(|architecture| architecture.model_type == name),
        None => all.find(has_class),
    };
    let found = found.ok_or_else(|| {
        let known = ARCHITECTURES.map(|one| format!("\"{}\"", one.model_type));
        let known = format!("{}, the supported ones", known.join(", "));
        fields.error(
            "model_type",
            match model_type.and_then(nearest) {
                Some(nearest) => format!("{known}; {nearest}"),
                None => known,
            },
        )
    })?;
    if classes.is_some() && !has_class(&found) {
        let expected = format!("a list with \"{}\"", found.class);
        return Err(fields.error("architectures", expected));
    }
    Ok(found)
}

/// Models of text and images whose text model stands by itself.
const WITH_IMAGES: [&str; 2] = ["gemma3", "mistral3"];

/// The config of the text model in a `config.json` of a model of text and images. Fields that it
/// lacks are those of the whole.
///
/// # Errors
/// `Json` and `Field`.
pub(in crate::checkpoint) fn text_model(
    json: &[u8],
    file: &Path,
) -> Result<Option<Vec<u8>>, CheckpointError> {
    let object = parse_object(json, file)?;
    let fields = Fields::new(file, &object);
    let whole = fields.text("model_type")?;
    if !whole.is_some_and(|whole| WITH_IMAGES.contains(&whole)) {
        return Ok(None);
    }
    let Some(Value::Object(text)) = fields.get("text_config") else {
        return Err(fields.error("text_config", "an object"));
    };
    let mut merged = text.clone();
    merged.remove("architectures");
    let of_whole = object.iter().filter(|(name, _)| {
        ![
            "text_config",
            "vision_config",
            "architectures",
            "model_type",
        ]
        .contains(&name.as_str())
    });
    for (name, value) in of_whole {
        merged.entry(name).or_insert_with(|| value.clone());
    }
    let architecture = find(Fields::new(file, &merged))?;
    merged.insert("architectures".to_owned(), vec![architecture.class].into());
    Ok(Some(Value::Object(merged).to_string().into_bytes()))
}
