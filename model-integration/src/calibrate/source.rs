//! Where the texts come from that models are measured by.

use std::str::FromStr;

use anyhow::{Context, Result};

use crate::corpus::heldout;
use crate::did_you_mean::did_you_mean;
use crate::excerpt::Excerpt;
use crate::task::named::{DataSources, NAMED, training};
use crate::task::prompt::solved;

/// The name of what the model writes itself.
pub const OWN: &str = "self";
/// The name of stories of the embedded model's kind.
pub const STORIES: &str = "embedded";

/// A text, or some of its characters: `NAME` or `NAME#FROM..TO`, with the name of a file, of a task
/// that has a training split, or [`STORIES`]; or [`OWN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextPart {
    origin: Origin,
    /// The characters, with the name.
    excerpt: Excerpt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File,
    Own,
    Stories,
    /// The solved examples of a task's training split.
    Training(&'static str),
}

impl FromStr for TextPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let excerpt: Excerpt = text.parse()?;
        let name = excerpt.path.to_str();
        let task = NAMED.iter().find(|task| name == Some(task.name));
        let origin = match (name, task) {
            (Some(OWN), _) if excerpt.characters.is_some() => {
                return Err(format!(
                    "found `{text}`: what the model writes has no characters to choose; give \
                     `{OWN}`"
                ));
            }
            (Some(OWN), _) => Origin::Own,
            (Some(STORIES), _) => Origin::Stories,
            (_, Some(task)) if task.training().is_some() => Origin::Training(task.name),
            (_, Some(task)) => {
                return Err(format!(
                    "the task {} has no training split: expected a file, or {}",
                    task.name,
                    names().join(", ")
                ));
            }
            _ => Origin::File,
        };
        Ok(Self { origin, excerpt })
    }
}

/// The names of texts that are no files.
pub fn names() -> Vec<&'static str> {
    let tasks = NAMED.iter().filter(|task| task.training().is_some());
    [OWN, STORIES]
        .into_iter()
        .chain(tasks.map(|task| task.name))
        .collect()
}

impl TextPart {
    /// The text; `None` if the model writes it itself.
    ///
    /// # Errors
    /// If its file cannot be read or had, is not UTF-8, or if the text has fewer characters.
    pub fn read(&self, sources: &DataSources) -> Result<Option<String>> {
        let text = match &self.origin {
            Origin::Own => return Ok(None),
            Origin::File => {
                let path = &self.excerpt.path;
                std::fs::read_to_string(path).with_context(|| {
                    let (names, path) = (names(), path.to_string_lossy());
                    format!(
                        "cannot read the text `{path}`; expected a file, or {}{}",
                        names.join(", "),
                        did_you_mean(&path, &names)
                    )
                })?
            }
            // They are written without their full stop.
            Origin::Stories => heldout::for_calibration().join(". "),
            Origin::Training(task) => {
                let examples = training(task, sources)?.examples;
                solved(&examples.iter().collect::<Vec<_>>())
            }
        };
        Ok(Some(self.excerpt.of(&text)?.to_owned()))
    }
}
