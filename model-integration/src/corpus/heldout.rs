//! The held-out task: stories that the training never sees, one JSON object per line.

use std::collections::HashSet;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Difficulty, Story};

/// Separates the random stream of held-out stories from that of the training.
const STREAM: u64 = 0x4845_4c44;
/// Fewest words between the two occurrences of a story's last word.
pub const LEAST_DISTANCE: usize = 20;

/// Writes `count` different held-out stories as lines of `{"text": ...}`.
pub fn write(seed: u64, count: usize) -> String {
    let mut lines = String::new();
    for text in stories(seed, count) {
        lines += &serde_json::json!({ "text": text }).to_string();
        lines.push('\n');
    }
    lines
}

/// The seed of stories to calibrate by. Neither the embedded task nor the training has it.
const CALIBRATION_SEED: u64 = 0x7465_7874;
/// Their number: about 330,000 tokens of the embedded model.
const CALIBRATION_COUNT: usize = 2000;

/// Stories to calibrate by.
pub fn for_calibration() -> Vec<String> {
    stories(CALIBRATION_SEED, CALIBRATION_COUNT)
}

/// `count` different held-out stories.
///
/// They are harder than the hardest training stories: the last word occurs only once before, at
/// least [`LEAST_DISTANCE`] words earlier.
pub fn stories(seed: u64, count: usize) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    let mut seen = HashSet::new();
    let mut stories = Vec::with_capacity(count);
    while stories.len() < count {
        let difficulty = Difficulty {
            relations: rng.random_range(5..=7),
            changes: 4,
            pauses: rng.random_range(2..=5),
            recalls: rng.random_range(2..=3),
        };
        let text = Story::write(&mut rng, difficulty).text;
        if distance(&text).is_some_and(|words| words >= LEAST_DISTANCE) && seen.insert(text.clone())
        {
            stories.push(text);
        }
    }
    stories
}

/// Number of words between the last word and its earlier occurrence; `None` if there are several.
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
