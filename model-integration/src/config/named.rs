//! Finds a configuration by name or file.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::file::{self, ConfigError, Source};
use super::{ConfigFile, FormatFlags, QuantConfig};

/// The text of every named configuration.
pub const NAMED_CONFIGS: &str = include_str!("named.toml");

const SOURCE: Source = Source {
    file: "named.toml",
    text: NAMED_CONFIGS,
};

/// Every named configuration with flags on top, in the order of the file.
///
/// # Errors
/// [`ConfigError`] if the flags are incompatible with one of them.
pub fn all(flags: &FormatFlags) -> Result<Vec<QuantConfig>, ConfigError> {
    let tables: Tables = SOURCE.parse()?;
    let resolve = |(name, config): &(String, ConfigFile)| config.under(name, SOURCE, flags);
    tables.0.iter().map(resolve).collect()
}

/// The configuration with this name, or in this TOML file, with flags on top.
///
/// # Errors
/// [`ConfigError`] with file, line and field.
pub fn load(name: &str, flags: &FormatFlags) -> Result<QuantConfig, ConfigError> {
    let tables: Tables = SOURCE.parse()?;
    if let Some((name, config)) = tables.0.iter().find(|(known, _)| known == name) {
        return config.under(name, SOURCE, flags);
    }
    let path = Path::new(name);
    if path.exists()
        || path
            .extension()
            .is_some_and(|extension| extension == "toml")
    {
        return file::read(path, flags);
    }
    Err(ConfigError::Unknown {
        name: name.to_owned(),
        known: tables.0.into_iter().map(|(name, _)| name).collect(),
    })
}

/// The tables of a file in their order, by name.
#[derive(Clone, Debug, Default)]
pub struct Tables(pub Vec<(String, ConfigFile)>);

impl<'de> Deserialize<'de> for Tables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TablesVisitor)
    }
}

struct TablesVisitor;

impl<'de> Visitor<'de> for TablesVisitor {
    type Value = Tables;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a table for each configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tables, A::Error> {
        let mut tables = Vec::new();
        while let Some(entry) = map.next_entry()? {
            tables.push(entry);
        }
        Ok(Tables(tables))
    }
}
