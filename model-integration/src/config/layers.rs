//! Sets of layers.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A set of layers, counted from 0: `0-3,7` has 0, 1, 2, 3 and 7. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSet(Vec<RangeInclusive<usize>>);

impl LayerSet {
    /// The set of one layer.
    pub fn one(layer: usize) -> Self {
        Self(vec![layer..=layer])
    }

    /// The set of layers in ascending order; `None` for none.
    pub fn of(layers: impl IntoIterator<Item = usize>) -> Option<Self> {
        let mut ranges: Vec<RangeInclusive<usize>> = Vec::new();
        for layer in layers {
            match ranges.last_mut() {
                Some(last) if *last.end() + 1 == layer => *last = *last.start()..=layer,
                _ => ranges.push(layer..=layer),
            }
        }
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Whether the layer is in the set.
    pub fn contains(&self, layer: usize) -> bool {
        self.0.iter().any(|range| range.contains(&layer))
    }

    /// The largest layer in the set.
    pub fn largest(&self) -> usize {
        self.0.iter().map(|range| *range.end()).max().unwrap_or(0)
    }
}

impl FromStr for LayerSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some(first..=last)
        };
        let ranges = text.split(',').map(|part| {
            parse(part)
                .ok_or_else(|| format!("invalid layers `{text}`; expected a list such as `0-3,7`"))
        });
        ranges.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for LayerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let (first, last) = (range.start(), range.end());
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for LayerSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LayersVisitor)
    }
}

struct LayersVisitor;

impl Visitor<'_> for LayersVisitor {
    type Value = LayerSet;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of layers, such as \"0-3,7\", or one layer")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LayerSet, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, layer: i64) -> Result<LayerSet, E> {
        layer.to_string().parse().map_err(E::custom)
    }
}
