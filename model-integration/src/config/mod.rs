//! Which operand is quantised how: named configurations, TOML files, command-line flags.
/// Placeholder until formats are merged.
pub struct QuantConfig;
