//! Patterns of names: `*` matches any text, `?` any character, everything else itself.

/// Whether the whole name matches.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to resume if the text after the last `*` does not match: the star takes one more
    // character.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut retry {
                None => return false,
                Some((after_star, start)) => {
                    *start += 1;
                    (p, n) = (*after_star, *start);
                }
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        let name = "model.layers.10.mlp.down_proj.weight";
        for pattern in [
            "*",
            name,
            "*down_proj*",
            "model.*.weight",
            "*.1?.*",
            "**weight",
            "*l.*.*.w*t",
        ] {
            assert!(matches(pattern, name), "{pattern}");
        }
        for pattern in [
            "",
            "down_proj",
            "model.*.bias",
            "*.2?.*",
            "?",
            "*weight?",
            "Model.*",
        ] {
            assert!(!matches(pattern, name), "{pattern}");
        }
        assert!(matches("", "") && matches("*", "") && !matches("?", ""));
    }
}
