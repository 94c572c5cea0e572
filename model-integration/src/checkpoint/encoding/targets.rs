//! Which scheme a module has: by its name, a pattern, or the class of the module.

use fancy_regex::Regex;

use super::scheme::Scheme;

/// The schemes of a checkpoint.
#[derive(Clone, Debug)]
pub(in super::super) struct Schemes {
    /// Who writes this layout, for messages.
    pub writer: &'static str,
    /// Schemes and the modules that have them.
    pub groups: Vec<(Vec<Target>, Scheme)>,
    /// Modules that have none.
    pub ignored: Vec<Target>,
    /// What the checkpoint says that this program does not apply, a sentence each.
    pub not_applied: Vec<String>,
}

/// Modules by name or class, the most specific kind first.
#[derive(Clone, Debug)]
pub(in super::super) enum Target {
    /// The module of this name.
    Name(String),
    /// Names that match from their start. Python's patterns may look ahead.
    Pattern(Regex),
    /// Names that match as a whole, with `*` and `?`.
    Glob(glob::Pattern),
    /// A class of PyTorch: `Linear` or `Embedding`.
    Class(String),
}

/// A note about the quantisation of the cache, which is the field `name`.
pub(super) fn cache_note(name: &str) -> String {
    format!("`{name}` of the checkpoint is not applied: --kv quantises the cache")
}

impl Target {
    /// compressed-tensors' spelling: `re:` before a pattern, otherwise a name or a class.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("re:") {
            Some(pattern) => Regex::new(&format!("^(?:{pattern})"))
                .map(Self::Pattern)
                .map_err(|error| error.to_string()),
            None if text.contains('.') || text.contains("lm_head") => {
                Ok(Self::Name(text.to_owned()))
            }
            None => Ok(Self::Class(text.to_owned())),
        }
    }

    /// The spelling of shells.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn glob(text: &str) -> Result<Self, String> {
        let pattern = glob::Pattern::new(text);
        pattern.map(Self::Glob).map_err(|error| error.to_string())
    }

    fn covers(&self, module: &str) -> bool {
        match self {
            Self::Name(name) => name == module,
            // An error means too many steps for a name of a module: it is no match.
            Self::Pattern(pattern) => pattern.is_match(module).unwrap_or(false),
            Self::Glob(pattern) => pattern.matches(module),
            Self::Class(class) => match module.ends_with("embed_tokens") {
                true => class == "Embedding",
                false => class == "Linear",
            },
        }
    }

    /// The most specific kind first; patterns in the order of their texts, as compressed-tensors
    /// has them.
    fn rank(&self) -> (u8, &str) {
        match self {
            Self::Name(_) => (0, ""),
            Self::Pattern(pattern) => (1, pattern.as_str()),
            Self::Glob(_) => (1, ""),
            Self::Class(_) => (2, ""),
        }
    }
}

impl Schemes {
    /// The scheme of a module: of its most specific target.
    pub(super) fn of(&self, module: &str) -> Option<&Scheme> {
        if self.ignored.iter().any(|target| target.covers(module)) {
            return None;
        }
        let ranked = self.groups.iter().filter_map(|(targets, scheme)| {
            let covering = targets.iter().filter(|target| target.covers(module));
            Some((covering.map(Target::rank).min()?, scheme))
        });
        ranked
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, scheme)| scheme)
    }
}
