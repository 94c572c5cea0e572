//! How the text of byte-level tokenizers is split before merging, by the name in
//! `tokenizer.ggml.pre`.

/// A way to split text.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// llama.cpp's names of the tokenizers that split so.
    names: &'static [&'static str],
    /// Regular expressions; each divides the pieces of those before it into matches and the rest.
    pub splits: &'static [&'static str],
    /// Whether a piece that is a token is taken without merging.
    pub ignores_merges: bool,
    /// Whether a begin-of-text token is added unless metadata say otherwise.
    pub adds_bos: bool,
}

/// English contractions.
macro_rules! contractions {
    () => {
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    };
}

/// The common end: runs of other characters with what may follow them, and white space.
macro_rules! rest {
    ($after:literal) => {
        concat!(r" ?[^\s\p{L}\p{N}]+", $after, r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    };
}

/// Words with one character before them, then some digits.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            "|",
            rest!(r"[\r\n]*")
        )
    };
}

/// Words whose upper and lower case letters are apart, with `$end`, then some digits.
macro_rules! cased {
    ($end:expr, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $end,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $end,
            "|",
            $digits,
            "|",
            rest!(r"[\r\n/]*")
        )
    };
}

const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const THREE_DIGITS: &str = concat!(contractions!(), "|", words!(r"\p{N}{1,3}"));
const ONE_DIGIT: &str = concat!(contractions!(), "|", words!(r"\p{N}"));
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const DEEPSEEK3: &str = concat!(
    r"[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Words of letters with case, as an older Unicode has them.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[\p{Lu}\p{Ll}\p{Lt}ʕ&&[^\x{560}\x{588}\x{10C7}\x{10CD}\x{10D0}-\x{10FF}",
    r"\x{1C80}-\x{1C8A}\x{2D00}-\x{2D2D}\x{A790}-\x{A7FA}\x{AB30}-\x{AB6D}\x{10570}-\x{105BC}",
    r"\x{10D50}-\x{10D85}\x{16E40}-\x{16ED3}\x{1D400}-\x{1DF96}]]+"
);

const fn plain(names: &'static [&'static str], splits: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer {
        names,
        splits,
        ignores_merges: false,
        adds_bos: false,
    }
}

#[rustfmt::skip]
static PRE_TOKENIZERS: [PreTokenizer; 23] = [
    PreTokenizer {
        names: &[
            "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
            "lfm2", "jina-v5-nano",
        ],
        splits: &[THREE_DIGITS],
        ignores_merges: true,
        adds_bos: true,
    },
    PreTokenizer {
        names: &["tekken"],
        splits: &[cased!("", r"\p{N}")],
        ignores_merges: true,
        adds_bos: true,
    },
    PreTokenizer {
        names: &["minicpm5"],
        splits: &[r"\p{N}{1,3}", concat!(contractions!(), "|", words!(r"\p{N}+"))],
        ignores_merges: true,
        adds_bos: false,
    },
    plain(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[THREE_DIGITS]),
    plain(
        &[
            "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan",
            "solar-open", "grok-2",
        ],
        &[ONE_DIGIT],
    ),
    plain(&["laguna"], &[r"[^\n]+|\n+", ONE_DIGIT]),
    plain(&["ufakzeka"], &[words!(r"\p{N}")]),
    plain(
        &["qwen35"],
        &[concat!(
            contractions!(), r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+",
            r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
    ),
    plain(
        &[
            "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de",
            "jina-v2-code", "gigachat", "a.x-4.0", "mellum", "modern-bert", "roberta-bpe", "mpt",
            "olmo", "jais", "trillion", "granite-docling", "exaone4",
        ],
        &[GPT2],
    ),
    plain(
        &[
            "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
            "mellum2",
        ],
        &[r"\p{N}", GPT2],
    ),
    plain(&[DEFAULT], &[r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    plain(&["falcon"], &[r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"]),
    plain(
        &["deepseek-llm"],
        &[
            r"[\r\n]", DEEPSEEK_LETTERS, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$",
            "[一-龥ࠀ-一가-퟿]+", r"\p{N}+",
        ],
    ),
    plain(
        &["deepseek-coder"],
        &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    ),
    plain(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
    ),
    plain(&["poro-chat", "bloom", "gpt3-finnish"], &[BLOOM]),
    plain(&["viking"], &[BLOOM, r"\p{N}"]),
    plain(
        &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        &[cased!(concat!(contractions!(), "?"), r"\p{N}{1,3}")],
    ),
    plain(
        &["tiny_aya", "cohere2moe"],
        &[
            r"\d{1,3}(?=(?:\d{3})*\b)",
            cased!(concat!(contractions!(), "?"), r"\p{N}{1,3}"),
        ],
    ),
    plain(
        &["bailingmoe", "bailingmoe2", "llada-moe"],
        &[concat!(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
            r"|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
    ),
    plain(
        &["seed-coder"],
        &[concat!(
            contractions!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+",
            r"|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
    ),
    plain(
        &["exaone-moe"],
        &[concat!(
            contractions!(), r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
    ),
    plain(
        &["jais-2"],
        &[concat!(
            contractions!(), r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
            r"|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)",
            r"|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
        )],
    ),
];

/// The name that stands for an absent one.
pub(super) const DEFAULT: &str = "default";

impl PreTokenizer {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        let mut all = PRE_TOKENIZERS.iter();
        all.find(|one| one.names.contains(&name))
    }

    /// The first name of those that split text so.
    pub(super) fn of(splits: &[String], ignores_merges: bool) -> Option<&'static str> {
        let mut all = PRE_TOKENIZERS.iter();
        let found = all.find(|one| one.splits == splits && one.ignores_merges == ignores_merges);
        found.and_then(|one| one.names.first()).copied()
    }

    /// All names.
    pub(super) fn names() -> String {
        let names = PRE_TOKENIZERS.iter().flat_map(|one| one.names).copied();
        names.collect::<Vec<_>>().join(", ")
    }
}
