//! Names of tasks, configurations and models in file names.

/// The name with `_` for every character but letters, digits, `_`, `-` and `.`.
pub fn file_name(name: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let safe = |c: char| if is_safe(c) { c } else { '_' };
    name.chars().map(safe).collect()
}
