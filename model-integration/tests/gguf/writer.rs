//! Writes GGUF files of version 3.

/// A value of metadata.
#[derive(Clone)]
pub enum Meta {
    Bool(bool),
    F32(f32),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    Text(String),
    Texts(Vec<String>),
    U16(u16),
    U32(u32),
}

/// A tensor: its name, ggml's number of its type, its sizes with the slowest axis first, its bytes.
#[derive(Clone)]
pub struct Tensor(pub String, pub u32, pub Vec<usize>, pub Vec<u8>);

#[derive(Clone, Default)]
pub struct File {
    pub metadata: Vec<(String, Meta)>,
    pub tensors: Vec<Tensor>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Meta {
    fn bytes(&self) -> Vec<u8> {
        let scalar = |kind: u32, bytes: &[u8]| [&kind.to_le_bytes(), bytes].concat();
        let array = |kind: u32, elements: Vec<Vec<u8>>| {
            let head = [9u32.to_le_bytes(), kind.to_le_bytes()].concat();
            let count = (elements.len() as u64).to_le_bytes().to_vec();
            [head, count, elements.concat()].concat()
        };
        match self {
            Self::Bool(flag) => scalar(7, &[u8::from(*flag)]),
            Self::F32(value) => scalar(6, &value.to_le_bytes()),
            Self::Text(value) => scalar(8, &text(value)),
            Self::U16(value) => scalar(2, &value.to_le_bytes()),
            Self::U32(value) => scalar(4, &value.to_le_bytes()),
            Self::F32s(all) => array(6, all.iter().map(|x| x.to_le_bytes().to_vec()).collect()),
            Self::I32s(all) => array(5, all.iter().map(|x| x.to_le_bytes().to_vec()).collect()),
            Self::Texts(all) => array(8, all.iter().map(|x| text(x)).collect()),
        }
    }
}

impl File {
    /// Sets an entry of the metadata.
    pub fn set(&mut self, key: &str, value: Meta) {
        self.remove(key);
        self.metadata.push((key.to_owned(), value));
    }

    pub fn remove(&mut self, key: &str) {
        self.metadata.retain(|(own, _)| own != key);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            file.extend(text(key));
            file.extend(value.bytes());
        }
        let mut data = Vec::new();
        for Tensor(name, kind, shape, bytes) in &self.tensors {
            file.extend(text(name));
            file.extend((shape.len() as u32).to_le_bytes());
            for size in shape.iter().rev() {
                file.extend((*size as u64).to_le_bytes());
            }
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }

    /// A Llama with one layer and byte-level BPE: every byte, `he` and `12`, and three tokens of
    /// control; the embedding is `tensor` with the sizes of `shape`.
    pub fn llama([vocabulary, hidden]: [usize; 2], kind: u32, embedding: Vec<u8>) -> Self {
        let mut file = Self::default();
        file.set("general.architecture", Meta::Text("llama".to_owned()));
        for (key, value) in [
            ("llama.embedding_length", hidden),
            ("llama.feed_forward_length", hidden),
            ("llama.block_count", 1),
            ("llama.attention.head_count", 2),
            ("llama.context_length", 64),
            ("tokenizer.ggml.bos_token_id", 258),
            ("tokenizer.ggml.eos_token_id", 259),
        ] {
            file.set(key, Meta::U32(value as u32));
        }
        file.set("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5));
        let mut tokens: Vec<String> = alphabet().map(String::from).collect();
        let more = ["he", "12", "<s>", "</s>", "<|turn|>"].map(str::to_owned);
        tokens.extend(more);
        let kinds = (0..tokens.len()).map(|id| if id < 258 { 1 } else { 3 });
        file.set("tokenizer.ggml.model", Meta::Text("gpt2".to_owned()));
        file.set("tokenizer.ggml.pre", Meta::Text("gpt-2".to_owned()));
        file.set("tokenizer.ggml.token_type", Meta::I32s(kinds.collect()));
        file.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
        let merges = ["h e", "1 2"].map(str::to_owned).to_vec();
        file.set("tokenizer.ggml.merges", Meta::Texts(merges));

        let mut add = |name: &str, kind: u32, shape: &[usize], bytes: Vec<u8>| {
            let tensor = Tensor(name.to_owned(), kind, shape.to_vec(), bytes);
            file.tensors.push(tensor);
        };
        add("token_embd.weight", kind, &[vocabulary, hidden], embedding);
        for norm in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
            let ones = [1.0f32].repeat(hidden);
            let ones = ones.iter().flat_map(|one| one.to_le_bytes());
            add(&format!("{norm}.weight"), 0, &[hidden], ones.collect());
        }
        for matrix in [
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate",
            "ffn_up",
        ] {
            let bytes = vec![1; hidden * hidden * 2];
            add(&format!("blk.0.{matrix}.weight"), 30, &[hidden; 2], bytes);
        }
        let down = [1; 34].repeat(hidden * hidden / 32);
        add("blk.0.ffn_down.weight", 8, &[hidden; 2], down);
        file
    }
}

/// The letters for bytes in byte-level BPE, by code of the letter.
fn alphabet() -> impl Iterator<Item = char> {
    let own = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    own.chain((256..324).filter_map(char::from_u32))
}
