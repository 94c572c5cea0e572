//! Texts cut into sequences of tokens.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::source::TextPart;
use crate::engine::Tokenize;
use crate::task::DataSources;

/// Sequences of each text in turn, as many as of the others. Those that the model writes itself
/// are left out.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Of each text; the number alone if the model writes it.
    of_texts: Vec<Result<Vec<Vec<u32>>, usize>>,
}

/// Reads texts and cuts them into `count` sequences of `length` tokens. Those of a text are spread
/// over it. Each begins with the token that texts begin with, if there is one.
///
/// # Errors
/// If a text cannot be read, or there is too little.
pub fn cut(
    texts: &[TextPart],
    sources: &DataSources,
    tokenizer: &dyn Tokenize,
    [count, length]: [usize; 2],
) -> Result<Cut> {
    let first: Vec<u32> = tokenizer
        .prefix_token()
        .into_iter()
        .map(|(token, _)| token)
        .collect();
    ensure!(
        length > first.len() + 1,
        "sequences of {length} tokens are too short: expected at least {}",
        first.len() + 2,
    );
    ensure!(
        count >= texts.len(),
        "{count} sequences are fewer than the {} texts: raise --sequences",
        texts.len(),
    );
    let own = length - first.len();
    let mut of_texts = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let number = count / texts.len() + usize::from(index < count % texts.len());
        let Some(text) = text.read(sources)? else {
            of_texts.push(Err(number));
            continue;
        };
        let tokens = tokenizer.encode(&text, false)?;
        ensure!(
            own <= tokens.len() / number,
            "text {} has {} tokens, too few for {number} sequences of {own}: give more text, or \
             lower --sequences or --length",
            index + 1,
            tokens.len(),
        );
        let rest = tokens.len() - number * own;
        let gaps = number.saturating_sub(1).max(1);
        let cut = |i: usize| {
            let at = i * own + rest * i / gaps;
            [&first[..], &tokens[at..at + own]].concat()
        };
        of_texts.push(Ok((0..number).map(cut).collect()));
    }
    Ok(Cut { of_texts })
}

impl Cut {
    /// How many sequences the model writes.
    pub fn own(&self) -> usize {
        let numbers = self.of_texts.iter().filter_map(|text| text.as_ref().err());
        numbers.sum()
    }

    /// SHA-256 of the tokens of the others, in hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for token in self.of_texts.iter().flatten().flatten().flatten() {
            hash.update(token.to_le_bytes());
        }
        format!("{:x}", hash.finalize())
    }

    /// All sequences, with those that the model wrote: one of each text in turn.
    ///
    /// # Errors
    /// If the model wrote fewer.
    pub fn with(self, own: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>> {
        let mut own = own.into_iter();
        let mut texts = Vec::with_capacity(self.of_texts.len());
        for text in self.of_texts {
            let text = text.unwrap_or_else(|number| own.by_ref().take(number).collect());
            texts.push(text.into_iter());
        }
        let count = texts.iter().map(ExactSizeIterator::len).sum();
        let number = texts.len();
        let next = |i: usize| texts[i % number].next().context("a sequence of every text");
        (0..count).map(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for each character, behind token 1000.
    struct Characters;

    impl Tokenize for Characters {
        fn encode(&self, text: &str, _: bool) -> Result<Vec<u32>> {
            Ok(text.chars().map(u32::from).collect())
        }

        fn decode(&self, tokens: &[u32]) -> Result<String> {
            let characters = tokens.iter().map(|&token| char::from_u32(token));
            characters.collect::<Option<_>>().context("characters")
        }

        fn prefix_token(&self) -> Option<(u32, String)> {
            Some((1000, String::new()))
        }

        fn eos_token(&self) -> Option<u32> {
            None
        }
    }

    #[test]
    fn sequences_are_spread_over_their_texts() {
        let folder = tempfile::tempdir().expect("a folder");
        let texts = ["abcdefghij", "klmnopq"].map(|text| {
            let path = folder.path().join(text);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("UTF-8").parse().expect("a file")
        });
        let sources = DataSources {
            data_dir: None,
            embedded: "",
            hub_file: &|_, _| anyhow::bail!("no hub"),
        };
        let cut = cut(&texts, &sources, &Characters, [5, 3]).expect("text enough");
        let cut = cut.with(Vec::new()).expect("sequences");
        let with_first = |token: &str| {
            let own = Characters.encode(token, false).expect("tokens");
            [vec![1000], own].concat()
        };
        let expected = ["ab", "kl", "ef", "pq", "ij"].map(with_first);
        assert_eq!(cut, expected);
    }
}
