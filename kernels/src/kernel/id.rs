//! The name of a kernel.

use mxlab_harness::assemble::Target;
use std::fmt::{self, Display};
use std::ops::Deref;
use std::str::FromStr;

/// `<family>_<variant>__sm<target>`: the name of a kernel in lists, in records and on the command
/// line, of its PTX entry, and of the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId(String);

/// A text that is not a kernel id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a kernel id; expected NAME__smCC, such as copy_bf16__sm80; \
     `mxlab list` prints all"
)]
pub struct KernelIdError(String);

impl KernelId {
    /// Joins the words of a kernel that is written for `target`. Dashes become underscores; empty
    /// words are dropped.
    pub fn new<W: Display>(words: impl IntoIterator<Item = W>, target: impl Into<Target>) -> Self {
        let words = words.into_iter().map(|word| word.to_string());
        let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        let target = target.into().to_string().replace("sm_", "sm");
        Self(format!("{}__{target}", words.join("_").replace('-', "_")))
    }

    /// The target that the kernel is written for.
    ///
    /// # Panics
    /// Never: an id has one.
    pub fn target(&self) -> Target {
        let (_, target) = parts(&self.0).expect("an id has a name and a target");
        target
    }
}

/// The name before the target, and the target.
fn parts(id: &str) -> Option<(&str, Target)> {
    let (name, target) = id.rsplit_once("__sm")?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_word);
    is_name.then_some((name, target.parse().ok()?))
}

impl FromStr for KernelId {
    type Err = KernelIdError;

    fn from_str(text: &str) -> Result<Self, KernelIdError> {
        let id = Self(text.to_owned());
        parts(text)
            .map(|_| id)
            .ok_or_else(|| KernelIdError(text.to_owned()))
    }
}

impl Deref for KernelId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<KernelId> for String {
    fn from(id: KernelId) -> Self {
        id.0
    }
}

impl PartialEq<str> for KernelId {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for KernelId {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl PartialEq<String> for KernelId {
    fn eq(&self, other: &String) -> bool {
        self.0 == *other
    }
}
