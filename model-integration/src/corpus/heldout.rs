//! The held-out task: stories that training never saw, one JSON object per line.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Difficulty, Story};

/// Separates the held-out stories from those of training.
const STREAM: u64 = 0x4845_4c44;

/// Writes `count` held-out stories as lines of `{"text": ...}`.
pub fn write(
    seed: u64,
    count: usize,
    difficulty: impl Fn(&mut ChaCha8Rng) -> Difficulty,
) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    (0..count)
        .map(|_| {
            let difficulty = difficulty(&mut rng);
            let story = Story::write(&mut rng, difficulty);
            serde_json::json!({ "text": story.text }).to_string() + "\n"
        })
        .collect()
}
