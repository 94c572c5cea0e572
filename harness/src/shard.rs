//! A part of work that several processes or machines divide among them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Every `count`th item, beginning with number `index`: the shards of a count have each item once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 1.
    pub index: usize,
    /// The number of shards.
    pub count: usize,
}

impl Shard {
    /// All items.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Whether it has the item of that number, counted from 0.
    pub const fn has(self, number: usize) -> bool {
        number % self.count + 1 == self.index
    }

    /// Whether it has all.
    pub const fn is_whole(self) -> bool {
        self.count == 1
    }

    /// Part `part`, from 0, of its `parts`.
    pub const fn part(self, part: usize, parts: usize) -> Self {
        Self {
            index: self.index + self.count * part,
            count: self.count * parts,
        }
    }
}

impl FromStr for Shard {
    type Err = String;

    /// As in `2/4`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/');
        let parsed = parsed.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            Some((index, count)) if 1 <= index && index <= count => Ok(Self { index, count }),
            _ => Err("expected i/n with i from 1 to n, such as 2/4".into()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_and_their_parts_share_all_items() {
        let shards: Vec<Shard> = (1..=3).map(|index| Shard { index, count: 3 }).collect();
        for number in 0..40 {
            assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
            for shard in &shards {
                let parts = (0..4).filter(|&part| shard.part(part, 4).has(number));
                assert_eq!(parts.count(), usize::from(shard.has(number)));
            }
        }
        assert_eq!("2/3".parse(), Ok(shards[1]));
        for wrong in ["0/3", "4/3", "3", "1/0", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
