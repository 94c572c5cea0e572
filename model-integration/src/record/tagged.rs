//! The head of every record, `kind` and `schema_version`. Records nested in others carry it too, by
//! `#[serde(with = "tagged")]`.

use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::migrate::migrate;
use super::{KINDS, Kind, Recorded, Wrong};

/// A record with its head.
#[derive(Serialize)]
pub struct Tagged<'a, T> {
    kind: &'static str,
    schema_version: u32,
    #[serde(flatten)]
    record: &'a T,
}

impl<'a, T: Recorded> Tagged<'a, T> {
    /// A record with the head of its kind.
    pub fn new(record: &'a T) -> Self {
        Self {
            kind: T::KIND.name,
            schema_version: T::KIND.version,
            record,
        }
    }
}

/// Serialises head and record.
///
/// # Errors
/// Errors of the serialiser.
pub fn serialize<T: Recorded, S: Serializer>(record: &T, serializer: S) -> Result<S::Ok, S::Error> {
    Tagged::new(record).serialize(serializer)
}

/// Deserialises the output of [`serialize`].
///
/// # Errors
/// As [`from_value`].
pub fn deserialize<'de, T: Recorded, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    from_value(Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// The same for an optional record.
pub mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Recorded, Tagged, Value, from_value};

    /// Serialises `null`, or head and record.
    ///
    /// # Errors
    /// Errors of the serialiser.
    pub fn serialize<T: Recorded, S: Serializer>(
        record: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        record.as_ref().map(Tagged::new).serialize(serializer)
    }

    /// Deserialises the output of [`serialize`].
    ///
    /// # Errors
    /// As [`from_value`].
    pub fn deserialize<'de, T: Recorded, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let value = Option::<Value>::deserialize(deserializer)?;
        let record = value.map(from_value).transpose();
        record.map_err(serde::de::Error::custom)
    }
}

/// The kind that a value declares.
///
/// # Errors
/// [`Wrong`] if it declares none, or an unknown one.
pub fn kind(value: &Value) -> Result<Kind, Wrong> {
    let name = value.get("kind").and_then(Value::as_str);
    let name = name.ok_or(Wrong::NoHead { field: "kind" })?;
    let known = KINDS.iter().find(|kind| kind.name == name);
    known.copied().ok_or_else(|| Wrong::unknown(name))
}

/// Parses a record of kind `T`, migrating earlier versions.
///
/// # Errors
/// [`Wrong`] if it is not a record, is damaged, is of another kind, or has a version that cannot be
/// migrated.
pub fn from_value<T: Recorded>(mut value: Value) -> Result<T, Wrong> {
    let version = value.get("schema_version").and_then(Value::as_u64);
    migrate(T::KIND, version, &mut value);
    let found = kind(&value)?;
    if found != T::KIND {
        return Err(Wrong::OtherKind {
            found,
            expected: T::KIND,
        });
    }
    let version = value.get("schema_version").and_then(Value::as_u64);
    match version {
        Some(version) if version == u64::from(T::KIND.version) => {}
        Some(version) => {
            return Err(Wrong::OtherVersion {
                kind: T::KIND,
                found: version,
            });
        }
        None => {
            return Err(Wrong::NoHead {
                field: "schema_version",
            });
        }
    }
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("kind");
        fields.shift_remove("schema_version");
    }
    serde_json::from_value(value).map_err(|error| Wrong::Fields {
        kind: T::KIND,
        reason: error.to_string(),
    })
}
