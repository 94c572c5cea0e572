//! The held-out task: stories that training never saw, one JSON object per line.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Difficulty, Story};

/// Separates the held-out stories from those of training.
const STREAM: u64 = 0x4845_4c44;
/// Words between the word that ends a story and the only other place that it stands in.
pub const LEAST_DISTANCE: usize = 20;

/// Writes `count` held-out stories as lines of `{"text": ...}`, all different.
///
/// They are harder than the hardest of training. The last word stands in just one other
/// place, at least [`LEAST_DISTANCE`] words before.
pub fn write(seed: u64, count: usize) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut stories = std::collections::BTreeSet::new();
    let mut lines = String::new();
    while stories.len() < count {
        let difficulty = Difficulty {
            relations: rng.random_range(5..=7),
            changes: 4,
            pauses: rng.random_range(2..=5),
            recalls: rng.random_range(2..=3),
        };
        let text = Story::write(&mut rng, difficulty).text;
        if distance(&text).is_some_and(|words| words >= LEAST_DISTANCE)
            && stories.insert(text.clone())
        {
            lines += &serde_json::json!({ "text": text }).to_string();
            lines.push('\n');
        }
    }
    lines
}

/// Words from the one earlier place of the last word to the end; `None` if there are several.
fn distance(text: &str) -> Option<usize> {
    let words: Vec<&str> = text
        .split(' ')
        .map(|word| word.trim_end_matches(['.', ',']))
        .collect();
    let (last, before) = words.split_last()?;
    let mut places = (0..before.len()).filter(|&place| before[place] == *last);
    let first = places.next()?;
    places.next().is_none().then_some(before.len() - first)
}
