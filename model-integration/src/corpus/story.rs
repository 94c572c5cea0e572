//! The grammar of the stories.
//!
//! A story introduces a few people, states facts about them (who has which toy, who lives
//! where, whose animal came along, who likes which food), lets time pass, and then speaks of
//! some of them again. Those later sentences end on a word that only the matching fact can
//! tell, many words before: the value of a person, or the person of a value.
//!
//! | relation | a fact | recall of the value | recall of the person |
//! |---|---|---|---|
//! | toy | Mia had a red kite. | Mia went to find the *kite* | The kite belonged to *Mia* |
//! | home | Mia lived near the old mill. | Mia walked home to the *mill* | The road to the mill was known to *Mia* |
//! | animal | Mia came with a small goat. | Mia called the *goat* | The goat ran to *Mia* |
//! | food | Mia liked to eat soup. | Mia asked for some *soup* | The soup was made by *Mia* |

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::words::{
    ADJECTIVES, ANIMALS, FOODS, NAMES, PASTIMES, PLACES, SCENERY, TIMES, TOYS, WEATHER,
};

/// How hard a story is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difficulty {
    /// People in the story.
    pub people: usize,
    /// Facts about each of them, at most one per relation.
    pub facts_each: usize,
    /// Sentences in which nothing happens between the facts and the last recall.
    pub pause: usize,
    /// Recalls in all; the last one ends the story.
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
struct Relation {
    values: &'static [&'static str],
    /// `{p}` person, `{a}` adjective, `{v}` value.
    facts: &'static [&'static str],
    /// `{p}` person; the value follows.
    value_recalls: &'static [&'static str],
    /// `{v}` value; the person follows.
    person_recalls: &'static [&'static str],
}

const RELATIONS: [Relation; 4] = [
    Relation {
        values: TOYS,
        facts: &[
            "{p} had a {a} {v}.",
            "{p} carried a {a} {v}.",
            "{p} found a {a} {v}.",
        ],
        value_recalls: &[
            "{p} went to find the",
            "{p} played with the",
            "{p} put away the",
        ],
        person_recalls: &["the {v} belonged to", "the {v} was taken by"],
    },
    Relation {
        values: PLACES,
        facts: &[
            "{p} lived near the {a} {v}.",
            "{p} had a house by the {v}.",
            "{p} came from the {a} {v}.",
        ],
        value_recalls: &["{p} walked home to the", "{p} went back to the"],
        person_recalls: &["the road to the {v} was known to"],
    },
    Relation {
        values: ANIMALS,
        facts: &[
            "{p} came with a {a} {v}.",
            "{p} had a pet, a {a} {v}.",
            "{p} took care of a {v}.",
        ],
        value_recalls: &["{p} called the", "{p} fed the", "{p} slept beside the"],
        person_recalls: &["the {v} ran to", "the {v} was fed by"],
    },
    Relation {
        values: FOODS,
        facts: &[
            "{p} liked to eat {v}.",
            "{p} brought some {v}.",
            "{p} always ate {v}.",
        ],
        value_recalls: &["{p} asked for some", "{p} wanted more"],
        person_recalls: &["the {v} was made by", "the {v} was eaten by"],
    },
];

/// A fact of the story: what `RELATIONS[relation]` says of a person.
struct Fact {
    person: &'static str,
    relation: usize,
    value: &'static str,
}

impl Story {
    /// Writes a story. The same generator state gives the same story.
    pub fn write(rng: &mut impl Rng, difficulty: Difficulty) -> Self {
        let people: Vec<&str> = NAMES
            .choose_multiple(rng, difficulty.people)
            .copied()
            .collect();
        let mut facts = invent_facts(rng, &people, difficulty.facts_each);

        let mut story = Self {
            text: String::new(),
            recalled: Vec::new(),
        };
        story.say(&introduce(rng, &people));
        for fact in &facts {
            story.say(&state(rng, fact));
            if rng.random_bool(0.2) {
                story.say(&pass_time(rng));
            }
        }
        facts.shuffle(rng);
        facts.truncate(difficulty.recalls);
        // The pause stands before the last recall, or is spread before all of them.
        let mut pauses = vec![0; facts.len()];
        for _ in 0..difficulty.pause {
            pauses[rng.random_range(0..facts.len())] += 1;
        }
        for (fact, pause) in facts.iter().zip(pauses) {
            for _ in 0..pause {
                story.say(&pass_time(rng));
            }
            story.recall(rng, fact);
        }
        story.text.pop();
        story
    }

    fn say(&mut self, sentence: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(sentence);
    }

    fn recall(&mut self, rng: &mut impl Rng, fact: &Fact) {
        let relation = &RELATIONS[fact.relation];
        let (question, answer) = if rng.random_bool(0.5) {
            let question = pick(rng, relation.value_recalls).replace("{p}", fact.person);
            (question, fact.value)
        } else {
            let question = pick(rng, relation.person_recalls).replace("{v}", fact.value);
            (question, fact.person)
        };
        if rng.random_bool(0.5) {
            self.say(&format!("{} {question}", pick(rng, TIMES)));
        } else {
            self.say(&capitalise(&question));
        }
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(answer);
        self.recalled.push(start..self.text.len());
        self.text.push('.');
    }
}

fn capitalise(sentence: &str) -> String {
    let mut rest = sentence.chars();
    rest.next()
        .map(|first| first.to_uppercase().chain(rest).collect())
        .unwrap_or_default()
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
fn invent_facts(rng: &mut impl Rng, people: &[&'static str], facts_each: usize) -> Vec<Fact> {
    let mut values: Vec<Vec<&'static str>> = RELATIONS
        .iter()
        .map(|relation| {
            relation
                .values
                .choose_multiple(rng, people.len())
                .copied()
                .collect()
        })
        .collect();
    let mut facts = Vec::new();
    for &person in people {
        let relations =
            rand::seq::index::sample(rng, RELATIONS.len(), facts_each.min(RELATIONS.len()));
        for relation in relations {
            let value = values[relation].pop().expect("one value per person");
            facts.push(Fact {
                person,
                relation,
                value,
            });
        }
    }
    facts.shuffle(rng);
    facts
}

fn state(rng: &mut impl Rng, fact: &Fact) -> String {
    pick(rng, RELATIONS[fact.relation].facts)
        .replace("{p}", fact.person)
        .replace("{a}", pick(rng, ADJECTIVES))
        .replace("{v}", fact.value)
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
