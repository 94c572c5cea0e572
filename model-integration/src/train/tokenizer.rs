//! The embedded model's tokenizer: byte-level BPE, trained on the stories.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer, TokenizerImpl};

/// Begin of text: the first token of every story.
pub const BOS: &str = "<s>";
/// End of text, also used as padding.
pub const EOS: &str = "</s>";
/// Their ids.
pub const BOS_ID: u32 = 0;
/// Their ids.
pub const EOS_ID: u32 = 1;

/// Trains a vocabulary of `vocab_size` tokens on `texts`.
///
/// # Errors
/// Errors of the tokenizers library.
pub fn train(
    texts: impl Iterator<Item = String> + Send,
    vocab_size: usize,
) -> tokenizers::Result<Tokenizer> {
    let special = |content: &str| AddedToken::from(content, true);
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(vec![special(BOS), special(EOS)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let bytes = ByteLevel::new(false, false, true);
    let begin = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))?
        .special_tokens(vec![(BOS, BOS_ID)])
        .build()?;
    let mut tokenizer = TokenizerImpl::<
        BPE,
        tokenizers::NormalizerWrapper,
        ByteLevel,
        TemplateProcessing,
        ByteLevel,
    >::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(bytes))
        .with_decoder(Some(bytes))
        .with_post_processor(Some(begin))
        .train(&mut trainer, texts)?;
    let text = tokenizer.to_string(false)?;
    text.parse()
}
