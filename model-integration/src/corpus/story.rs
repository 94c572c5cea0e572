//! The grammar of the stories.
//!
//! A story introduces a few people, states facts about them (who has which toy, who lives
//! where, whose animal came along), lets time pass, and then comes back to some of the facts. A
//! sentence that comes back ends on a word that only its fact can tell, many words before. Where
//! two people have a fact of the same kind, the person decides.
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
    ANIMALS, CLOTHES, FOODS, FURNITURE, INSTRUMENTS, LOOKS, NAMES, PASTIMES, PLACES, PLANTS, SCENERY,
    TIMES, TOOLS, TOYS, VEHICLES, WEATHER,
};

/// How hard a story is to follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulty {
    /// People in the story, at least two.
    pub people: usize,
    /// Relations that the story tells of, at most ten.
    pub relations: usize,
    /// Probability that a relation is told of two people instead of one.
    pub rivalry: f64,
    /// Sentences in which nothing happens, anywhere after the introduction.
    pub pauses: usize,
    /// Facts that are recalled; the last one ends the story.
    pub recalls: usize,
}

/// A story, and where in it the words stand that only an earlier fact can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The text. It ends with the last recalled word, without a full stop.
    pub text: String,
    /// Byte ranges of the recalled words, in order; the last one ends the text.
    pub recalled: Vec<std::ops::Range<usize>>,
}

/// A relation between a person and a word: how a fact states it, how a recall asks for it.
/// `{p}` stands for the person, `{l}` for the look, `{v}` for the value.
struct Relation {
    values: &'static [&'static str],
    facts: &'static [&'static str],
    /// The value follows.
    recalls: &'static [&'static str],
}

const RELATIONS: [Relation; 10] = [
    Relation {
        values: TOYS,
        facts: &["{p} had a {l} {v}", "{p} carried a {l} {v}", "{p} found a {l} {v}"],
        recalls: &["{p} went to find the", "{p} played with the", "{p} put away the"],
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
        facts: &["{p} came with a {l} {v}", "{p} had a pet, a {l} {v}", "{p} owned a {l} {v}"],
        recalls: &["{p} called the", "{p} fed the", "{p} slept beside the"],
    },
    Relation {
        values: FOODS,
        facts: &["{p} brought some {l} {v}", "{p} liked to eat {l} {v}", "{p} cooked {l} {v}"],
        recalls: &["{p} asked for the", "{p} tasted the"],
    },
    Relation {
        values: VEHICLES,
        facts: &["{p} arrived in a {l} {v}", "{p} travelled by {l} {v}", "{p} drove a {l} {v}"],
        recalls: &["{p} left again in the", "{p} waited for the"],
    },
    Relation {
        values: CLOTHES,
        facts: &["{p} wore a {l} {v}", "{p} put on a {l} {v}", "{p} was dressed in a {l} {v}"],
        recalls: &["{p} took off the", "{p} washed the"],
    },
    Relation {
        values: TOOLS,
        facts: &["{p} used a {l} {v}", "{p} borrowed a {l} {v}", "{p} worked with a {l} {v}"],
        recalls: &["{p} gave back the", "{p} repaired the"],
    },
    Relation {
        values: PLANTS,
        facts: &["{p} planted a {l} {v}", "{p} grew a {l} {v}", "{p} stood by a {l} {v}"],
        recalls: &["{p} watered the", "{p} cut the"],
    },
    Relation {
        values: INSTRUMENTS,
        facts: &["{p} learned the {l} {v}", "{p} heard a {l} {v}", "{p} tuned a {l} {v}"],
        recalls: &["{p} made music on the", "{p} listened to the"],
    },
    Relation {
        values: FURNITURE,
        facts: &["{p} bought a {l} {v}", "{p} built a {l} {v}", "{p} painted a {l} {v}"],
        recalls: &["{p} sat down by the", "{p} dusted the"],
    },
];

/// What may follow a fact. Naming the person again ties the fact to them.
const AFTERTHOUGHTS: &[&str] = &[
    ", and {p} was glad",
    ", and {p} smiled",
    ", which {p} liked",
    ", as {p} told them",
];

/// What happens next in a story.
enum Event {
    Say(String),
    Recall(usize),
}

/// A fact of the story: what `RELATIONS[relation]` says of a person.
struct Fact {
    person: &'static str,
    relation: usize,
    look: &'static str,
    value: &'static str,
}

impl Story {
    /// Writes a story. The same generator state gives the same story.
    pub fn write(rng: &mut impl Rng, difficulty: Difficulty) -> Self {
        let people: Vec<&str> = NAMES
            .choose_multiple(rng, difficulty.people)
            .copied()
            .collect();
        let facts = invent_facts(rng, &people, difficulty);
        let recalled = rand::seq::index::sample(rng, facts.len(), difficulty.recalls);

        let mut events: Vec<Event> = facts
            .iter()
            .map(|fact| Event::Say(state(rng, fact)))
            .collect();
        events.extend(recalled.into_iter().map(Event::Recall));
        for _ in 0..difficulty.pauses {
            // The last event stays last: it is the question.
            let place = rng.random_range(0..events.len());
            events.insert(place, Event::Say(pass_time(rng)));
        }

        let mut story = Self {
            text: introduce(rng, &people),
            recalled: Vec::new(),
        };
        for event in events {
            match event {
                Event::Say(sentence) => story.say(&sentence),
                Event::Recall(fact) => story.recall(rng, &facts[fact]),
            }
        }
        story.text.pop();
        story
    }

    fn say(&mut self, sentence: &str) {
        self.text.push(' ');
        self.text.push_str(sentence);
    }

    fn recall(&mut self, rng: &mut impl Rng, fact: &Fact) {
        let question = fact.fill(pick(rng, RELATIONS[fact.relation].recalls));
        if rng.random_bool(0.5) {
            self.say(&format!("{} {question}", pick(rng, TIMES)));
        } else {
            self.say(&question);
        }
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(fact.value);
        self.recalled.push(start..self.text.len());
        self.text.push('.');
    }
}

impl Fact {
    fn fill(&self, template: &str) -> String {
        template
            .replace("{p}", self.person)
            .replace("{l}", self.look)
            .replace("{v}", self.value)
    }
}

fn pick(rng: &mut impl Rng, words: &[&'static str]) -> &'static str {
    words.choose(rng).expect("the word lists are not empty")
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

/// Facts in random order; within a relation no two people share a value.
fn invent_facts(rng: &mut impl Rng, people: &[&'static str], difficulty: Difficulty) -> Vec<Fact> {
    let mut facts = Vec::new();
    for relation in rand::seq::index::sample(rng, RELATIONS.len(), difficulty.relations) {
        let rivals = if rng.random_bool(difficulty.rivalry) { 2 } else { 1 };
        let people: Vec<&str> = people.choose_multiple(rng, rivals).copied().collect();
        let values = RELATIONS[relation].values.choose_multiple(rng, rivals);
        for (person, &value) in people.into_iter().zip(values) {
            facts.push(Fact {
                person,
                relation,
                look: pick(rng, LOOKS),
                value,
            });
        }
    }
    facts.shuffle(rng);
    facts
}

fn state(rng: &mut impl Rng, fact: &Fact) -> String {
    let mut sentence = fact.fill(pick(rng, RELATIONS[fact.relation].facts));
    if rng.random_bool(0.3) {
        sentence += &fact.fill(pick(rng, AFTERTHOUGHTS));
    }
    sentence + "."
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
