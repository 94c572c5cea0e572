//! Some of the characters of a text file.

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

/// A text file, or some of its characters: `FILE` or `FILE#FROM..TO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub path: PathBuf,
    /// The characters, if it is not the whole file.
    pub characters: Option<Range<usize>>,
}

impl FromStr for Excerpt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = text
            .rsplit_once('#')
            .filter(|(_, part)| part.contains(".."));
        let Some((path, part)) = part else {
            return Ok(Self::whole(text));
        };
        let ends = part.split_once("..");
        let ends = ends.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
        match ends.filter(|ends| ends.start < ends.end) {
            Some(characters) => Ok(Self {
                path: path.into(),
                characters: Some(characters),
            }),
            None => Err(format!(
                "found `#{part}`, expected characters such as `#0..400000`"
            )),
        }
    }
}

impl Excerpt {
    /// All of a file.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            characters: None,
        }
    }

    /// Its characters of the file's text.
    ///
    /// # Errors
    /// If the text has fewer.
    pub fn of<'t>(&self, text: &'t str) -> Result<&'t str, TooShort> {
        let Some(part) = &self.characters else {
            return Ok(text);
        };
        let at = |character: usize| {
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .nth(character)
        };
        match (at(part.start), at(part.end)) {
            (Some(from), Some(to)) => Ok(&text[from..to]),
            _ => Err(TooShort {
                file: self.path.display().to_string(),
                found: text.chars().count(),
                part: part.clone(),
            }),
        }
    }
}

/// A text that ends before the characters that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{file}` has {found} characters, and {}..{} were asked for", part.start, part.end)]
pub struct TooShort {
    file: String,
    found: usize,
    part: Range<usize>,
}
