//! Model directories: `config.json`, safetensors weights, `tokenizer.json`, and the hub.
