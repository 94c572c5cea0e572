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
    /// Relations that the story tells of each of them.
    pub relations: usize,
    /// Facts stated a second time, word for word.
    pub reminders: usize,
    /// Sentences in which nothing happens, anywhere after the introduction.
    pub pauses: usize,
    /// Recalls in all; the last one ends the story.
    pub recalls: usize,
    /// Names, and words of each kind, to choose from: the first so many of each list.
    pub vocabulary: usize,
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
            "{p} had a {a} {v}",
            "{p} carried a {a} {v}",
            "{p} found a {a} {v}",
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
            "{p} lived near the {a} {v}",
            "{p} had a house by the {v}",
            "{p} came from the {a} {v}",
        ],
        value_recalls: &["{p} walked home to the", "{p} went back to the"],
        person_recalls: &["the road to the {v} was known to"],
    },
    Relation {
        values: ANIMALS,
        facts: &[
            "{p} came with a {a} {v}",
            "{p} had a pet, a {a} {v}",
            "{p} took care of a {v}",
        ],
        value_recalls: &["{p} called the", "{p} fed the", "{p} slept beside the"],
        person_recalls: &["the {v} ran to", "the {v} was fed by"],
    },
    Relation {
        values: FOODS,
        facts: &[
            "{p} liked to eat {v}",
            "{p} brought some {v}",
            "{p} always ate {v}",
        ],
        value_recalls: &["{p} asked for some", "{p} wanted more"],
        person_recalls: &["the {v} tasted good to", "the {v} came from"],
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
    value: &'static str,
}

impl Story {
    /// Writes a story. The same generator state gives the same story.
    pub fn write(rng: &mut impl Rng, difficulty: Difficulty) -> Self {
        let people: Vec<&str> = first(NAMES, difficulty.vocabulary)
            .choose_multiple(rng, difficulty.people)
            .copied()
            .collect();
        let facts = invent_facts(rng, &people, difficulty);
        let stated: Vec<String> = facts.iter().map(|fact| state(rng, fact)).collect();
        let reminders = stated.choose_multiple(rng, difficulty.reminders).cloned();

        // Everything after the introduction, in order: facts, reminders, recalls.
        let mut events: Vec<Event> = stated.iter().cloned().map(Event::Say).collect();
        events.extend(reminders.map(Event::Say));
        let recalls = recall_order(rng, facts.len(), difficulty.recalls);
        events.extend(recalls.into_iter().map(Event::Recall));
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
fn invent_facts(rng: &mut impl Rng, people: &[&'static str], difficulty: Difficulty) -> Vec<Fact> {
    let mut facts = Vec::new();
    for relation in rand::seq::index::sample(rng, RELATIONS.len(), difficulty.relations) {
        let values = first(RELATIONS[relation].values, difficulty.vocabulary)
            .choose_multiple(rng, people.len());
        facts.extend(people.iter().zip(values).map(|(&person, &value)| Fact {
            person,
            relation,
            value,
        }));
    }
    facts.shuffle(rng);
    facts
}

/// Which facts are recalled: each once before any twice.
fn recall_order(rng: &mut impl Rng, facts: usize, recalls: usize) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < recalls {
        let mut round: Vec<usize> = (0..facts).collect();
        round.shuffle(rng);
        order.extend(round);
    }
    order.truncate(recalls);
    order
}

fn first<T>(list: &[T], count: usize) -> &[T] {
    &list[..count.min(list.len())]
}

fn state(rng: &mut impl Rng, fact: &Fact) -> String {
    let mut sentence = pick(rng, RELATIONS[fact.relation].facts)
        .replace("{a}", pick(rng, ADJECTIVES))
        .replace("{v}", fact.value);
    if rng.random_bool(0.5) {
        sentence += pick(rng, AFTERTHOUGHTS);
    }
    (sentence + ".").replace("{p}", fact.person)
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
