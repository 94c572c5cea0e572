//! JSON has no NaN and no infinity, and serde_json writes both as `null`. A log-likelihood
//! may be either, and a record must say which: `"NaN"`, `"Infinity"`, `"-Infinity"`.
//!
//! For `#[serde(with = "mxlab_harness::record::float")]`, `float::option` for `Option<f64>` and
//! `float::list` for `Vec<f64>`.

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Writes a number, or the name of a value that is not finite.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        serializer.serialize_str(name(*value))
    }
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(FloatVisitor)
}

fn name(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

struct FloatVisitor;

impl Visitor<'_> for FloatVisitor {
    type Value = f64;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<f64, E> {
        match value {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(E::invalid_value(Unexpected::Str(value), &self)),
        }
    }
}

/// A number in a list or an option.
#[derive(Serialize, Deserialize)]
struct Float(#[serde(serialize_with = "serialize", deserialize_with = "deserialize")] f64);

/// The same for `Vec<f64>`.
pub mod list {
    use super::Float;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes what [`super::serialize`] writes of each.
    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|&value| Float(value)))
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Float>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|Float(value)| value).collect())
    }
}

/// The same for `Option<f64>`; `None` is `null`.
pub mod option {
    use super::Float;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes `null` or what [`super::serialize`] writes.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Float).serialize(serializer)
    }

    /// Reads what [`serialize`] wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Float>::deserialize(deserializer)?.map(|Float(value)| value))
    }
}

#[cfg(test)]
mod tests {
    use crate::measure::Estimate;

    #[test]
    fn values_that_are_not_finite_survive() {
        for value in [
            0.0,
            -0.0,
            -1.5,
            1e-300,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            for stderr in [None, Some(value)] {
                let estimate = Estimate { value, stderr };
                let json = serde_json::to_string(&estimate).expect("serializable");
                let back: Estimate = serde_json::from_str(&json).expect(&json);
                assert_eq!(back.value.to_bits(), value.to_bits(), "{json}");
                assert_eq!(
                    back.stderr.map(f64::to_bits),
                    stderr.map(f64::to_bits),
                    "{json}"
                );
            }
        }
    }
}
