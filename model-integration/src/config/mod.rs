//! Which operand is quantised how: named configurations, TOML files, command-line flags.
