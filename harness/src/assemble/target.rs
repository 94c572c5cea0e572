//! Targets of machine code.

use std::fmt;
use std::str::FromStr;

/// A compute capability, as `sm_90` or `sm_90a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    sm: u32,
    /// `a`: this chip only; `f`: its family.
    suffix: Option<char>,
}

/// Not the name of a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid SM `{0}`; expected a number such as 90, 90a or sm_90")]
pub struct TargetError(String);

impl Target {
    /// Code without the features that only one chip or family has.
    pub const fn new(sm: u32) -> Self {
        Self { sm, suffix: None }
    }

    /// The compute capability, as 90 for 9.0.
    pub const fn sm(self) -> u32 {
        self.sm
    }

    /// The target that a PTX text names in `.target`.
    pub fn from_ptx(ptx: &str) -> Option<Self> {
        let line = ptx.lines().find_map(|line| line.strip_prefix(".target"))?;
        line.split(',').next()?.trim().parse().ok()
    }

    /// Whether it is without the features that only one chip or family has.
    pub const fn is_plain(self) -> bool {
        self.suffix.is_none()
    }

    /// The target for which to assemble a text with this `.target`, so that a chip runs it: the
    /// chip itself, or this target if it has chip-specific features. `None` if the chip does not
    /// run it.
    pub fn assembled_for(self, chip: Self) -> Option<Self> {
        let target = if self.is_plain() { chip } else { self };
        self.takes(chip.sm).then_some(target)
    }

    /// Whether machine code for this target runs on a chip of compute capability `sm`: the same
    /// major version and no older minor one; with `a` the same chip.
    pub const fn runs_on(self, sm: u32) -> bool {
        match self.suffix {
            Some('a') => sm == self.sm,
            _ => sm / 10 == self.sm / 10 && sm >= self.sm,
        }
    }

    /// Whether PTX for this target can be assembled for a chip of compute capability `sm`: any
    /// later one; with `a` or `f` as [`Target::runs_on`] (PTX ISA, `.target`).
    pub const fn takes(self, sm: u32) -> bool {
        match self.suffix {
            None => sm >= self.sm,
            Some(_) => self.runs_on(sm),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = || TargetError(text.to_owned());
        let name = text.strip_prefix("sm_").unwrap_or(text);
        let suffix = name.chars().last().filter(|c| matches!(c, 'a' | 'f'));
        let digits = name.strip_suffix(['a', 'f']).unwrap_or(name);
        if !(2..=3).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let sm = digits.parse().map_err(|_| error())?;
        Ok(Self { sm, suffix })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}", self.sm)?;
        self.suffix.map_or(Ok(()), |suffix| write!(f, "{suffix}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn names_and_what_runs_where() {
        let target = |text: &str| text.parse::<Target>();
        for (text, name) in [("90", "sm_90"), ("sm_90a", "sm_90a"), ("120f", "sm_120f")] {
            assert_eq!(target(text).unwrap().to_string(), name);
        }
        for text in ["", "9", "sm_", "hopper", "90b", "9000", "90aa", "+90"] {
            assert!(target(text).is_err(), "{text}");
        }
        let runs = |text, sm| target(text).unwrap().runs_on(sm);
        assert!(runs("80", 80) && runs("80", 89) && !runs("80", 90) && !runs("89", 86));
        assert!(runs("90a", 90) && runs("100f", 103) && !runs("100a", 103));
        let takes = |text, sm| target(text).unwrap().takes(sm);
        assert!(takes("80", 120) && !takes("90", 89));
        assert!(takes("100a", 100) && !takes("100a", 103) && takes("100f", 103));
        let assembled = |text, chip| {
            let target = target(text).unwrap().assembled_for(target(chip).unwrap());
            target.map(|target| target.to_string())
        };
        for (text, chip, expected) in [
            ("80", "90", Some("sm_90")),
            ("90", "90", Some("sm_90")),
            ("90a", "90", Some("sm_90a")),
            ("100f", "103", Some("sm_100f")),
            ("90a", "100", None),
            ("100", "90", None),
        ] {
            assert_eq!(assembled(text, chip).as_deref(), expected, "{text} {chip}");
        }
        let ptx = ".version 8.6\n.target sm_100a, texmode_independent\n";
        assert_eq!(Target::from_ptx(ptx), Some(target("100a").unwrap()));
    }
}
