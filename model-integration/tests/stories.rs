//! Text for `--text`: stories of the embedded model's kind.

use std::fs;
use std::path::Path;

use mxlab::corpus::heldout;
use serde_json::Value;

/// A file of stories in `folder`.
pub fn text(folder: &Path) -> String {
    let lines = heldout::write(7, 60);
    let texts = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["text"].as_str().expect("a text").to_owned()
    });
    let path = folder.join("stories.txt");
    fs::write(&path, texts.collect::<Vec<_>>().join("\n")).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}
