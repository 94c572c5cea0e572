//! Streams text from single tokens.

use mxlab::embedded;
use mxlab::generate::text::{self, TextStream};
use proptest::prelude::*;

proptest! {
    /// Tokens of the embedded vocabulary, including bytes of incomplete characters.
    #[test]
    fn streamed_text_is_the_text_of_the_whole(
        ids in prop::collection::vec(prop_oneof![0u32..896, 2u32..258], 0..24),
        split in 0usize..24,
    ) {
        let checkpoint = embedded::checkpoint().expect("the embedded model");
        let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
        let whole = tokenizer.decode(&ids, true).expect("a text");
        prop_assert_eq!(text::of(&tokenizer, &[], &ids).expect("a text"), whole.clone());

        // The text so far is always a prefix of the whole, and ends between characters.
        let mut stream = TextStream::new(&tokenizer, &[]);
        let mut given = String::new();
        for &id in &ids[..split.min(ids.len())] {
            given += &stream.push(id).expect("a text");
        }
        prop_assert!(whole.starts_with(&given));
    }
}

#[test]
fn a_character_of_several_tokens_comes_whole() {
    let checkpoint = embedded::checkpoint().expect("the embedded model");
    let tokenizer = checkpoint.tokenizer().expect("a tokenizer");
    let text = "é😀 wörld";
    let ids = tokenizer.encode(text, false).expect("tokens");
    let mut stream = TextStream::new(&tokenizer, &[]);
    let pieces: Vec<String> = ids
        .iter()
        .map(|&id| stream.push(id).expect("a text"))
        .collect();
    assert_eq!(pieces.concat(), text);
    let held_back = pieces.iter().filter(|piece| piece.is_empty()).count();
    assert_eq!(held_back, 1 + 3 + 1, "{pieces:?}");
}
