//! The grammar of the stories.
//!
//! A story introduces a few people and then follows one of them, the hero: what they carry, where
//! they live, what they wear. Facts change as the story goes on: a ball replaces the kite, a lake
//! the mill. Now and then a sentence recalls a fact, and the last sentence always does. A recall
//! ends with a word that only the latest fact of its relation determines, many words earlier.
//!
//! | relation | a fact | its recall |
//! |---|---|---|
//! | toy | Mia had a red kite. | Mia went to find the *kite* |
//! | home | Mia lived near the old mill. | Mia walked home to the *mill* |
//! | animal | Mia came with a small goat. | Mia called the *goat* |
//! | ... | | |

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::words::{
    ANIMALS, CLOTHES, FOODS, FURNITURE, INSTRUMENTS, LOOKS, NAMES, PASTIMES, PLACES, PLANTS,
    SCENERY, TIMES, TOOLS, TOYS, VEHICLES, WEATHER,
};

/// The difficulty of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difficulty {
    /// Relations in the story, at most ten.
    pub relations: usize,
    /// Most changes of each relation.
    pub changes: usize,
    /// Sentences without facts, anywhere after the introduction.
    pub pauses: usize,
    /// Number of recalls, anywhere in the story; the last one ends it.
    pub recalls: usize,
}

/// A story, and the places of the words that an earlier fact determines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The text. It ends with the last recalled word, without a full stop.
    pub text: String,
    /// Byte ranges of the recalled words, in order; the last one ends the text.
    pub recalled: Vec<std::ops::Range<usize>>,
}

/// A relation between the hero and a word, with templates for facts and recalls. `{p}` stands for
/// the person, `{l}` for the look, `{v}` for the value.
struct Relation {
    values: &'static [&'static str],
    facts: &'static [&'static str],
    /// The value follows the recall.
    recalls: &'static [&'static str],
}

const RELATIONS: [Relation; 10] = [
    Relation {
        values: TOYS,
        facts: &[
            "{p} had a {l} {v}",
            "{p} carried a {l} {v}",
            "{p} found a {l} {v}",
        ],
        recalls: &[
            "{p} went to find the",
            "{p} played with the",
            "{p} put away the",
        ],
    },
    Relation {
        values: PLACES,
        facts: &[
            "{p} lived near the {l} {v}",
            "{p} had a house by the {l} {v}",
            "{p} came from the {l} {v}",
        ],
        recalls: &["{p} walked home to the", "{p} went back to the"],
    },
    Relation {
        values: ANIMALS,
        facts: &[
            "{p} came with a {l} {v}",
            "{p} had a pet, a {l} {v}",
            "{p} owned a {l} {v}",
        ],
        recalls: &["{p} called the", "{p} fed the", "{p} slept beside the"],
    },
    Relation {
        values: FOODS,
        facts: &[
            "{p} brought some {l} {v}",
            "{p} liked to eat {l} {v}",
            "{p} cooked {l} {v}",
        ],
        recalls: &["{p} asked for the", "{p} tasted the"],
    },
    Relation {
        values: VEHICLES,
        facts: &[
            "{p} arrived in a {l} {v}",
            "{p} travelled by {l} {v}",
            "{p} drove a {l} {v}",
        ],
        recalls: &["{p} left again in the", "{p} waited for the"],
    },
    Relation {
        values: CLOTHES,
        facts: &[
            "{p} wore a {l} {v}",
            "{p} put on a {l} {v}",
            "{p} was dressed in a {l} {v}",
        ],
        recalls: &["{p} took off the", "{p} washed the"],
    },
    Relation {
        values: TOOLS,
        facts: &[
            "{p} used a {l} {v}",
            "{p} borrowed a {l} {v}",
            "{p} worked with a {l} {v}",
        ],
        recalls: &["{p} gave back the", "{p} repaired the"],
    },
    Relation {
        values: PLANTS,
        facts: &[
            "{p} planted a {l} {v}",
            "{p} grew a {l} {v}",
            "{p} stood by a {l} {v}",
        ],
        recalls: &["{p} watered the", "{p} cut the"],
    },
    Relation {
        values: INSTRUMENTS,
        facts: &[
            "{p} learned the {l} {v}",
            "{p} heard a {l} {v}",
            "{p} tuned a {l} {v}",
        ],
        recalls: &["{p} made music on the", "{p} listened to the"],
    },
    Relation {
        values: FURNITURE,
        facts: &[
            "{p} bought a {l} {v}",
            "{p} built a {l} {v}",
            "{p} painted a {l} {v}",
        ],
        recalls: &["{p} sat down by the", "{p} dusted the"],
    },
];

/// Possible sentences after a fact.
const AFTERTHOUGHTS: &[&str] = &[
    ", and {p} was glad",
    ", and {p} smiled",
    ", which {p} liked",
    ", as {p} told them",
];

