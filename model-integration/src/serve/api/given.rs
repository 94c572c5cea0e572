//! Prompts as they come, read without a JSON value for each token.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Served;

/// Most prompts of a request.
pub const MOST_PROMPTS: usize = 256;

/// `prompt` as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// `null`.
    Nothing,
    /// A text.
    Text(String),
    /// Token ids of the vocabulary.
    Tokens {
        /// As many as a sequence may have.
        ids: Vec<u32>,
        /// How many came.
        count: usize,
    },
    /// Several prompts, each a text or token ids.
    Many {
        /// The first [`MOST_PROMPTS`].
        prompts: Vec<Self>,
        /// How many came.
        count: usize,
    },
    /// Something else.
    Wrong {
        /// Where, behind `prompt`: empty, `[1]` or `[1][2]`.
        place: String,
        /// What.
        found: String,
        /// Whether it would have worked without its neighbours.
        is_mixed: bool,
    },
}

/// Reads a [`Given`] for a model.
#[derive(Clone, Copy)]
pub struct GivenSeed {
    vocabulary: usize,
    longest: usize,
    /// Arrays around the value.
    depth: usize,
}

/// An element of an array.
enum Element {
    Token(u32),
    Other(Given),
}

/// An element's seed.
struct ElementSeed(GivenSeed);

impl GivenSeed {
    /// For a served model.
    pub const fn new(served: &Served) -> Self {
        Self {
            vocabulary: served.vocabulary,
            longest: served.longest,
            depth: 0,
        }
    }
}

impl<'de> DeserializeSeed<'de> for GivenSeed {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        Ok(match ElementSeed(self).deserialize(deserializer)? {
            Element::Token(id) => wrong(id),
            Element::Other(given) => given,
        })
    }
}

fn wrong(found: impl fmt::Display) -> Given {
    Given::Wrong {
        place: String::new(),
        found: found.to_string(),
        is_mixed: false,
    }
}

fn other<E>(found: impl fmt::Display) -> Result<Element, E> {
    Ok(Element::Other(wrong(found)))
}

impl<'de> DeserializeSeed<'de> for ElementSeed {
    type Value = Element;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Element, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, token ids, or an array of either")
    }

    fn visit_unit<E>(self) -> Result<Element, E> {
        match self.0.depth {
            0 => Ok(Element::Other(Given::Nothing)),
            _ => other("null"),
        }
    }

    fn visit_bool<E>(self, value: bool) -> Result<Element, E> {
        other(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Element, E> {
        match value < self.0.vocabulary as u64 {
            true => Ok(Element::Token(value as u32)),
            false => other(value),
        }
    }

    fn visit_i64<E>(self, value: i64) -> Result<Element, E> {
        other(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Element, E> {
        other(value)
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(Element::Other(Given::Text(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        other("an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Element, A::Error> {
        if self.0.depth == 2 {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return other("an array");
        }
        let (mut ids, mut prompts, mut error) = (Vec::new(), Vec::new(), None);
        let inner = GivenSeed {
            depth: self.0.depth + 1,
            ..self.0
        };
        let mut count = 0;
        while let Some(element) = items.next_element_seed(ElementSeed(inner))? {
            let mixed = |found: &str| Given::Wrong {
                place: format!("[{count}]"),
                found: found.to_owned(),
                is_mixed: !ids.is_empty() || !prompts.is_empty(),
            };
            let wrong = match element {
                Element::Token(id) if prompts.is_empty() => {
                    if ids.len() < self.0.longest {
                        ids.push(id);
                    }
                    None
                }
                Element::Token(id) => Some(mixed(&id.to_string())),
                Element::Other(Given::Wrong {
                    place,
                    found,
                    is_mixed,
                }) => Some(Given::Wrong {
                    place: format!("[{count}]{place}"),
                    found,
                    is_mixed,
                }),
                Element::Other(given) if ids.is_empty() && self.0.depth == 0 => {
                    if prompts.len() < MOST_PROMPTS {
                        prompts.push(given);
                    }
                    None
                }
                Element::Other(Given::Text(_)) => Some(mixed("a string")),
                Element::Other(_) => Some(mixed("an array")),
            };
            // The first error counts.
            error = error.or(wrong);
            count += 1;
        }
        Ok(Element::Other(match error {
            Some(error) => error,
            None if prompts.is_empty() => Given::Tokens { ids, count },
            None => Given::Many { prompts, count },
        }))
    }
}
