//! Texts cut into sequences of tokens.

use anyhow::{Result, ensure};

use crate::engine::Tokenize;

/// `count` sequences of `length` tokens, from each text in turn as many as from the others. Those
/// of a text are spread over it. Each begins with the token that texts begin with, if there is one.
///
/// # Errors
/// If there is too little text.
pub fn sequences(
    texts: &[String],
    tokenizer: &dyn Tokenize,
    [count, length]: [usize; 2],
) -> Result<Vec<Vec<u32>>> {
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
        let tokens = tokenizer.encode(text, false)?;
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
        of_texts.push((0..number).map(cut).collect::<Vec<_>>());
    }
    let mut sequences = Vec::with_capacity(count);
    for i in 0..count {
        let text = &mut of_texts[i % texts.len()];
        sequences.push(std::mem::take(&mut text[i / texts.len()]));
    }
    Ok(sequences)
}
