//! Suggestions for misspelt names.

/// `; did you mean `NAME`?` for the end of errors, or nothing if no known name is close.
pub fn did_you_mean<S: AsRef<str>>(name: &str, known: &[S]) -> String {
    nearest(name, known.iter().map(AsRef::as_ref), 1)
        .first()
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The `count` closest known names, the closest first, without those that have little in common.
pub fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    let scored = known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(name, known), known));
    let mut close: Vec<(f64, &str)> = scored.filter(|(score, _)| *score >= 0.75).collect();
    close.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    close
        .into_iter()
        .take(count)
        .map(|(_, known)| known)
        .collect()
}
