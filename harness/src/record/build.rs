use std::sync::OnceLock;

/// Facts that only the build of a program knows. The program declares them, so that a change of its
/// sources rebuilds the program but no library below it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Build {
    /// Commit that it was built from.
    pub commit: Option<&'static str>,
    /// Whether tracked files differed from that commit.
    pub is_dirty: Option<bool>,
    /// `rustc --version`.
    pub rustc: Option<&'static str>,
    /// Target triple.
    pub target: Option<&'static str>,
}

static DECLARED: OnceLock<Build> = OnceLock::new();

impl Build {
    /// Declares this program's build, once, before anything is recorded. A second call changes
    /// nothing.
    pub fn declare(self) {
        let _ = DECLARED.set(self);
    }

    /// The declared build; empty if the program declared none.
    pub(super) fn declared() -> Self {
        DECLARED.get().copied().unwrap_or_default()
    }
}
