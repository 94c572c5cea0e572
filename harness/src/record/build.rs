use std::sync::OnceLock;

/// What only the build of a program knows. The program declares it, so that a change of its sources builds the
/// program again and none of the libraries below it.
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
    /// Says what this program is, once, before anything is recorded; a second time changes nothing.
    pub fn declare(self) {
        let _ = DECLARED.set(self);
    }

    /// What was declared: nothing is known of a program that did not.
    pub(super) fn declared() -> Self {
        DECLARED.get().copied().unwrap_or_default()
    }
}