/// An event in a story.
enum Event {
    /// The hero's relation, an index into [`RELATIONS`], has this value from now on.
    Fact(usize, &'static str),
    /// A recall of a relation.
    Recall(usize),
    Pause,
}

impl Story {
    /// Writes a story. The same state of the generator gives the same story.
    pub fn write(rng: &mut impl Rng, difficulty: Difficulty) -> Self {
        let people: Vec<&str> = NAMES.choose_multiple(rng, 3).copied().collect();
        let hero = people[rng.random_range(0..people.len())];
        let mut story = Self {
            text: introduce(rng, &people),
            recalled: Vec::new(),
        };
        let mut current = [None; RELATIONS.len()];
        for event in plot(rng, difficulty) {
            match event {
                Event::Fact(relation, value) => {
                    let is_change = current[relation].replace(value).is_some();
                    story.say(&state(rng, hero, relation, value, is_change));
                }
                Event::Recall(relation) => {
                    let value = current[relation].expect("the plot recalls what was said");
                    story.recall(rng, hero, relation, value);
                }
                Event::Pause => story.say(&pass_time(rng)),
            }
        }
        story.text.pop();
        story
    }

    fn say(&mut self, sentence: &str) {
        self.text.push(' ');
        self.text.push_str(sentence);
    }

    fn recall(&mut self, rng: &mut impl Rng, hero: &str, relation: usize, value: &str) {
        let question = pick(rng, RELATIONS[relation].recalls).replace("{p}", hero);
        if rng.random_bool(0.5) {
            self.say(&format!("{} {question}", pick(rng, TIMES)));
        } else {
            self.say(&question);
        }
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(value);
        self.recalled.push(start..self.text.len());
        self.text.push('.');
    }
}

fn pick<T: Copy>(rng: &mut impl Rng, choices: &[T]) -> T {
    *choices.choose(rng).expect("the lists are not empty")
}

fn introduce(rng: &mut impl Rng, people: &[&str]) -> String {
    let (last, others) = people.split_last().expect("a story has people");
    let verb = pick(rng, &["met", "played", "sat together", "came together"]);
    if others.is_empty() {
        format!("{last} {} alone.", verb.split(' ').next().unwrap_or(verb))
    } else {
        format!("{} and {last} {verb}.", others.join(", "))
    }
}

/// The events of a story: facts of each relation in their own order, interleaved; recalls of
/// earlier facts; pauses. The last event is a recall.
fn plot(rng: &mut impl Rng, difficulty: Difficulty) -> Vec<Event> {
    let relations: Vec<usize> =
        rand::seq::index::sample(rng, RELATIONS.len(), difficulty.relations).into_vec();
    let mut facts = Vec::new();
    for &relation in &relations {
        let count = 1 + rng.random_range(0..=difficulty.changes);
        let values = RELATIONS[relation].values.choose_multiple(rng, count);
        facts.extend(values.map(|&value| (relation, value)));
    }
    facts.shuffle(rng);
    let mut events: Vec<Event> = facts
        .iter()
        .map(|&(relation, value)| Event::Fact(relation, value))
        .collect();
    for _ in 1..difficulty.recalls {
        let (relation, _) = facts[rng.random_range(0..facts.len())];
        let is_fact = |event: &Event| matches!(event, Event::Fact(known, _) if *known == relation);
        let first = events.iter().position(is_fact).expect("it is one of them");
        let place = rng.random_range(first + 1..=events.len());
        events.insert(place, Event::Recall(relation));
    }
    for _ in 0..difficulty.pauses {
        let place = rng.random_range(0..=events.len());
        events.insert(place, Event::Pause);
    }
    events.push(Event::Recall(pick(rng, &relations)));
    events
}

fn state(rng: &mut impl Rng, hero: &str, relation: usize, value: &str, is_change: bool) -> String {
    let mut sentence = pick(rng, RELATIONS[relation].facts)
        .replace("{l}", pick(rng, LOOKS))
        .replace("{v}", value);
    if is_change && rng.random_bool(0.5) {
        sentence = format!("{} {sentence}", pick(rng, TIMES));
    }
    if rng.random_bool(0.3) {
        sentence += pick(rng, AFTERTHOUGHTS);
    }
    (sentence + ".").replace("{p}", hero)
}

fn pass_time(rng: &mut impl Rng) -> String {
    if rng.random_bool(0.5) {
        format!(
            "The {} was {} and the {} was {}.",
            pick(rng, SCENERY),
            pick(rng, WEATHER),
            pick(rng, SCENERY),
            pick(rng, WEATHER)
        )
    } else {
        format!("{} they {}.", pick(rng, TIMES), pick(rng, PASTIMES))
    }
}
