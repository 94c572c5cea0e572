//! The scheduler with a model that any wrong page would mislead.

use std::collections::BTreeMap;

use mxlab::serve::pages::Pages;
use mxlab::serve::scheduler::{Counts, Id, Limits, Part, Scheduler, Sequence};
use mxlab_kernels::format::random_at;

/// A cache and a model whose next token depends on all tokens before it.
struct Model {
    scheduler: Scheduler,
    /// What the pages hold, position by position: it depends on all tokens up to there, as keys and
    /// values do.
    pages: Vec<Vec<u32>>,
    ended: BTreeMap<Id, Vec<u32>>,
    most: BTreeMap<Id, usize>,
    steps: usize,
}

fn mixed(tokens: &[u32]) -> u32 {
    let tokens = tokens.iter();
    tokens.fold(7, |seed, &token| random_at(seed, token.into()))
}

fn next_token(tokens: &[u32]) -> u32 {
    mixed(tokens) % 3
}

impl Model {
    fn new(limits: Limits, size: usize, count: usize) -> Self {
        Self {
            scheduler: Scheduler::new(limits, Pages::new(size, count)),
            pages: vec![vec![u32::MAX; size]; count],
            ended: BTreeMap::new(),
            most: BTreeMap::new(),
            steps: 0,
        }
    }

    fn add(&mut self, id: Id, tokens: Vec<u32>, more: usize) {
        self.most.insert(id, tokens.len() + more);
        let wanted = tokens.len() - 1;
        let class = 0;
        self.scheduler.add(
            id,
            Sequence {
                tokens,
                class,
                wanted,
            },
        );
    }

    /// Runs a step, and checks that all that a part reads is in its pages.
    fn step(&mut self) -> Vec<Part> {
        let parts = self.scheduler.plan();
        assert!(!parts.is_empty());
        self.steps += 1;
        let size = self.pages[0].len();
        let mut slots = Vec::new();
        for part in &parts {
            let running = self.scheduler.running_sequence(part.id);
            let (slot, _, pages, tokens) = running.expect("a running sequence");
            slots.push(slot);
            let held =
                |position: usize| self.pages[pages[position / size] as usize][position % size];
            let past: Vec<u32> = (0..part.positions.start).map(held).collect();
            let expected = (0..part.positions.start).map(|position| mixed(&tokens[..=position]));
            let expected: Vec<u32> = expected.collect();
            assert_eq!(past, expected, "sequence {}", part.id);
            for position in part.positions.clone() {
                let page = pages[position / size] as usize;
                self.pages[page][position % size] = mixed(&tokens[..=position]);
            }
        }
        slots.sort_unstable();
        slots.dedup();
        assert_eq!(slots.len(), parts.len(), "a slot has two sequences");
        for part in &parts {
            self.scheduler.computed(part);
            let (.., tokens) = self.scheduler.running_sequence(part.id).expect("running");
            if part.positions.end < tokens.len() {
                continue;
            }
            assert!(part.logits > 0);
            let mut tokens = tokens.to_vec();
            let token = next_token(&tokens);
            tokens.push(token);
            if tokens.len() == self.most[&part.id] {
                self.ended.insert(part.id, tokens);
                self.scheduler.remove(part.id);
            } else {
                self.scheduler.append(part.id, token);
            }
        }
        parts
    }
}

#[test]
fn any_mix_of_sequences_ends_as_each_alone() {
    let mut totals = Counts::default();
    for seed in 0..60 {
        let random = |index: u64, most: u32| random_at(seed, index) % most;
        let limits = Limits {
            slots: 1 + random(0, 6) as usize,
            chunk: 1 + random(1, 40) as usize,
            shares: random(2, 4) > 0,
        };
        let (size, count) = (1 + random(3, 5) as usize, 8 + random(4, 20) as usize);
        let mut model = Model::new(limits, size, count);
        let capacity = model.scheduler.capacity() as u32;
        let mut expected = BTreeMap::new();
        for id in 0..30 {
            let at = 100 * (id + 1);
            let length = 1 + random(at, capacity - 1) as usize;
            let more = 1 + random(at + 1, capacity - length as u32) as usize;
            // Texts of few tokens begin alike often.
            let token = |index| u32::from(random(at + 2 + index, 12) == 0);
            let mut tokens: Vec<u32> = (0..length as u64).map(token).collect();
            model.add(id, tokens.clone(), more);
            let is_cancelled = random(at + 90, 8) == 0;
            for _ in 0..random(at + 91, 6) {
                if !model.scheduler.is_idle() {
                    model.step();
                }
            }
            if is_cancelled {
                model.scheduler.remove(id);
                model.ended.remove(&id);
                continue;
            }
            for _ in 0..more {
                tokens.push(next_token(&tokens));
            }
            expected.insert(id, tokens);
        }
        while !model.scheduler.is_idle() {
            model.step();
            assert!(model.steps < 100_000, "seed {seed} does not end");
        }
        assert_eq!(model.ended, expected, "seed {seed}");
        assert_eq!(model.scheduler.pages(), [0, count], "seed {seed}");
        let counts = model.scheduler.counts();
        totals.preemptions += counts.preemptions;
        totals.shared += counts.shared;
    }
    assert!(
        totals.preemptions > 100 && totals.shared > 1000,
        "{totals:?}"
    );
}

#[test]
fn a_short_prompt_does_not_wait_for_a_long_one() {
    let limits = Limits {
        slots: 4,
        chunk: 10,
        shares: false,
    };
    let mut model = Model::new(limits, 4, 100);
    model.add(0, vec![1; 100], 1);
    assert_eq!(model.step()[0].positions, 0..10);
    model.add(1, vec![2; 3], 2);
    let lengths = |parts: Vec<Part>| -> Vec<(Id, usize)> {
        parts
            .iter()
            .map(|part| (part.id, part.positions.len()))
            .collect()
    };
    assert_eq!(lengths(model.step()), [(1, 3), (0, 7)]);
    // Its next token comes beside a whole chunk of the prompt.
    assert_eq!(lengths(model.step()), [(1, 1), (0, 10)]);
    assert!(model.ended.contains_key(&1));
}

#[test]
fn the_youngest_gives_its_pages_back_and_comes_again() {
    let limits = Limits {
        slots: 2,
        chunk: 100,
        shares: false,
    };
    // Both grow to 22 tokens, 6 pages each.
    let mut model = Model::new(limits, 4, 8);
    model.add(0, vec![0; 8], 14);
    model.add(1, vec![1; 8], 14);
    while model.scheduler.counts().preemptions == 0 {
        model.step();
    }
    assert_eq!(
        (model.scheduler.running(), model.scheduler.waiting()),
        (1, 1)
    );
    assert!(model.scheduler.running_sequence(0).is_some());
    while !model.scheduler.is_idle() {
        model.step();
    }
    assert_eq!(model.ended.keys().collect::<Vec<_>>(), [&0, &1]);
}
