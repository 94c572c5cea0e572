//! The ends of sequences, with a scripted model.

use std::cell::RefCell;

use anyhow::{Result, bail};
use mxlab::config::QuantConfig;
use mxlab::engine::{
    CausalModel, Engine, Footprint, Generator, ModelInfo, Room, Sampler, Tokenize,
};
use mxlab::generate::{self, Listener, Prompt, Settings};
use mxlab::record::generate::End;
use mxlab_kernels::reference::Sampling;

use crate::toy;
use toy::{CharTokenizer, ToyEngine};

/// A model that chooses scripted tokens, one after another for each sequence.
struct Scripted {
    info: ModelInfo,
    tokenizer: CharTokenizer,
    script: Vec<Vec<u32>>,
    /// The sequences of every step.
    steps: RefCell<Vec<Vec<usize>>>,
}

const EOS: u32 = 2;

impl Engine for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn tokenizer(&self) -> &dyn Tokenize {
        &self.tokenizer
    }

    fn check(&self, _: &QuantConfig) -> Result<()> {
        Ok(())
    }

    fn load(&self, _: &QuantConfig) -> Result<Box<dyn CausalModel + '_>> {
        bail!("this one generates")
    }

    fn vocabulary(&self) -> usize {
        10
    }

    fn eos_tokens(&self) -> &[u32] {
        &[EOS]
    }

    fn generator(&self, _: &QuantConfig, _: Room) -> Result<Box<dyn Generator + '_>> {
        Ok(Box::new(Reader {
            engine: self,
            read: vec![0; self.script.len()],
        }))
    }

    fn footprint(&self, _: &QuantConfig) -> Result<Footprint> {
        bail!("it has no weights")
    }
}

struct Reader<'a> {
    engine: &'a Scripted,
    read: Vec<usize>,
}

impl Generator for Reader<'_> {
    fn start(&mut self, prompts: &[Vec<u32>], _: &Sampler) -> Result<Vec<u32>> {
        let all: Vec<usize> = (0..prompts.len()).collect();
        self.step(&all)
    }

    fn step(&mut self, running: &[usize]) -> Result<Vec<u32>> {
        self.engine.steps.borrow_mut().push(running.to_vec());
        let next = |&index: &usize| {
            self.read[index] += 1;
            self.engine.script[index][self.read[index] - 1]
        };
        Ok(running.iter().map(next).collect())
    }
}

/// Records its calls.
#[derive(Default)]
struct Heard(Vec<(usize, Option<u32>)>);

impl Listener for Heard {
    fn token(&mut self, sequence: usize, token: u32) -> Result<()> {
        self.0.push((sequence, Some(token)));
        Ok(())
    }

    fn end(&mut self, sequence: usize) -> Result<()> {
        self.0.push((sequence, None));
        Ok(())
    }
}

#[test]
fn sequences_leave_the_batch_when_they_end() {
    let engine = Scripted {
        info: ToyEngine::new(8).info().clone(),
        tokenizer: CharTokenizer::default(),
        script: vec![vec![9, EOS], vec![7, 8, 5], vec![EOS], vec![6, 6, 6]],
        steps: RefCell::default(),
    };
    let prompt = |tokens: &[u32]| Prompt {
        source: "a test".to_owned(),
        tokens: tokens.to_vec(),
        is_text: false,
    };
    let prompts = [[3].as_slice(), &[3, 3], &[3, 3, 3], &[4]].map(prompt);
    let run = |ignore_eos: bool, max_tokens: usize| {
        let settings = Settings {
            max_tokens,
            sampler: Sampler {
                sampling: Sampling::GREEDY,
                seed: 0,
            },
            ignore_eos,
            warm_up: false,
        };
        let mut heard = Heard::default();
        let config = QuantConfig::unquantised("baseline");
        let (made, timings) =
            generate::run(&engine, &config, &prompts, &settings, &mut heard).expect("a generation");
        let made = made
            .into_iter()
            .map(|sequence| (sequence.tokens, sequence.end));
        (made.collect::<Vec<_>>(), timings.step_tokens, heard.0)
    };
    let (made, step_tokens, heard) = run(false, 3);
    let expected = [
        (vec![9], End::Eos),
        (vec![7, 8, 5], End::Length),
        (vec![], End::Eos),
        (vec![6, 6, 6], End::Length),
    ];
    assert_eq!(made, expected);
    let steps: [&[usize]; 3] = [&[0, 1, 2, 3], &[0, 1, 3], &[1, 3]];
    assert_eq!(engine.steps.take(), steps);
    assert_eq!(step_tokens, 5);
    let ends = heard.iter().filter(|(_, token)| token.is_none());
    assert_eq!(
        ends.map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
        [2, 0, 1, 3]
    );
    assert_eq!(heard[..3], [(0, Some(9)), (1, Some(7)), (2, None)]);

    let (made, ..) = run(true, 1);
    assert_eq!(made[2], (vec![EOS], End::Length));
}
